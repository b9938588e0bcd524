//! Messages in conversations, and how much of them is unread.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    self, Consent, GetUnreadCountsRequest, MarkReadRequest, MessageContent, ReadVisibility, SendMessageRequest,
};
use kith_service::limits;
use tonic::{Code, Status};

use super::amends::{MESSAGES, message_of};
use super::conversations::{CONVERSATIONS, SERVICE};
use super::follows::size;
use super::lists::{walk, whole};
use super::shown::{self, ListMessages};
use super::talk::{self, Message, Talk, Talks, change, states, states_of};
use super::{Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, UNREAD};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros, said};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op, record_id};

pub struct Messages;

impl Noun for Messages {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 8, draw: |scene| Some(op(sending(scene)?)) },
                Draw { weight: 3, draw: |scene| Some(op(reading(scene)?)) },
                Draw { weight: 4, draw: |scene| Some(op(GetUnreadCounts { talks: some(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(whole(ListMessages::of(own(scene)?))) },
                Draw { weight: 1, draw: |scene| Some(walk(ListMessages::of(own(scene)?), size(scene))) },
                Draw { weight: 1, draw: shown::from_a_message },
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
                let replies_to = event.reply_to_message_id.clone();
                let message = Message { id, sender, text: text.clone(), at: fact.at, replies_to, ..Message::default() };
                change(model, &event.conversation_id, fact, |now| now.send(message));
                // One that came when no more could wait is none.
                let is_there = |now: &Talk| now.messages.last().is_some_and(|last| last.id == event.message_id);
                if fact.is_new && talk::last(model, &event.conversation_id).as_ref().is_some_and(is_there) {
                    model.makes(&event.message_id, Some(&text), fact.position);
                }
            }
            Event::Messaging(Messaging::ReadMarkerMoved(event)) => {
                let (account, up_to) = (&event.account_id, event.up_to_number);
                change(model, &event.conversation_id, fact, |now| {
                    if event.visibility() == ReadVisibility::Public {
                        now.show(account, up_to);
                    }
                    if now.members.contains_key(account) && event.clears_mark > 0 {
                        let view = now.views.entry(account.clone()).or_default();
                        view.cleared = view.cleared.max(event.clears_mark.min(view.marks));
                    }
                    now.read(account, up_to);
                });
            }
            _ => {}
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let (mut all, mut members) = (Vec::new(), BTreeSet::new());
        let talks = &model.state::<Talks>().0;
        for (talk, line) in talks {
            for member in line.last().members.into_keys() {
                all.push((member.clone(), walk(ListMessages::of(talk.clone()), 3)));
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

/// At times an answer to another message, also one of another conversation.
fn sending(scene: &Scene<'_>) -> Option<SendMessage> {
    let talk = own(scene)?;
    let replied = message_of(scene, &talk).filter(|_| scene.chance.per_mille(300)).map(|message| message.id.clone());
    Some(SendMessage { talk, text: scene.text(), replies_to: replied.unwrap_or_default() })
}

fn reading(scene: &Scene<'_>) -> Option<MarkRead> {
    let (talk, up_to) = (own(scene)?, scene.chance.between(1, 4));
    Some(MarkRead { talk, up_to, public: scene.chance.per_mille(400) })
}

pub fn own(scene: &Scene<'_>) -> Option<String> {
    scene.own(CONVERSATIONS).map(|talk| talk.id.clone())
}

/// One of one's own and, at times, others, also of other people.
fn some(scene: &Scene<'_>) -> Option<Vec<String>> {
    let others = (0..scene.chance.below(3)).filter_map(|_| scene.one(CONVERSATIONS).map(|talk| talk.id.clone()));
    Some([own(scene)?].into_iter().chain(others).collect())
}

pub fn client(to: &Callers) -> MessageServiceClient<Way> {
    MessageServiceClient::new(to.way(SERVICE))
}

#[derive(Debug)]
struct SendMessage {
    talk: String,
    text: String,
    /// Empty: none.
    replies_to: String,
}

/// A message as `SendMessage` answers it: id, sender, text, time.
type Sent = (String, String, String, i64);

fn sent(message: &Message) -> Sent {
    (message.id.clone(), message.sender.clone(), message.text.clone(), message.at)
}

#[async_trait]
impl Operation for SendMessage {
    type Answer = Sent;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Sent>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, text) = (self.talk.clone(), self.text.clone());
        let reply_to_message_id = self.replies_to.clone();
        let request = SendMessageRequest {
            conversation_id,
            text,
            request_id,
            at_least,
            reply_to_message_id,
            ..SendMessageRequest::default()
        };
        let sent = client(to).send_message(to.from(&actor, request)).await?.into_inner();
        let v1::SentMessage { message_id: id, sender_id: sender, text, create_time, .. } =
            sent.message.unwrap_or_default();
        let at = micros(create_time.as_ref());
        Ok(Reply::new((id, sender, text, at), sent.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Sent, Code>) -> Vec<Finding> {
        let Ok(message) = told else { return Vec::new() };
        let said = model.said.get(&self.text).is_some_and(|ids| ids.contains(&message.0));
        let missing = || Finding::new(EFFECTIVE_ONCE, format!("sent, and not in the log: {} is {message:?}", call.op));
        if said { Vec::new() } else { vec![missing()] }
    }

    fn made(&self, told: &Sent) -> Option<String> {
        Some(told.0.clone())
    }

    fn stands(&self, model: &Model, _call: &Call, told: &Sent) -> bool {
        talk::ever(model, &self.talk, |now| now.messages.iter().any(|message| sent(message) == *told))
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &Sent) {
        let (id, by) = (told.0.clone(), vec![actor.to_owned()]);
        board.add(MESSAGES, Thing { id, by, on: self.talk.clone(), ..Thing::default() });
    }
}

#[derive(Debug)]
struct MarkRead {
    talk: String,
    up_to: u64,
    public: bool,
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
        let visibility = if self.public { ReadVisibility::Public } else { ReadVisibility::Private }.into();
        let request = MarkReadRequest { conversation_id, up_to_number, request_id, at_least, visibility };
        let read = client(to).mark_read(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(read.read_number, read.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let id = record_id(actor, "kith.messaging.v1.MessageService/MarkRead", request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.talk.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let (_, end) = call.meanwhile(model.partition(topics::MESSAGING, &self.talk));
        let reads = |now: &Talk| {
            let from = now.seats.get(&call.actor).map_or(0, |(from, ..)| *from);
            let shown = now.public_markers.get(&call.actor).copied().unwrap_or(0).max(from);
            now.members.get(&call.actor) >= Some(&self.up_to)
                && (!self.public || shown >= self.up_to)
                && !now.view(&call.actor).is_marked()
        };
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
    each: Vec<SeenCount>,
    /// Unread messages, and conversations with any or with a mark: of the inbox, of what is muted there, of the archive.
    sums: [u64; 6],
    /// One more if there are said to be more, which no history has.
    requests: u64,
}

/// Of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenCount {
    talk: String,
    unread: u64,
    muted: bool,
    archived: bool,
    marked: bool,
}

impl SeenCount {
    fn is(&self, reader: &str, now: &Talk) -> bool {
        if !now.is_listed(reader, Consent::Accepted) {
            return (self.unread, self.muted, self.archived, self.marked) == (0, false, false, false);
        }
        let view = now.view(reader);
        self.unread == now.unread(reader)
            && view.muted().contains(&self.muted)
            && (self.archived, self.marked) == (view.is_archived(now.last(), self.muted), view.is_marked())
    }
}

/// What a conversation adds to the sums of a reader then, if it is muted or not.
fn adds(reader: &str, now: &Talk, muted: bool) -> [u64; 6] {
    let mut sums = [0; 6];
    if now.is_listed(reader, Consent::Accepted) {
        let view = now.view(reader);
        let part = match (view.is_archived(now.last(), muted), muted) {
            (true, _) => 4,
            (false, true) => 2,
            (false, false) => 0,
        };
        sums[part] = now.unread(reader);
        sums[part + 1] = u64::from(sums[part] > 0 || view.is_marked());
    }
    sums
}

#[async_trait]
impl Operation for GetUnreadCounts {
    type Answer = SeenUnread;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenUnread>, Status> {
        let request = GetUnreadCountsRequest { conversation_ids: self.talks.clone(), at_least: ask.at_least };
        let found = client(to).get_unread_counts(to.from(&ask.actor, request)).await?.into_inner();
        let count = |count: v1::UnreadCount| SeenCount {
            talk: count.conversation_id,
            unread: count.unread_count,
            muted: count.muted,
            archived: count.archived,
            marked: count.marked_unread,
        };
        let sums = [
            found.total_unread_count,
            found.unread_conversation_count,
            found.muted_unread_count,
            found.muted_unread_conversation_count,
            found.archived_unread_count,
            found.archived_unread_conversation_count,
        ];
        let requests = u64::from(found.request_count) + u64::from(found.has_more_requests);
        let each = found.counts.into_iter().map(count).collect();
        Ok(Reply::new(SeenUnread { each, sums, requests }, found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenUnread, Code>) -> Vec<Finding> {
        let (Ok(told), reader) = (told, &call.actor) else { return Vec::new() };
        if !told.each.iter().map(|count| &count.talk).eq(&self.talks) {
            return vec![Finding::new(UNREAD, format!("{} was answered for {told:?}", call.op))];
        }
        let mut findings = Vec::new();
        for seen in &told.each {
            let known = states(model, call, &seen.talk);
            if !known.iter().any(|now| seen.is(reader, now)) {
                findings.push(Finding::new(UNREAD, format!("{seen:?} for {reader}, not of {known:?}")));
            }
        }
        // Of all conversations each is read at a time of its own.
        let (mut fewest, mut most) = ([0; 7], [0; 7]);
        for states in states_of(model, call, reader).values() {
            let all = states
                .iter()
                .flat_map(|now| now.view(reader).muted().into_iter().map(move |muted| adds(reader, now, muted)));
            let all: Vec<[u64; 6]> = all.collect();
            for at in 0..6 {
                let known = || all.iter().map(|sums| sums[at]);
                fewest[at] += known().min().unwrap_or(0);
                most[at] += known().max().unwrap_or(0);
            }
            let waits: Vec<bool> = states.iter().map(|now| now.asked.contains(reader)).collect();
            let (never, at_times) = talk::parted(model, call, reader, states);
            fewest[6] += u64::from(waits.iter().all(|waits| *waits) && !at_times);
            most[6] += u64::from(waits.iter().any(|waits| *waits) && !never);
        }
        let seen: Vec<u64> = told.sums.into_iter().chain([told.requests]).collect();
        if !(0..7).all(|at| (fewest[at]..=most[at]).contains(&seen[at])) {
            let what = format!("{told:?} in all for {reader}, not between {fewest:?} and {most:?}");
            findings.push(Finding::new(UNREAD, what));
        }
        findings
    }
}
