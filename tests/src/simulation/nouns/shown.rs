//! Messages as they are listed: each as it was at some time while its page was read, with what it replies to, its reactions, and how far
//! others say to have read.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_proto::messaging::v1::{self, Consent, ListMessagesRequest};
use tonic::Status;

use super::amends::{Parted, fits, message_of};
use super::conversations::SERVICE;
use super::follows::{always_parted, blocked, ever_parted, size};
use super::lists::{List, There, walk};
use super::messages::{client, own};
use super::talk::{self, Message, Talk, states};
use crate::simulation::board::Scene;
use crate::simulation::callers::Callers;
use crate::simulation::checks::{Finding, LISTS, TOKEN, times};
use crate::simulation::history::Call;
use crate::simulation::model::{Model, micros};
use crate::simulation::operation::{Ask, Op, Reply};

/// A message as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMessage {
    pub number: u64,
    /// Without what it replies to, how often it was edited, and reactions.
    pub message: Message,
    /// Id, number, sender, beginning; whether it was unsent.
    replied: Option<(String, u64, String, String, bool)>,
    /// Grapheme, how often, whether the reader's own.
    reactions: Vec<(String, u64, bool)>,
    /// How far others have read, as its page says.
    markers: BTreeMap<String, u64>,
}

impl SeenMessage {
    pub fn of(message: v1::Message, markers: &BTreeMap<String, u64>) -> Self {
        let [at, edited, unsent] =
            [&message.create_time, &message.edit_time, &message.unsend_time].map(|time| micros(time.as_ref()));
        let reaction = |of: v1::MessageReactionCount| (of.grapheme, of.count, of.own);
        let replied = |of: v1::MessageQuote| (of.message_id, of.number, of.sender_id, of.text, of.unsent);
        let v1::Message { message_id: id, sender_id: sender, text, number, .. } = message;
        let reactions = message.reactions.into_iter().map(reaction).collect();
        let replied = message.reply_to.map(replied);
        let message = Message { id, sender, text, at, edited, unsent, ..Message::default() };
        Self { number, message, replied, reactions, markers: markers.clone() }
    }

    /// Whether each part of it was so at some time, and what its page says of who has read.
    fn is(&self, reader: &str, states: &[Talk], (parted, blocked): (Parted<'_>, Parted<'_>)) -> bool {
        let are_markers = |now| self.are_markers(reader, now, parted);
        self.is_message(reader, states, (parted, blocked)) && states.iter().any(are_markers)
    }

    /// Whether each part of it was so at some time: parts are read one after the other. Of who is away reactions are not counted, but
    /// what it wrote is quoted.
    pub fn is_message(&self, reader: &str, states: &[Talk], (parted, blocked): (Parted<'_>, Parted<'_>)) -> bool {
        let mine = |now: &Talk| now.message(&self.message.id).cloned();
        let plain = |now: &Talk| {
            let place = now.messages.iter().position(|message| message.id == self.message.id);
            let said = mine(now).map(|message| Message {
                replies_to: String::new(),
                edits: 0,
                edited: if message.unsent > 0 { 0 } else { message.edited },
                reactions: Default::default(),
                ..message
            });
            said.as_ref() == Some(&self.message) && place == Some(self.number as usize - 1)
        };
        let counts = |now: &Talk| mine(now).is_some_and(|message| fits(now, &message, reader, parted, &self.reactions));
        // What is one's own is shown among what counts.
        let is_own = |now: &Talk| {
            let known = mine(now).map(|message| message.own_reactions(reader)).unwrap_or_default();
            self.reactions.iter().all(|(grapheme, _, own)| known.contains(grapheme) == *own)
        };
        states.iter().any(plain)
            && states.iter().any(counts)
            && states.iter().any(is_own)
            && states.iter().any(|now| self.is_reply(reader, now, blocked))
    }

    fn is_reply(&self, reader: &str, now: &Talk, blocked: Parted<'_>) -> bool {
        let Some(message) = now.message(&self.message.id).filter(|_| self.message.unsent == 0) else {
            return self.replied.is_none();
        };
        let place = now.messages.iter().position(|replied| replied.id == message.replies_to);
        let replied = place
            .map(|at| (at, &now.messages[at]))
            .map(|(at, of)| (of.id.clone(), at as u64 + 1, of.sender.clone(), of.text.clone(), of.unsent > 0));
        let sender = replied.as_ref().filter(|_| now.is_group).map(|(_, number, sender, ..)| (*number, sender));
        let (never, at_times) = sender.map_or((false, false), |(number, sender)| {
            let (never, at_times) = blocked(sender);
            let out_of_it = !now.shows(reader, number);
            (never || out_of_it, at_times || out_of_it)
        });
        (self.replied == replied && !never) || (self.replied.is_none() && at_times)
    }

    fn are_markers(&self, reader: &str, now: &Talk, parted: Parted<'_>) -> bool {
        let is_member = now.members.contains_key(reader);
        let told = |who: &&String| *who != reader && now.consent(who) == Consent::Accepted;
        let known: BTreeMap<String, u64> = now
            .members
            .keys()
            .filter(told)
            .filter_map(|who| Some((who.clone(), *now.public_markers.get(who)?)))
            .filter(|(_, number)| is_member && *number > 0)
            .collect();
        let may_be = |(who, number): (&String, &u64)| known.get(who) == Some(number) && !parted(who).0;
        self.markers.iter().all(may_be) && known.keys().all(|who| self.markers.contains_key(who) || parted(who).1)
    }
}

/// Newest first.
#[derive(Debug)]
pub struct ListMessages {
    talk: String,
    /// The first page begins with this message, or so many newer ones; `None`: with the last.
    from: Option<(String, u64)>,
}

impl ListMessages {
    pub fn of(talk: String) -> Self {
        Self { talk, from: None }
    }
}

/// A walk from a message on, or from around it.
pub fn from_a_message(scene: &Scene<'_>) -> Option<Op> {
    let (talk, size) = (own(scene)?, size(scene));
    let message = message_of(scene, &talk)?.id.clone();
    let newer = if scene.chance.per_mille(500) { u64::try_from(size).unwrap_or(0) / 2 } else { 0 };
    Some(walk(ListMessages { talk, from: Some((message, newer)) }, size))
}

#[async_trait]
impl List for ListMessages {
    type Row = SeenMessage;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenMessage>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let (from_message_id, newer) = self.from.clone().unwrap_or_default();
        let (conversation_id, centered) = (self.talk.clone(), newer > 0);
        let request =
            ListMessagesRequest { conversation_id, page_size, page_token, at_least, from_message_id, centered };
        let page = client(to).list_messages(to.from(&actor, request)).await?.into_inner();
        let markers = page.public_markers.into_iter().map(|marker| (marker.account_id, marker.read_number)).collect();
        let answer = page.messages.into_iter().map(|message| SeenMessage::of(message, &markers)).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenMessage]) -> Vec<Finding> {
        let states = states(model, call, &self.talk);
        let last = talk::last(model, &self.talk).unwrap_or_default();
        let number = |id: &str| last.messages.iter().position(|message| message.id == id).map(|at| at as u64 + 1);
        let up_to = match &self.from {
            Some((id, newer)) => number(id).map_or(0, |number| number + newer),
            None => u64::MAX,
        };
        let mut there = There::default();
        let reader = &call.actor;
        let parted = |who: &str| (always_parted(model, call, reader, who), ever_parted(model, call, reader, who));
        let by_block = |who: &str| blocked(model, call, reader, who);
        for Message { id, sender, .. } in states.iter().flat_map(|now| now.shown(reader)) {
            // In a group each of a block is hidden from the other; of who is away what it wrote stays.
            let is_group = states.iter().any(|now| now.is_group);
            let always = states.iter().all(|now| now.shown(reader).any(|message| message.id == *id));
            let (hidden, at_times) = by_block(sender);
            let within = number(id).is_some_and(|number| number <= up_to);
            there.put(id, within && !(is_group && hidden), within && always && !(is_group && at_times));
        }
        let ids: Vec<&str> = rows.iter().map(|row| &*row.message.id).collect();
        let mut findings = there.check(call, &ids);
        let unlike = rows.iter().filter(|row| !row.is(reader, &states, (&parted, &by_block)));
        let finding = |row: &SeenMessage| {
            let known: Vec<_> = states.iter().filter_map(|now| now.message(&row.message.id)).collect();
            Finding::new(TOKEN, format!("{} of {} has {row:?}, not as it is: {known:?}", call.op, call.actor))
        };
        findings.extend(unlike.map(finding));
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
