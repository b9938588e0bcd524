//! Updates as they are streamed: read as a walk whose pages are streams, each by whatever process answers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::messaging::v1::StreamUpdatesRequest;
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::update_service_client::UpdateServiceClient;
use tonic::{Code, Status};

use super::conversations::{SERVICE, SeenTalk};
use super::messages::SeenMessage;
use super::talk::{self, Talk, Talks};
use super::{Draw, Noun};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{Finding, UPDATES};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::operation::{Ask, Confusion, Operation, Reply, op};

/// How many streams there are, one after the other.
const STREAMS: usize = 6;
/// A stream is left after so many updates.
const UPDATES_PER_STREAM: usize = 4;
/// Or after so long without one, once it has caught up.
const QUIET: Duration = Duration::from_millis(400);
/// Between the number of streams that are left and the cursor.
const BEFORE_CURSOR: char = ' ';

pub struct Updates;

impl Noun for Updates {
    fn draws(&self) -> &'static [Draw] {
        const { &[Draw { weight: 2, draw: |_| Some(op(StreamUpdates)) }] }
    }
}

#[derive(Debug)]
struct StreamUpdates;

/// What a stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// One more began.
    Began,
    Talk(SeenTalk),
    /// In a conversation.
    Message(String, SeenMessage),
    CaughtUp,
}

#[async_trait]
impl Operation for StreamUpdates {
    type Answer = Vec<Said>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;
    const SAYS_SEEN: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Vec<Said>>, Status> {
        let (left, cursor) = match ask.page_token.split_once(BEFORE_CURSOR) {
            Some((left, cursor)) => (left.parse().unwrap_or(1), cursor.to_owned()),
            None => (STREAMS, String::new()),
        };
        let is_now = ask.confusion == Some(Confusion::CursorIsNow) && left < STREAMS;
        let asked = if is_now { String::new() } else { cursor.clone() };
        let request = StreamUpdatesRequest { cursor: asked, at_least: ask.at_least };
        let mut client: UpdateServiceClient<Way> = UpdateServiceClient::new(to.way(SERVICE));
        let mut updates = client.stream_updates(to.from(&ask.actor, request)).await?.into_inner();
        let (mut answer, mut cursor) = (vec![Said::Began], cursor);
        while answer.len() <= UPDATES_PER_STREAM || !answer.contains(&Said::CaughtUp) {
            let next = updates.message();
            let next = match answer.contains(&Said::CaughtUp) {
                false => next.await?,
                true => match tokio::time::timeout(QUIET, next).await {
                    Ok(next) => next?,
                    Err(_) => break,
                },
            };
            let next = next.ok_or_else(|| Status::unavailable("the stream ended"))?;
            if !next.cursor.is_empty() {
                cursor = next.cursor;
            }
            match next.update {
                Some(Update::Message(message)) => {
                    answer.push(Said::Message(message.conversation_id.clone(), SeenMessage::of(message)));
                }
                Some(Update::Conversation(_)) if is_now => {}
                Some(Update::Conversation(conversation)) => answer.push(Said::Talk(SeenTalk::of(conversation))),
                Some(Update::CaughtUp(_)) => answer.push(Said::CaughtUp),
                Some(Update::Left(_)) | None => {}
            }
        }
        let next_page = if left > 1 { format!("{}{BEFORE_CURSOR}{cursor}", left - 1) } else { String::new() };
        Ok(Reply { answer, token: cursor, next_page })
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Vec<Said>, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        let mut findings = Vec::new();
        let mut next = BTreeMap::<&str, u64>::new();
        let mut caught_up = false;
        for said in told {
            match said {
                Said::Began => caught_up = false,
                Said::CaughtUp => caught_up = true,
                // It stands for all messages that it has.
                Said::Talk(seen) if !caught_up => {
                    let next = next.entry(&seen.id).or_default();
                    *next = (*next).max(seen.number + 1);
                }
                Said::Talk(_) => {}
                Said::Message(talk, seen) => findings.extend(message(model, call, (talk, seen), &mut next)),
            }
        }
        findings.extend(missing(model, call, &next));
        findings
    }

    fn append(all: &mut Vec<Said>, page: Vec<Said>) {
        all.extend(page);
    }
}

/// It is as the log has it, and the next one of its conversation.
fn message<'s>(
    model: &Model,
    call: &Call,
    (id, seen): (&'s str, &SeenMessage),
    next: &mut BTreeMap<&'s str, u64>,
) -> Vec<Finding> {
    let (reader, now) = (&call.actor, talk::last(model, id).unwrap_or_default());
    let mut findings = Vec::new();
    if !seen.is_in(&now) || !now.shows(reader, seen.number) {
        findings.push(Finding::new(UPDATES, format!("{reader} was told of {id} {seen:?}, not as it is")));
    }
    let expected = next.entry(id).or_insert(1);
    let skips = seen.number > *expected && !may_skip(model, call, id, &now);
    if seen.number < *expected || skips {
        findings.push(Finding::new(UPDATES, format!("{reader} was told of {id} {seen:?} where {expected} was next")));
    }
    *expected = (*expected).max(seen.number + 1);
    findings
}

/// Whether the reader is not told everything: it declined, came later to a group, or a block stood.
fn may_skip(model: &Model, call: &Call, id: &str, now: &Talk) -> bool {
    if now.is_group {
        return true;
    }
    let declined = talk::ever(model, id, |talk| talk.declined.contains(&call.actor));
    declined || talk::parted(model, call, &call.actor, std::slice::from_ref(now)).1
}

/// All that was before the first stream was told.
fn missing(model: &Model, call: &Call, next: &BTreeMap<&str, u64>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, line) in &model.state::<Talks>().0 {
        let (low, _) = call.window(model.partition(topics::MESSAGING, id));
        let (then, last) = (line.at(low), line.last());
        if !last.members.contains_key(&call.actor) || may_skip(model, call, id, &last) {
            continue;
        }
        let told = next.get(id.as_str()).map_or(0, |next| next - 1);
        if told < then.last() {
            let what = format!("{} was told {told} messages of {id}, of at least {}", call.actor, then.last());
            findings.push(Finding::new(UPDATES, what));
        }
    }
    findings
}
