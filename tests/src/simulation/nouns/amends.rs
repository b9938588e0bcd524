//! Edits, unsending and reactions, by a naive reading of their records.

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    EditMessageRequest, MessageContent, ReactToMessageRequest, RemoveMessageReactionRequest, UnsendMessageRequest,
};
use tonic::{Code, Status};

use super::conversations::{CONVERSATIONS, SERVICE};
use super::messages::{client, own};
use super::talk::{self, Message, Talk, change};
use super::{Draw, Noun};
use crate::simulation::board::{Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros, said};
use crate::simulation::operation::{Appended, Ask, Operation, Reply, effective, op, record_id};

pub const MESSAGES: &str = "messages";
const GRAPHEMES: [&str; 8] = ["👍", "❤️", "👨‍👩‍👧‍👦", "é", "x", "!", "๕", "🇫🇷"];

pub struct Amends;

impl Noun for Amends {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 4, draw: |scene| Some(op(edit(scene)?)) },
                Draw { weight: 3, draw: |scene| Some(op(unsend(scene)?)) },
                Draw { weight: 5, draw: |scene| Some(op(react(scene, true)?)) },
                Draw { weight: 4, draw: |scene| Some(op(react(scene, false)?)) },
            ]
        }
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let (at, window_us) = (fact.at, model.edit_window_us);
        let Event::Messaging(event) = &fact.event else { return };
        match event {
            Messaging::MessageEdited(event) => {
                let text = said::<MessageContent>(event.content.as_ref()).text;
                change(model, &event.conversation_id, fact, |now| {
                    let is_member = now.members.contains_key(&event.sender_id);
                    let message = now.message_mut(&event.message_id, event.number).filter(|_| is_member);
                    message.into_iter().for_each(|message| message.edit(&event.sender_id, text.clone(), at, window_us));
                });
            }
            Messaging::MessageUnsent(event) => change(model, &event.conversation_id, fact, |now| {
                let message = now.message_mut(&event.message_id, event.number);
                message.into_iter().for_each(|message| message.unsend(&event.sender_id, at));
            }),
            Messaging::MessageReactionAdded(event) => change(model, &event.conversation_id, fact, |now| {
                now.reacted.insert(event.message_id.clone());
                let is_member = now.members.contains_key(&event.account_id);
                let message = now.message_mut(&event.message_id, event.number).filter(|_| is_member);
                message.into_iter().for_each(|message| message.react(&event.account_id, &event.grapheme, true));
            }),
            Messaging::MessageReactionRemoved(event) => change(model, &event.conversation_id, fact, |now| {
                now.reacted.insert(event.message_id.clone());
                let is_member = now.members.contains_key(&event.account_id);
                let message = now.message_mut(&event.message_id, event.number).filter(|_| is_member);
                message.into_iter().for_each(|message| message.react(&event.account_id, &event.grapheme, false));
            }),
            _ => {}
        }
    }
}

/// Mostly one of that conversation, at times another one.
pub fn message_of<'a>(scene: &Scene<'a>, talk: &str) -> Option<&'a Thing> {
    let all: Vec<&Thing> = scene.board.all(MESSAGES).iter().filter(|message| message.on == talk).collect();
    let any = scene.one(MESSAGES).filter(|_| scene.chance.per_mille(50));
    any.or_else(|| scene.chance.pick(&all).copied())
}

/// Mostly one of the actor's own.
fn edit(scene: &Scene<'_>) -> Option<EditMessage> {
    let message = scene.own(MESSAGES).filter(|_| scene.chance.per_mille(900)).or_else(|| scene.one(MESSAGES))?;
    Some(EditMessage { talk: message.on.clone(), message: message.id.clone(), text: scene.text() })
}

fn unsend(scene: &Scene<'_>) -> Option<UnsendMessage> {
    let message = scene.own(MESSAGES).filter(|_| scene.chance.per_mille(900)).or_else(|| scene.one(MESSAGES))?;
    Some(UnsendMessage { talk: message.on.clone(), message: message.id.clone() })
}

fn react(scene: &Scene<'_>, adds: bool) -> Option<React> {
    let talk = own(scene).or_else(|| scene.one(CONVERSATIONS).map(|talk| talk.id.clone()))?;
    let message = message_of(scene, &talk)?.id.clone();
    // Mostly one of two, so that what is taken back was there.
    let known = if scene.chance.per_mille(600) { &GRAPHEMES[..2] } else { &GRAPHEMES[..] };
    let grapheme = scene.chance.pick(known).copied()?;
    Some(React { talk, message, grapheme, adds })
}

/// Whether the message was ever so.
fn was(model: &Model, talk: &str, message: &str, holds: impl Fn(&Message) -> bool) -> bool {
    talk::ever(model, talk, |now| now.message(message).is_some_and(&holds))
}

#[derive(Debug)]
struct EditMessage {
    talk: String,
    message: String,
    text: String,
}

#[async_trait]
impl Operation for EditMessage {
    /// Its text, and when it was edited last.
    type Answer = (String, i64);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(String, i64)>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, message_id, text) = (self.talk.clone(), self.message.clone(), self.text.clone());
        let media_ids = Vec::new();
        let request = EditMessageRequest { conversation_id, message_id, text, media_ids, request_id, at_least };
        let edited = client(to).edit_message(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((edited.text, micros(edited.edit_time.as_ref())), edited.consistency_token))
    }

    /// What is answered was in time, and what is refused was not.
    fn check(&self, model: &Model, call: &Call, told: Result<&(String, i64), Code>) -> Vec<Finding> {
        let counted = was(model, &self.talk, &self.message, |message| message.text == self.text);
        let what = match told {
            Ok(_) if !counted && !call.shaken => "counts for nothing, and was answered",
            Err(Code::FailedPrecondition) if counted && !call.is_copy => "counts, and was refused",
            _ => return Vec::new(),
        };
        vec![Finding::new(EFFECTIVE_ONCE, format!("an edit {what}: {} by {}", call.op, call.actor))]
    }

    fn stands(&self, model: &Model, _call: &Call, told: &(String, i64)) -> bool {
        was(model, &self.talk, &self.message, |message| (&message.text, message.edited) == (&told.0, told.1))
    }
}

#[derive(Debug)]
struct UnsendMessage {
    talk: String,
    message: String,
}

#[async_trait]
impl Operation for UnsendMessage {
    /// When it was unsent.
    type Answer = i64;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<i64>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, message_id) = (self.talk.clone(), self.message.clone());
        let request = UnsendMessageRequest { conversation_id, message_id, request_id, at_least };
        let unsent = client(to).unsend_message(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(micros(unsent.unsend_time.as_ref()), unsent.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let id = record_id(actor, "kith.messaging.v1.MessageService/UnsendMessage", request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.talk.clone(), id })
    }

    fn in_effect(&self, model: &Model, _call: &Call) -> bool {
        was(model, &self.talk, &self.message, |message| message.unsent > 0)
    }

    fn stands(&self, model: &Model, _call: &Call, told: &i64) -> bool {
        was(model, &self.talk, &self.message, |message| message.unsent == *told)
    }
}

/// Reacts, or takes that back.
#[derive(Debug)]
struct React {
    talk: String,
    message: String,
    grapheme: &'static str,
    adds: bool,
}

impl React {
    fn is_so(&self, actor: &str, message: &Message) -> bool {
        message.own_reactions(actor).iter().any(|own| own == self.grapheme) == self.adds
    }
}

#[async_trait]
impl Operation for React {
    /// All of one's own on the message.
    type Answer = Vec<String>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Vec<String>>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (conversation_id, message_id) = (self.talk.clone(), self.message.clone());
        let grapheme = self.grapheme.to_owned();
        let (mut own, token) = if self.adds {
            let request = ReactToMessageRequest { conversation_id, message_id, grapheme, request_id, at_least };
            let done = client(to).react_to_message(to.from(&actor, request)).await?.into_inner();
            (done.graphemes, done.consistency_token)
        } else {
            let request = RemoveMessageReactionRequest { conversation_id, message_id, grapheme, request_id, at_least };
            let done = client(to).remove_message_reaction(to.from(&actor, request)).await?.into_inner();
            (done.graphemes, done.consistency_token)
        };
        own.sort();
        Ok(Reply::new(own, token))
    }

    /// One that came when there were too many is in the log, and refused: so records say nothing here.
    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        was(model, &self.talk, &self.message, |message| self.is_so(&call.actor, message))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Vec<String>, Code>) -> Vec<Finding> {
        match told {
            Ok(_) => effective(self, model, call).into_iter().collect(),
            Err(_) => Vec::new(),
        }
    }

    fn stands(&self, model: &Model, call: &Call, told: &Vec<String>) -> bool {
        was(model, &self.talk, &self.message, |message| message.own_reactions(&call.actor) == *told)
    }
}

/// Whether a block stood all the time between a reader and that account, and whether it did at some time.
pub type Parted<'a> = &'a dyn Fn(&str) -> (bool, bool);

/// What a reader may be told of the reactions to a message then: at least and at most by grapheme, and which are one's own.
pub fn fits(now: &Talk, message: &Message, reader: &str, parted: Parted<'_>, told: &[(String, u64, bool)]) -> bool {
    let mut left: Vec<&str> = message.reactions.iter().map(|(_, grapheme)| grapheme.as_str()).collect();
    left.sort_unstable();
    left.dedup();
    let is_other = |who: &str| who != reader && now.members.contains_key(who);
    for grapheme in left {
        let by = message.reactions.iter().filter(|(_, of)| of == grapheme).map(|(who, _)| who.as_str());
        let (others, own): (Vec<&str>, Vec<&str>) = by.partition(|who| is_other(who));
        let counted = |hides: &dyn Fn(&&&str) -> bool| (own.len() + others.iter().filter(hides).count()) as u64;
        let low = counted(&|who| !parted(who).1);
        let high = counted(&|who| !parted(who).0);
        let found = told.iter().find(|(of, ..)| of == grapheme).map_or(0, |(_, count, _)| *count);
        if !(low..=high).contains(&found) {
            return false;
        }
    }
    told.iter().all(|(grapheme, count, _)| *count > 0 && message.reactions.iter().any(|(_, of)| of == grapheme))
}
