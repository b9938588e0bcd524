//! Messages in conversations, and how much of them is unread.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    self, GetUnreadCountsRequest, ListMessagesRequest, MarkReadRequest, MessageContent, SendMessageRequest,
};
use kith_service::limits;
use tonic::{Code, Status};

use super::conversations::{CONVERSATIONS, SERVICE};
use super::follows::{always_parted, ever_parted, size};
use super::lists::{List, There, walk, whole};
use super::talk::{self, Message, Talk, Talks, change, states, states_of};
use super::{Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, LISTS, TOKEN, UNREAD, times};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros, said};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op, record_id};

pub struct Messages;

impl Noun for Messages {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 8, draw: |scene| Some(op(SendMessage { talk: own(scene)?, text: scene.text() })) },
                Draw {
                    weight: 3,
                    draw: |scene| Some(op(MarkRead { talk: own(scene)?, up_to: scene.chance.between(1, 4) })),
                },
                Draw { weight: 4, draw: |scene| Some(op(GetUnreadCounts { talks: some(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(whole(ListMessages { talk: own(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(walk(ListMessages { talk: own(scene)? }, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Talks>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        match &fact.event {
            Event::Messaging(Messaging::MessageSent(event)) => {
                let text = said::<MessageContent>(event.content.as_ref()).text;
                let (id, sender) = (event.message_id.clone(), event.sender_id.clone());
                let message = Message { id, sender, text: text.clone(), at: fact.at };
                change(model, &event.conversation_id, fact, |now| now.send(message));
                // One that came when no more could wait is none.
                let is_there = |now: &Talk| now.messages.last().is_some_and(|last| last.id == event.message_id);
                if fact.is_new && talk::last(model, &event.conversation_id).as_ref().is_some_and(is_there) {
                    model.makes(&event.message_id, Some(&text), fact.position);
                }
            }
            Event::Messaging(Messaging::ReadMarkerMoved(event)) => {
                change(model, &event.conversation_id, fact, |now| now.read(&event.account_id, event.up_to_number));
            }
            _ => {}
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let (mut all, mut members) = (Vec::new(), BTreeSet::new());
        let talks = &model.state::<Talks>().0;
        for (talk, line) in talks {
            for member in line.last().members.into_keys() {
                all.push((member.clone(), walk(ListMessages { talk: talk.clone() }, 3)));
                members.insert(member);
            }
        }
        let ids: Vec<String> = talks.keys().cloned().collect();
        for member in members {
            let batches = ids.chunks(limits::BATCH_ITEMS);
            all.extend(batches.map(|talks| (member.clone(), op(GetUnreadCounts { talks: talks.to_vec() }))));
        }
        all
    }
}

fn own(scene: &Scene<'_>) -> Option<String> {
    scene.own(CONVERSATIONS).map(|talk| talk.id.clone())
}

/// One of one's own and, at times, others, also of other people.
fn some(scene: &Scene<'_>) -> Option<Vec<String>> {
    let others = (0..scene.chance.below(3)).filter_map(|_| scene.one(CONVERSATIONS).map(|talk| talk.id.clone()));
    Some([own(scene)?].into_iter().chain(others).collect())
}

fn client(to: &Callers) -> MessageServiceClient<Way> {
    MessageServiceClient::new(to.way(SERVICE))
}

/// A message as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMessage {
    pub number: u64,
    message: Message,
}

impl SeenMessage {
    pub fn of(message: v1::Message) -> Self {
        let at = micros(message.create_time.as_ref());
        let v1::Message { message_id: id, sender_id: sender, text, number, .. } = message;
        Self { number, message: Message { id, sender, text, at } }
    }

    pub fn is_in(&self, talk: &Talk) -> bool {
        let place = talk.messages.iter().position(|message| *message == self.message);
        place.is_some_and(|place| self.number == place as u64 + 1)
    }
}

#[derive(Debug)]
struct SendMessage {
    talk: String,
    text: String,
}

#[async_trait]
impl Operation for SendMessage {
    type Answer = Message;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Message>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, text) = (self.talk.clone(), self.text.clone());
        let request = SendMessageRequest { conversation_id, text, request_id, at_least };
        let sent = client(to).send_message(to.from(&actor, request)).await?.into_inner();
        let v1::SentMessage { message_id: id, sender_id: sender, text, create_time, .. } =
            sent.message.unwrap_or_default();
        let at = micros(create_time.as_ref());
        Ok(Reply::new(Message { id, sender, text, at }, sent.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Message, Code>) -> Vec<Finding> {
        let Ok(message) = told else { return Vec::new() };
        let said = model.said.get(&self.text).is_some_and(|ids| ids.contains(&message.id));
        let missing = || Finding::new(EFFECTIVE_ONCE, format!("sent, and not in the log: {} is {message:?}", call.op));
        if said { Vec::new() } else { vec![missing()] }
    }

    fn made(&self, told: &Message) -> Option<String> {
        Some(told.id.clone())
    }

    fn stands(&self, model: &Model, _call: &Call, told: &Message) -> bool {
        talk::last(model, &self.talk).is_some_and(|talk| talk.messages.contains(told))
    }
}

#[derive(Debug)]
struct MarkRead {
    talk: String,
    up_to: u64,
}

#[async_trait]
impl Operation for MarkRead {
    /// Where the marker stands.
    type Answer = u64;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<u64>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, up_to_number) = (self.talk.clone(), self.up_to);
        let request = MarkReadRequest { conversation_id, up_to_number, request_id, at_least };
        let read = client(to).mark_read(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(read.read_number, read.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let id = record_id(actor, "kith.messaging.v1.MessageService/MarkRead", request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.talk.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let (_, end) = call.meanwhile(model.partition(topics::MESSAGING, &self.talk));
        let reads = |now: &Talk| now.members.get(&call.actor) >= Some(&self.up_to);
        model.state::<Talks>().0.get(&self.talk).is_some_and(|line| line.ever((0, end), reads))
    }
}

/// Of a few conversations, and of all together.
#[derive(Debug)]
struct GetUnreadCounts {
    talks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenUnread {
    each: Vec<(String, u64)>,
    total: u64,
    /// Conversations with any.
    talks: u64,
    /// One more if there are said to be more, which no history has.
    requests: u64,
}

#[async_trait]
impl Operation for GetUnreadCounts {
    type Answer = SeenUnread;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenUnread>, Status> {
        let request = GetUnreadCountsRequest { conversation_ids: self.talks.clone(), at_least: ask.at_least };
        let found = client(to).get_unread_counts(to.from(&ask.actor, request)).await?.into_inner();
        let each = found.counts.into_iter().map(|count| (count.conversation_id, count.unread_count)).collect();
        let (total, talks) = (found.total_unread_count, found.unread_conversation_count);
        let requests = u64::from(found.request_count) + u64::from(found.has_more_requests);
        Ok(Reply::new(SeenUnread { each, total, talks, requests }, found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenUnread, Code>) -> Vec<Finding> {
        let (Ok(told), reader) = (told, &call.actor) else { return Vec::new() };
        if !told.each.iter().map(|(talk, _)| talk).eq(&self.talks) {
            return vec![Finding::new(UNREAD, format!("{} was answered for {told:?}", call.op))];
        }
        let unread = |states: &[Talk]| states.iter().map(|now| now.unread_in_inbox(reader)).collect::<Vec<u64>>();
        let mut findings = Vec::new();
        for (talk, seen) in &told.each {
            let known = unread(&states(model, call, talk));
            if !known.contains(seen) {
                findings.push(Finding::new(UNREAD, format!("{seen} of {talk} for {reader}, not of {known:?}")));
            }
        }
        // Of all conversations each is read at a time of its own.
        let (mut fewest, mut most) = ([0; 3], [0; 3]);
        for states in states_of(model, call, reader).values() {
            let known = unread(states);
            let (low, high) = (known.iter().min().copied().unwrap_or(0), known.iter().max().copied().unwrap_or(0));
            let waits: Vec<bool> = states.iter().map(|now| now.asked.contains(reader)).collect();
            let (never, at_times) = talk::parted(model, call, reader, states);
            let all = waits.iter().all(|waits| *waits) && !at_times;
            let any = waits.iter().any(|waits| *waits) && !never;
            let add = |sum: [u64; 3], of: [u64; 3]| [sum[0] + of[0], sum[1] + of[1], sum[2] + of[2]];
            fewest = add(fewest, [low, u64::from(low > 0), u64::from(all)]);
            most = add(most, [high, u64::from(high > 0), u64::from(any)]);
        }
        let seen = [told.total, told.talks, told.requests];
        if !(0..3).all(|at| (fewest[at]..=most[at]).contains(&seen[at])) {
            let what = format!("{told:?} in all for {reader}, not between {fewest:?} and {most:?}");
            findings.push(Finding::new(UNREAD, what));
        }
        findings
    }
}

/// All of a conversation.
pub fn messages_of(talk: &str) -> impl List {
    ListMessages { talk: talk.to_owned() }
}

/// Newest first.
#[derive(Debug)]
struct ListMessages {
    talk: String,
}

#[async_trait]
impl List for ListMessages {
    type Row = SeenMessage;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenMessage>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListMessagesRequest { conversation_id: self.talk.clone(), page_size, page_token, at_least };
        let page = client(to).list_messages(to.from(&actor, request)).await?.into_inner();
        let answer = page.messages.into_iter().map(SeenMessage::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenMessage]) -> Vec<Finding> {
        let states = states(model, call, &self.talk);
        let mut there = There::default();
        let reader = &call.actor;
        for Message { id, sender, .. } in states.iter().flat_map(|now| now.shown(reader)) {
            // In a group each of a block is hidden from the other.
            let is_group = states.iter().any(|now| now.is_group);
            let always = states.iter().all(|now| now.shown(reader).any(|message| message.id == *id));
            let (hidden, at_times) =
                (always_parted(model, call, reader, sender), ever_parted(model, call, reader, sender));
            there.put(id, !(is_group && hidden), always && !(is_group && at_times));
        }
        let ids: Vec<&str> = rows.iter().map(|row| &*row.message.id).collect();
        let mut findings = there.check(call, &ids);
        let last = talk::last(model, &self.talk).unwrap_or_default();
        let unlike = rows.iter().filter(|row| !row.is_in(&last));
        findings.extend(unlike.map(|row| Finding::new(TOKEN, format!("{} has {row:?}, not as it is", call.op))));
        if !rows.is_sorted_by(|later, earlier| later.number > earlier.number) {
            findings.push(Finding::new(LISTS, format!("{} is out of order: {rows:?}", call.op)));
        }
        let oldest_first: Vec<&str> = ids.iter().rev().copied().collect();
        findings.extend(times::in_causal_order(model, call, &oldest_first));
        if !rows.is_sorted_by(|later, earlier| later.message.at >= earlier.message.at) {
            findings.push(Finding::new(LISTS, format!("{}: times do not rise with numbers: {rows:?}", call.op)));
        }
        findings
    }
}
