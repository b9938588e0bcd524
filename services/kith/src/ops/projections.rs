//! `kith.ops.v1.ProjectionService`: the progress of the folds, and the generations of their tables.

mod estimate;
mod shown;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use kith_fold::engine::Running;
use kith_fold::{Generations, Operations, Projection, verify};
use kith_proto::ops::v1 as proto;
use kith_proto::ops::v1::ops_event::Event;
use kith_proto::ops::v1::projection_service_server::ProjectionService;
use kith_proto::time;
use kith_service::Failure;
use kith_service::auth::Operator;
use kith_service::deadline::deadline;
use kith_service::ids::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Request, Response, Status};

use super::opening::{self, Builds};
use super::refusals::{failed, not_found, not_known, refused, state, stood, undecided};
pub use shown::waits_for;
use shown::{all_of, generation, present, rebuild};

/// The longest note, in bytes.
const NOTE_BYTES: usize = 500;
/// Requests that started before a promotion, and replicas that learn of it late, may read the previous generation's
/// tables for this long.
const KEPT_AFTER_PROMOTION: Duration = Duration::from_secs(35);
/// Between two checks whether a decision has taken effect here.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Before the caller's deadline, so that it gets this answer and not a less specific one.
const TIME_TO_ANSWER: Duration = Duration::from_millis(200);
/// Unread messages of a comparison.
const TOLD_AHEAD: usize = 16;

/// The fold groups that run in this process.
#[derive(Clone)]
pub struct Projections {
    all: Arc<BTreeMap<&'static str, Arc<Projection>>>,
    builds: Arc<Builds>,
    operations: Arc<Operations>,
    /// A comparison reads everything, and so does an estimate: one at a time.
    reading_all: Arc<Semaphore>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ProjectionService for Projections {
    async fn list_projections(
        &self,
        request: Request<proto::ListProjectionsRequest>,
    ) -> Reply<proto::ListProjectionsResponse> {
        let service = request.into_inner().service;
        if !service.is_empty() {
            self.of(&service)?;
        }
        let asked = self.all.values().filter(|projection| service.is_empty() || projection.group_name() == service);
        Ok(Response::new(proto::ListProjectionsResponse {
            projections: asked.flat_map(all_of).collect(),
            events_version_open: self.operations.events(),
            events_version_read: opening::newest(&self.builds),
        }))
    }

    async fn pause(&self, request: Request<proto::PauseRequest>) -> Reply<proto::PauseResponse> {
        let operator = Operator::of(&request);
        let proto::PauseRequest { service, note } = request.into_inner();
        let projection = self.of(&service)?;
        if note.len() > NOTE_BYTES {
            return Err(Failure::field_invalid("note", "is longer than 500 bytes").into());
        }
        if now(projection).paused() == Some(&*note) {
            return Ok(Response::new(proto::PauseResponse {}));
        }
        let pause_time = Some(time::timestamp(now_ms(projection)));
        let paused = proto::ProjectionPaused { service, note, pause_time };
        announce(projection, Event::ProjectionPaused(paused), &operator).await?;
        Ok(Response::new(proto::PauseResponse {}))
    }

    async fn resume(&self, request: Request<proto::ResumeRequest>) -> Reply<proto::ResumeResponse> {
        let operator = Operator::of(&request);
        let service = request.into_inner().service;
        let projection = self.of(&service)?;
        if now(projection).paused().is_none() {
            return Ok(Response::new(proto::ResumeResponse {}));
        }
        let resume_time = Some(time::timestamp(now_ms(projection)));
        let resumed = proto::ProjectionResumed { service, resume_time };
        announce(projection, Event::ProjectionResumed(resumed), &operator).await?;
        Ok(Response::new(proto::ResumeResponse {}))
    }

    async fn start_rebuild(&self, request: Request<proto::StartRebuildRequest>) -> Reply<proto::StartRebuildResponse> {
        let (deadline, operator) = (deadline(&request), Operator::of(&request));
        let proto::StartRebuildRequest { service, request_id } = request.into_inner();
        let projection = self.of(&service)?;
        let request_id = RequestId::parse("request_id", &request_id, &projection.ports().runtime)?;
        let number = match now(projection).started_by(request_id.as_str()) {
            Some(number) => number,
            None => start(projection, request_id.as_str(), &operator).await?,
        };
        while projection.generation(number).is_none() {
            self.look_again(projection, deadline.at()).await?;
        }
        let generation = generation(projection, number).ok_or_else(Failure::internal)?;
        Ok(Response::new(proto::StartRebuildResponse { generation: Some(generation) }))
    }

    async fn estimate_rebuild(
        &self,
        request: Request<proto::EstimateRebuildRequest>,
    ) -> Reply<proto::EstimateRebuildResponse> {
        let deadline = deadline(&request);
        let projection = self.of(&request.get_ref().service)?;
        let _turn = self.turn()?;
        Ok(Response::new(estimate::estimate(projection, deadline).await?))
    }

    async fn get_rebuild(&self, request: Request<proto::GetRebuildRequest>) -> Reply<proto::GetRebuildResponse> {
        let asked = request.into_inner();
        let projection = self.of(&asked.service)?;
        let number = self.number(projection, asked.generation)?;
        let running = running(projection, number)?;
        let generation = generation(projection, number).ok_or_else(|| not_found(number))?;
        Ok(Response::new(rebuild(generation, &running, now(projection).paused().is_some(), now_ms(projection))))
    }

    type VerifyTablesStream = Pin<Box<dyn Stream<Item = Result<proto::VerifyTablesResponse, Status>> + Send>>;

    async fn verify_tables(
        &self,
        request: Request<proto::VerifyTablesRequest>,
    ) -> Result<Response<Self::VerifyTablesStream>, Status> {
        let asked = request.into_inner();
        let projection = self.of(&asked.service)?;
        let generations = now(projection);
        let left = if asked.generation == 0 { generations.live() } else { asked.generation };
        let newest_other = generations.all().keys().copied().rfind(|number| *number != left);
        let right = match asked.other_generation {
            0 => newest_other.ok_or_else(|| state("there is one generation only: nothing to compare it with"))?,
            other => other,
        };
        if left == right {
            return Err(state(format!("generation {left} is the same as itself")).into());
        }
        if generations.paused().is_some() {
            return Err(state(
                "the folds are paused, so that neither generation comes to where the other is: resume them",
            )
            .into());
        }
        let turn = self.turn()?;
        let both = (running(projection, left)?, running(projection, right)?);
        let (sender, mut receiver) = mpsc::channel(TOLD_AHEAD);
        let projection = Arc::clone(projection);
        let runtime = projection.ports().runtime.clone();
        runtime.spawn(async move {
            compare(&projection, both, &sender).await;
            drop(turn);
        });
        Ok(Response::new(Box::pin(futures::stream::poll_fn(move |context| receiver.poll_recv(context)))))
    }

    async fn promote(&self, request: Request<proto::PromoteRequest>) -> Reply<proto::PromoteResponse> {
        let (deadline, operator) = (deadline(&request), Operator::of(&request));
        let asked = request.into_inner();
        let projection = self.of(&asked.service)?;
        let number = self.number(projection, asked.generation)?;
        let event = now(projection).promote(&asked.service, number, now_ms(projection)).map_err(refused)?;
        running(projection, number)?;
        projection.promotable(number).map_err(|why| state(why.to_string()))?;
        announce(projection, event, &operator).await?;
        stood(now(projection).live() == number)?;
        self.until_live(projection, number, deadline.at()).await?;
        Ok(Response::new(proto::PromoteResponse { generation: generation(projection, number) }))
    }

    async fn rollback(&self, request: Request<proto::RollbackRequest>) -> Reply<proto::RollbackResponse> {
        let (deadline, operator) = (deadline(&request), Operator::of(&request));
        let service = request.into_inner().service;
        let projection = self.of(&service)?;
        let event = now(projection).roll_back(&service, now_ms(projection)).map_err(refused)?;
        let Event::GenerationPromoted(promoted) = &event else { return Err(Failure::internal().into()) };
        let number = promoted.generation;
        // Only processes of the release that fills it can tell that it is folded on.
        running(projection, number)?;
        announce(projection, event, &operator).await?;
        stood(now(projection).live() == number)?;
        self.until_live(projection, number, deadline.at()).await?;
        Ok(Response::new(proto::RollbackResponse { generation: generation(projection, number) }))
    }

    async fn open_events(&self, request: Request<proto::OpenEventsRequest>) -> Reply<proto::OpenEventsResponse> {
        let operator = Operator::of(&request);
        let version = request.into_inner().version;
        opening::open(&self.builds, &self.operations, version, operator.name()).await?;
        tracing::info!(version, "an operator opened events");
        Ok(Response::new(proto::OpenEventsResponse { version: self.operations.events() }))
    }

    async fn drop_generation(
        &self,
        request: Request<proto::DropGenerationRequest>,
    ) -> Reply<proto::DropGenerationResponse> {
        let operator = Operator::of(&request);
        let asked = request.into_inner();
        let projection = self.of(&asked.service)?;
        let (generations, number) = (now(projection), asked.generation);
        if number == 0 {
            return Err(Failure::field_invalid("generation", "names none: say which").into());
        }
        let event = generations.drop(&asked.service, number, now_ms(projection)).map_err(refused)?;
        let served_until_ms = generations.all().get(&number).and_then(|generation| generation.served_until_ms);
        let since_ms = served_until_ms.map_or(i64::MAX, |until_ms| now_ms(projection).saturating_sub(until_ms));
        let kept = KEPT_AFTER_PROMOTION.as_millis() as i64;
        if since_ms < kept {
            let wait_s = (kept - since_ms) / 1_000 + 1;
            return Err(state(format!("generation {number} served a moment ago: try again in {wait_s} s")).into());
        }
        announce(projection, event, &operator).await?;
        // Every process ends it, and deletes its tables a little later.
        stood(!now(projection).all().contains_key(&number))?;
        Ok(Response::new(proto::DropGenerationResponse {}))
    }
}

impl Projections {
    pub fn new(projections: &[Arc<Projection>], builds: Builds, operations: Arc<Operations>) -> Self {
        let all = projections.iter().map(|projection| (projection.group_name(), Arc::clone(projection)));
        let (all, reading_all) = (Arc::new(all.collect()), Arc::new(Semaphore::new(1)));
        Self { all, builds: Arc::new(builds), operations, reading_all }
    }

    /// Held while all tables of a group are read.
    fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let turn = Arc::clone(&self.reading_all).try_acquire_owned();
        turn.map_err(|_| state("another comparison or dry run is under way in this process"))
    }

    fn of(&self, service: &str) -> Result<&Arc<Projection>, Failure> {
        self.all.get(service).ok_or_else(|| {
            let here = self.all.keys().copied().collect::<Vec<_>>().join(", ");
            Failure::field_invalid("service", &format!("is no fold group that runs in this process: {here}"))
        })
    }

    /// The requested generation; 0 is the newest.
    fn number(&self, projection: &Projection, asked: u32) -> Result<u32, Failure> {
        let all = now(projection);
        let newest = all.all().keys().next_back().copied();
        let number = if asked == 0 { newest.unwrap_or(asked) } else { asked };
        if all.all().contains_key(&number) { Ok(number) } else { Err(not_found(number)) }
    }

    async fn until_live(
        &self,
        projection: &Projection,
        number: u32,
        until: tokio::time::Instant,
    ) -> Result<(), Failure> {
        // Another release's generation is served by its processes.
        let is_own = now(projection).is_of(number, projection.build());
        while is_own && projection.serving_number() != Some(number) {
            self.look_again(projection, until).await?;
        }
        Ok(())
    }

    /// The decision is in the log, and takes effect, maybe after the deadline.
    async fn look_again(&self, projection: &Projection, until: tokio::time::Instant) -> Result<(), Failure> {
        if tokio::time::Instant::now() + TIME_TO_ANSWER >= until {
            return Err(not_known());
        }
        projection.ports().runtime.sleep(LOOK_EVERY).await;
        Ok(())
    }
}

fn now(projection: &Projection) -> Generations {
    projection.operations().generations(projection.group_name())
}

fn now_ms(projection: &Projection) -> i64 {
    projection.ports().runtime.now_ms()
}

/// Decides on a new generation, creates its tables, appends the decision; returns its number.
async fn start(projection: &Projection, request_id: &str, operator: &Operator) -> Result<u32, Failure> {
    let number = projection.begin(request_id, operator.name()).await.map_err(undecided)?;
    tracing::info!(group = projection.group_name(), number, "an operator began a new generation");
    stood(now(projection).started_by(request_id) == Some(number))?;
    Ok(number)
}

async fn announce(projection: &Projection, event: Event, operator: &Operator) -> Result<(), Failure> {
    tracing::info!(group = projection.group_name(), decision = ?event, "an operator decided");
    projection.operations().announce_by(operator.name(), event).await.map_err(failed)
}

fn running(projection: &Projection, number: u32) -> Result<Arc<Running>, Failure> {
    projection.generation(number).ok_or_else(|| {
        let all = now(projection);
        if let Some(found) = all.all().get(&number).filter(|_| !all.has_folds(number, projection.build().folds_version))
        {
            let (version, own) = (found.folds_version, projection.build().folds_version);
            let whose = format!("generation {number} is of folds {version}, this process has folds {own}");
            return state(whose + ": ask one of the release that fills it");
        }
        if let Some(why) = waits_for(projection).filter(|_| !all.is_of(number, projection.build())) {
            return state(why);
        }
        if all.all().contains_key(&number) {
            return state(format!("generation {number} is being opened here: try again"));
        }
        not_found(number)
    })
}

/// Compares, and streams the progress. Ends early when the caller is gone.
async fn compare(
    projection: &Projection,
    (left, right): (Arc<Running>, Arc<Running>),
    told: &mpsc::Sender<Result<proto::VerifyTablesResponse, Status>>,
) {
    let progress = |compared: verify::Compared| {
        // A slow reader misses steps, not the verdict.
        let _ = told.try_send(Ok(proto::VerifyTablesResponse {
            table: compared.table.to_owned(),
            partitions_compared: compared.partitions,
            rows_compared: compared.rows,
            verdict: None,
        }));
    };
    let group = projection.group(left.number());
    let work = verify::verify(projection.ports(), &group, (&left.state, &right.state), &progress);
    let verdict = tokio::select! {
        biased;
        () = told.closed() => return,
        verdict = work => verdict,
    };
    let numbers = (left.number(), right.number());
    let answer = verdict.map(|verdict| present(verdict, numbers)).map_err(|error| {
        tracing::warn!(group = projection.group_name(), %error, "generations could not be compared");
        Status::from(state(format!("the comparison could not be made: {error}")))
    });
    let _ = told.send(answer).await;
}
