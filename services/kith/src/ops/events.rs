//! `kith.ops.v1.EventService`: the records of the log, and dead letters.

mod letters;
mod page;
mod retry;
pub(super) mod scan;
pub(super) mod shown;

use std::future::Future;
use std::sync::Arc;

use kith_fold::{FoldError, LetterFate, Operations};
use kith_log::{AppendError, EventLog, RecordId};
use kith_proto::errors::v1::Reason;
use kith_proto::ops::v1 as wire;
use kith_proto::ops::v1::event_service_server::{EventService, EventServiceServer};
use kith_proto::ops::v1::ops_event::Event as Decision;
use kith_runtime::Runtime;
use kith_service::Failure;
use kith_service::auth::Operator;
use kith_service::deadline::{Deadline, deadline};
use kith_service::ids::parse_id;
use kith_service::page_token::PageTokens;
use kith_text::Length;
use tonic::{Request, Response, Status};

use super::refusals::not_known;

use self::letters::{Letter, Letters};
use self::shown::Shapes;

/// The longest note on a dead letter, in bytes.
const NOTE_BYTES: usize = 500;

/// The service.
pub fn service(
    log: Arc<dyn EventLog>,
    operations: Arc<Operations>,
    page_tokens: Arc<PageTokens>,
    runtime: Runtime,
) -> EventServiceServer<Events> {
    let (shapes, letters) = (Shapes::default(), Letters::new(Arc::clone(&log)));
    let shared = Arc::new(Shared { log, operations, page_tokens, runtime, shapes, letters });
    kith_service::limited!(EventServiceServer::new(Events { shared }))
}

/// Answers operators.
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn EventLog>,
    operations: Arc<Operations>,
    page_tokens: Arc<PageTokens>,
    runtime: Runtime,
    shapes: Shapes,
    letters: Letters,
}

#[tonic::async_trait]
impl EventService for Events {
    async fn read_events(
        &self,
        request: Request<wire::ReadEventsRequest>,
    ) -> Result<Response<wire::ReadEventsResponse>, Status> {
        let until = deadline(&request);
        let shared = &self.shared;
        let page = page::EventsPage::parse(request.get_ref(), &shared.page_tokens, shared.log.partition_count())?;
        Ok(Response::new(page.read(&*shared.log, &shared.shapes, &shared.page_tokens, until).await?))
    }

    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Result<Response<wire::ListDeadLettersResponse>, Status> {
        let until = deadline(&request);
        let shared = &self.shared;
        let page = page::LettersPage::parse(request.get_ref(), &shared.page_tokens)?;
        let known = shared.letters.known(until).await?;
        Ok(Response::new(page.list(&known, |id| shared.operations.fate(id), &shared.page_tokens)?))
    }

    async fn get_dead_letter(
        &self,
        request: Request<wire::GetDeadLetterRequest>,
    ) -> Result<Response<wire::GetDeadLetterResponse>, Status> {
        let until = deadline(&request);
        let id = parse_id("letter_id", &request.get_ref().letter_id)?;
        let letter = self.shared.letters.get(id, until).await?;
        let content = self.shared.letters.shown_content(&letter, until).await?;
        Ok(Response::new(wire::GetDeadLetterResponse {
            letter: Some(letter.summary(self.shared.operations.fate(id))),
            key: content.key,
            value: content.value,
            headers: content.headers.into_iter().map(shown::letter_header).collect(),
        }))
    }

    async fn retry_dead_letter(
        &self,
        request: Request<wire::RetryDeadLetterRequest>,
    ) -> Result<Response<wire::RetryDeadLetterResponse>, Status> {
        let (until, operator) = (deadline(&request), Operator::of(&request));
        let id = parse_id("letter_id", &request.get_ref().letter_id)?;
        let letter = self.shared.open_letter(id, until).await?;
        let content = self.shared.letters.content(&letter, until).await?;
        let shared = Arc::clone(&self.shared);
        let done = self.shared.through(until, async move { shared.retry(letter, content, &operator, until).await });
        Ok(Response::new(done.await?))
    }

    async fn discard_dead_letter(
        &self,
        request: Request<wire::DiscardDeadLetterRequest>,
    ) -> Result<Response<wire::DiscardDeadLetterResponse>, Status> {
        let (until, operator) = (deadline(&request), Operator::of(&request));
        let wire::DiscardDeadLetterRequest { letter_id, note } = request.into_inner();
        let (id, note) = Failure::both(parse_id("letter_id", &letter_id), parse_note(note))?;
        self.shared.open_letter(id, until).await?;
        let discard_time = Some(kith_proto::time::timestamp(self.shared.runtime.now_ms()));
        let event = wire::DeadLetterDiscarded { letter_id, note, discard_time };
        let shared = Arc::clone(&self.shared);
        let decision = Decision::DeadLetterDiscarded(event);
        self.shared.through(until, async move { shared.announce(decision, &operator).await }).await?;
        Ok(Response::new(wire::DiscardDeadLetterResponse {}))
    }
}

impl Shared {
    /// An undecided letter.
    async fn open_letter(&self, id: RecordId, until: Deadline) -> Result<Letter, Failure> {
        let letter = self.letters.get(id, until).await?;
        match self.operations.fate(id) {
            None => Ok(letter),
            Some(LetterFate::Retried(record)) => {
                Err(Failure::dead_letter_state(format!("was retried already, as record {record}")))
            }
            Some(LetterFate::Discarded(_)) => Err(Failure::dead_letter_state("was discarded already")),
        }
    }

    /// Appends first: a retry interrupted before its decision is repeated, and appends the same record.
    async fn retry(
        &self,
        letter: Letter,
        content: letters::Content,
        operator: &Operator,
        until: Deadline,
    ) -> Result<wire::RetryDeadLetterResponse, Failure> {
        let (record_id, record) = retry::record(&letter, content)?;
        let appended = tokio::time::timeout_at(until.at(), self.log.append(record)).await;
        let position = appended.map_err(|_| not_known())??;
        let retry_time = Some(kith_proto::time::timestamp(self.runtime.now_ms()));
        let (letter_id, record_id) = (letter.id.to_string(), record_id.to_string());
        let event = wire::DeadLetterRetried { letter_id, record_id: record_id.clone(), retry_time };
        self.announce(Decision::DeadLetterRetried(event), operator).await?;
        Ok(wire::RetryDeadLetterResponse {
            record_id,
            topic: position.partition.topic.name.to_owned(),
            partition: u32::from(position.partition.index),
            offset: position.offset,
        })
    }

    async fn announce(&self, decision: Decision, operator: &Operator) -> Result<(), Failure> {
        self.operations.announce_by(operator.name(), decision).await.map_err(|error| match error {
            FoldError::Append(AppendError::Unknown(_)) => not_known(),
            FoldError::Append(error) => error.into(),
            error => {
                tracing::warn!(%error, "a decision about a dead letter");
                Failure::log_unavailable()
            }
        })
    }

    /// In a separate task: a caller that goes away does not interrupt it.
    async fn through<T: Send + 'static>(
        &self,
        until: Deadline,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(until.at(), self.runtime.spawn(work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(panicked)) => Err(Failure::defect("deciding about a dead letter", &panicked)),
            Err(_) => Err(not_known()),
        }
    }
}

fn parse_note(note: String) -> Result<String, Failure> {
    const FIELD: &str = "note";
    if note.trim().is_empty() {
        return Err(Failure::text_empty(FIELD));
    }
    if note.len() > NOTE_BYTES {
        return Err(Failure::text_too_long(FIELD, note.len(), NOTE_BYTES, Length::Bytes));
    }
    Ok(note)
}

fn letter_not_found() -> Failure {
    Failure::not_found(Reason::DeadLetterNotFound, "dead letter")
}

#[cfg(test)]
mod tests;
