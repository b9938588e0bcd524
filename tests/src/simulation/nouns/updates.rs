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
use super::follows::{always_parted, blocked, ever_parted};
use super::shown::SeenMessage;
use super::talk::{self, Message, Talk, Talks};
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
    /// A conversation, and whether it stands for all messages that it has: at the beginning, where there is no cursor yet.
    Talk(SeenTalk, bool),
    /// In a conversation.
    Message(String, SeenMessage),
    /// In that conversation this account has read so far, for all.
    Marker(String, String, u64),
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
            let stands = next.cursor.is_empty();
            if !stands {
                cursor = next.cursor;
            }
            match next.update {
                Some(Update::Message(message))
                    if ask.confusion == Some(Confusion::AmendsUntold)
                        && (message.edit_time.is_some() || message.unsend_time.is_some()) => {}
                Some(Update::Message(message)) => {
                    answer.push(Said::Message(
                        message.conversation_id.clone(),
                        SeenMessage::of(message, &BTreeMap::new()),
                    ));
                }
                Some(Update::Conversation(_)) if is_now => {}
                Some(Update::Conversation(conversation)) => {
                    answer.push(Said::Talk(SeenTalk::of(conversation), stands));
                }
                Some(Update::CaughtUp(_)) => answer.push(Said::CaughtUp),
                Some(Update::MarkerMoved(moved)) => {
                    let marker = moved.marker.unwrap_or_default();
                    answer.push(Said::Marker(moved.conversation_id, marker.account_id, marker.read_number));
                }
                Some(Update::Left(_) | Update::ReadAgain(_)) | None => {}
            }
        }
        let next_page = if left > 1 { format!("{}{BEFORE_CURSOR}{cursor}", left - 1) } else { String::new() };
        Ok(Reply { answer, token: cursor, next_page })
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Vec<Said>, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        let mut findings = Vec::new();
        let mut next = BTreeMap::<&str, u64>::new();
        let mut latest = BTreeMap::<(&str, u64), &SeenMessage>::new();
        for said in told {
            match said {
                Said::Began | Said::CaughtUp => {}
                Said::Talk(seen, true) => {
                    let next = next.entry(&seen.id).or_default();
                    *next = (*next).max(seen.number + 1);
                    latest.retain(|(talk, _), _| *talk != seen.id);
                }
                Said::Talk(..) => {}
                Said::Message(talk, seen) => {
                    latest.insert((talk, seen.number), seen);
                    findings.extend(message(model, call, (talk, seen), &mut next));
                }
                Said::Marker(talk, who, number) => findings.extend(marker(model, (talk, who, *number))),
            }
        }
        findings.extend(missing(model, call, &next));
        findings.extend(outdated(model, call, &latest));
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
    let states = talk::all(model, id);
    let parted = |who: &str| (always_parted(model, call, reader, who), ever_parted(model, call, reader, who));
    let by_block = |who: &str| blocked(model, call, reader, who);
    let mut findings = Vec::new();
    if !seen.is_message(reader, &states, (&parted, &by_block)) || !now.shows(reader, seen.number) {
        findings.push(Finding::new(UPDATES, format!("{reader} was told of {id} {seen:?}, not as it is")));
    }
    let expected = next.entry(id).or_insert(1);
    let skips = seen.number > *expected && !may_skip(model, call, id, &now);
    // What was told is told again once something becomes of it.
    let is_amended = |message: &Message| message.edited > 0 || message.unsent > 0;
    let again = || {
        let id = &seen.message.id;
        states.iter().any(|now| now.reacted.contains(id) || now.message(id).is_some_and(is_amended))
    };
    if (seen.number < *expected && !again()) || skips {
        findings.push(Finding::new(UPDATES, format!("{reader} was told of {id} {seen:?} where {expected} was next")));
    }
    *expected = (*expected).max(seen.number + 1);
    findings
}

/// Who says so, has said so, to all.
fn marker(model: &Model, (id, who, number): (&str, &str, u64)) -> Option<Finding> {
    let was = talk::ever(model, id, |now| now.public_markers.get(who) == Some(&number));
    (!was).then(|| Finding::new(UPDATES, format!("{who} never told the others of {id} that it read up to {number}")))
}

/// What became of a message before the first stream, or of one that was told, was told as it then was.
fn outdated(model: &Model, call: &Call, latest: &BTreeMap<(&str, u64), &SeenMessage>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((id, number), seen) in latest {
        let Some(line) = model.state::<Talks>().0.get(*id) else { continue };
        let (low, _) = call.window(model.partition(topics::MESSAGING, id));
        let (then, last) = (line.at(low), line.last());
        let Some(message) = then.message(&seen.message.id).filter(|_| !may_skip(model, call, id, &last)) else {
            continue;
        };
        let is_told = seen.message.unsent > 0 || message.unsent == 0 && message.edited <= seen.message.edited;
        if !is_told {
            let what = format!("{} was told {number} of {id} as {seen:?}, and not that it is {message:?}", call.actor);
            findings.push(Finding::new(UPDATES, what));
        }
    }
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
