//! Requests: who is asked, what they make of it, and who may write to whom.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{RecordId, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    AcceptConversationRequest, Availability, Consent, DeclineConversationRequest, GetAvailabilityRequest,
    MessagingPolicy, SetMessagingPolicyRequest,
};
use tonic::{Code, Status};

use super::accounts::Handles;
use super::conversations::{CONVERSATIONS, SERVICE, SeenTalk, client};
use super::follows::{another, edges, follows_at, parted_by};
use super::talk::{self, Talk};
use super::{Draw, Noun};
use crate::simulation::board::{Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{CONSENT, Finding, HIDDEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, effective, op, record_id};
use crate::simulation::timeline::Timeline;

pub struct Consents;

/// Policies by account; 0 is everyone.
#[derive(Default)]
struct Policies(BTreeMap<String, Timeline<i32>>);

/// Who opened what with whom, as the first record says: the conversation, who opened it, who is in it, who is asked, and how
/// much of identity's log that was decided on.
#[derive(Default)]
struct Openings(Vec<Opening>);

struct Opening {
    talk: String,
    creator: String,
    other: String,
    is_asked: bool,
    seen: u64,
}

impl Noun for Consents {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 4, draw: |scene| Some(op(Answer { talk: asked(scene)?, accepts: true })) },
                Draw { weight: 4, draw: |scene| Some(op(Answer { talk: asked(scene)?, accepts: false })) },
                Draw { weight: 1, draw: |scene| Some(op(SetPolicy { policy: policy(scene) })) },
                Draw { weight: 2, draw: |scene| Some(op(GetAvailability { other: another(scene)? })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Policies>();
        model.begin::<Openings>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Messaging(event) = &fact.event else { return };
        match event {
            Messaging::ConversationAccepted(event) => {
                talk::change(model, &event.conversation_id, fact, |now| {
                    if now.is_seat(&event.account_id, event.seat) {
                        now.accept(&event.account_id);
                    }
                });
            }
            Messaging::ConversationDeclined(event) => {
                talk::change(model, &event.conversation_id, fact, |now| {
                    if now.is_seat(&event.account_id, event.seat) {
                        now.decline(&event.account_id);
                    }
                });
            }
            Messaging::MessagingPolicySet(event) if fact.is_new => {
                let line = model.state_mut::<Policies>().0.entry(event.account_id.clone()).or_default();
                line.set(fact.position.offset, event.policy);
            }
            Messaging::ConversationCreated(event) => {
                let openings = &mut model.state_mut::<Openings>().0;
                let other = event.member_ids.iter().find(|member| **member != event.creator_id);
                if let Some(other) = other.filter(|_| openings.iter().all(|of| of.talk != event.conversation_id)) {
                    openings.push(Opening {
                        talk: event.conversation_id.clone(),
                        creator: event.creator_id.clone(),
                        other: other.clone(),
                        is_asked: event.asked_member_ids.contains(other),
                        seen: event.seen_identity_offset,
                    });
                }
            }
            _ => {}
        }
    }

    /// Whoever did not follow, as of the place that the record names, is asked.
    fn check(&self, model: &Model) -> Vec<Finding> {
        let wrong =
            model.state::<Openings>().0.iter().filter(|opening| {
                opening.is_asked == follows_at(model, &opening.other, &opening.creator, opening.seen)
            });
        let what = |of: &Opening| {
            format!("{} opened {} with {}, who is asked: {}", of.creator, of.talk, of.other, of.is_asked)
        };
        wrong.map(|opening| Finding::new(CONSENT, what(opening))).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let people: Vec<String> = model.state::<Handles>().people().cloned().collect();
        let of = |person: &String| {
            let others: Vec<String> = people.iter().filter(|other| *other != person).cloned().collect();
            others.into_iter().map(|other| (person.clone(), op(GetAvailability { other }))).collect::<Vec<_>>()
        };
        people.iter().flat_map(of).collect()
    }
}

/// Mostly one that somebody else opened.
fn asked(scene: &Scene<'_>) -> Option<String> {
    let opened = |talk: &&Thing| talk.by.get(1).is_some_and(|other| other == scene.actor);
    let of_others: Vec<&Thing> = scene.board.all(CONVERSATIONS).iter().filter(opened).collect();
    let asked = scene.chance.pick(&of_others).copied();
    asked.or_else(|| scene.own(CONVERSATIONS)).map(|talk| talk.id.clone())
}

fn policy(scene: &Scene<'_>) -> MessagingPolicy {
    match scene.chance.below(10) {
        0 => MessagingPolicy::Nobody,
        1..=3 => MessagingPolicy::Followed,
        _ => MessagingPolicy::Everyone,
    }
}

fn id_of(actor: &str, method: &str, request_id: &str) -> Option<RecordId> {
    let rpc = format!("kith.messaging.v1.ConversationService/{method}");
    record_id(actor, &rpc, request_id)
}

fn policies(model: &Model, call: &Call, account: &str) -> Vec<i32> {
    let window = call.window(model.partition(topics::MESSAGING, account));
    let line = model.state::<Policies>().0.get(account);
    line.map_or_else(|| vec![0], |line| line.within(window))
}

/// Whether one with that policy, who follows the writer or not, lets the writer in.
fn admits(policy: i32, follows: bool) -> bool {
    match policy {
        0 | 1 => true,
        2 => follows,
        _ => false,
    }
}

/// A conversation that a call made though the other's policy kept its actor out all the time.
pub fn opened_unasked(operation: &impl Operation, model: &Model, call: &Call, other: &str) -> Option<Finding> {
    let record = operation.record(&call.actor, &call.request_id)?;
    let follows: Vec<bool> = edges(model, call, other, &call.actor).iter().map(|edge| edge.following).collect();
    let policies = policies(model, call, other);
    let may = policies.iter().any(|policy| follows.iter().any(|follows| admits(*policy, *follows)));
    let made = model.places.contains_key(&record.id) && !call.is_copy && !call.shaken;
    let what = || format!("{} opened a conversation with {other}, whose policy is of {policies:?}", call.actor);
    (made && !may).then(|| Finding::new(CONSENT, what()))
}

/// Accepts, or declines.
#[derive(Debug)]
struct Answer {
    talk: String,
    accepts: bool,
}

impl Answer {
    fn is_so(&self, actor: &str, now: &Talk) -> bool {
        let consent = now.consent(actor);
        now.members.contains_key(actor)
            && (consent == Consent::Accepted || !self.accepts && consent == Consent::Declined)
    }
}

#[async_trait]
impl Operation for Answer {
    type Answer = SeenTalk;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenTalk>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let conversation_id = self.talk.clone();
        let (seen, token) = if self.accepts {
            let request = AcceptConversationRequest { conversation_id, request_id, at_least };
            let done = client(to).accept_conversation(to.from(&actor, request)).await?.into_inner();
            (done.conversation, done.consistency_token)
        } else {
            let request = DeclineConversationRequest { conversation_id, request_id, at_least };
            let done = client(to).decline_conversation(to.from(&actor, request)).await?.into_inner();
            (done.conversation, done.consistency_token)
        };
        Ok(Reply::new(SeenTalk::of(seen.unwrap_or_default()), token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let method = if self.accepts { "AcceptConversation" } else { "DeclineConversation" };
        let id = id_of(actor, method, request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.talk.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        talk::ever(model, &self.talk, |now| self.is_so(&call.actor, now))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenTalk, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        let fits = match self.accepts {
            true => told.consent == Consent::Accepted,
            false => told.consent != Consent::Requested,
        };
        let unlike = (!fits).then(|| Finding::new(CONSENT, format!("{} of {} is {told:?}", call.op, call.actor)));
        unlike.into_iter().chain(effective(self, model, call)).collect()
    }

    fn stands(&self, model: &Model, call: &Call, told: &SeenTalk) -> bool {
        talk::ever(model, &self.talk, |now| told.is(&call.actor, now))
    }
}

#[derive(Debug)]
struct SetPolicy {
    policy: MessagingPolicy,
}

#[async_trait]
impl Operation for SetPolicy {
    type Answer = i32;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<i32>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = SetMessagingPolicyRequest { policy: self.policy.into(), request_id, at_least };
        let done = client(to).set_messaging_policy(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(done.policy, done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let id = id_of(actor, "SetMessagingPolicy", request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: actor.to_owned(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let (_, end) = call.meanwhile(model.partition(topics::MESSAGING, &call.actor));
        let is_so =
            |policy: &i32| *policy == self.policy as i32 || (*policy, self.policy) == (0, MessagingPolicy::Everyone);
        match model.state::<Policies>().0.get(&call.actor) {
            Some(line) => line.ever((0, end), is_so),
            None => is_so(&0),
        }
    }

    fn stands(&self, model: &Model, call: &Call, told: &i32) -> bool {
        let stood = |policy: &i32| *policy == *told || (*policy, *told) == (0, MessagingPolicy::Everyone as i32);
        match model.state::<Policies>().0.get(&call.actor) {
            Some(line) => line.ever((0, u64::MAX), stood),
            None => stood(&0),
        }
    }
}

#[derive(Debug)]
struct GetAvailability {
    other: String,
}

/// What a caller is told who is not blocked.
fn availability(now: &Talk, actor: &str, policy: i32, follows: bool) -> Availability {
    let exists = !now.members.is_empty();
    match policy {
        _ if exists && !now.awaits_others(actor) => Availability::Open,
        3 => Availability::Nobody,
        2 if !follows => Availability::FollowedOnly,
        _ if now.is_full_for(actor) => Availability::AwaitsAcceptance,
        _ if !exists && follows => Availability::Open,
        _ => Availability::AsRequest,
    }
}

#[async_trait]
impl Operation for GetAvailability {
    type Answer = i32;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<i32>, Status> {
        let request = GetAvailabilityRequest { account_id: self.other.clone(), at_least: ask.at_least };
        let found = client(to).get_availability(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(found.availability, found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&i32, Code>) -> Vec<Finding> {
        let (Ok(&told), actor, other) = (told, &call.actor, &self.other) else { return Vec::new() };
        if parted_by(model, call, other, actor) {
            return vec![Finding::new(HIDDEN, format!("{actor} is told of {other}, who blocks: {told}"))];
        }
        let blocks: Vec<bool> = edges(model, call, actor, other).iter().map(|edge| edge.blocking).collect();
        let follows: Vec<bool> = edges(model, call, other, actor).iter().map(|edge| edge.following).collect();
        let (policies, states) = (policies(model, call, other), talk::states_between(model, call, actor, other));
        let known = |now: &Talk| {
            policies.iter().any(|policy| follows.iter().any(|f| availability(now, actor, *policy, *f) as i32 == told))
        };
        let is_blocked = told == Availability::Blocked as i32;
        let fits = match is_blocked {
            true => blocks.contains(&true),
            false => blocks.contains(&false) && states.iter().any(known),
        };
        let what = || format!("{actor} is told {told} of {other}: {policies:?} {follows:?} {blocks:?} {states:?}");
        if fits { Vec::new() } else { vec![Finding::new(CONSENT, what())] }
    }
}
