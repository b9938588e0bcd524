//! Reactions to posts and to comments: one per account and subject.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::reaction_service_client::ReactionServiceClient;
use kith_proto::engagement::v1::{self, ReactRequest, UnreactRequest};
use kith_tables::Row;
use tonic::Status;

use super::comments::COMMENTS;
use super::posts::POSTS;
use super::{Counted, Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::{Callers, Way};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

pub const SERVICE: &str = "engagement";

pub struct Reactions;

/// A post, or a comment on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub post_id: String,
    /// Empty: the post.
    pub comment_id: String,
}

impl Subject {
    pub fn post(post_id: &str) -> Self {
        Self { post_id: post_id.to_owned(), comment_id: String::new() }
    }

    pub fn wire(&self) -> v1::Subject {
        v1::Subject { post_id: self.post_id.clone(), comment_id: self.comment_id.clone() }
    }

    pub fn of(wire: Option<v1::Subject>) -> Self {
        let v1::Subject { post_id, comment_id } = wire.unwrap_or_default();
        Self { post_id, comment_id }
    }

    /// One that is known; mostly a post.
    pub fn draw(scene: &Scene<'_>) -> Option<Self> {
        if scene.chance.per_mille(300)
            && let Some(comment) = scene.one(COMMENTS)
        {
            return Some(Self { post_id: comment.on.clone(), comment_id: comment.id.clone() });
        }
        scene.one(POSTS).map(|post| Self::post(&post.id))
    }
}

/// Kind and time, by who reacts.
pub type Stands = BTreeMap<String, (i32, i64)>;

#[derive(Default)]
struct Reacted(BTreeMap<Subject, Timeline<Stands>>);

/// Who had reacted how, while a call could see it.
pub fn states(model: &Model, call: &Call, subject: &Subject) -> Vec<Stands> {
    let window = call.window(model.partition(topics::ENGAGEMENT, &subject.post_id));
    let line = model.state::<Reacted>().0.get(subject);
    line.map_or_else(|| vec![Stands::default()], |line| line.within(window))
}

impl Noun for Reactions {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 10,
                    draw: |scene| {
                        let kind = scene.chance.between(1, 6) as i32;
                        Some(op(React { subject: Subject::draw(scene)?, kind }))
                    },
                },
                Draw { weight: 4, draw: |scene| Some(op(Unreact { subject: Subject::draw(scene)? })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Reacted>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Engagement(event) = &fact.event else { return };
        let subject = match event {
            Engagement::Reacted(event) => &event.subject,
            Engagement::Unreacted(event) => &event.subject,
            _ => return,
        };
        if !fact.is_new {
            return;
        }
        let line = model.state_mut::<Reacted>().0.entry(Subject::of(subject.clone())).or_default();
        let mut now = line.last();
        match event {
            Engagement::Reacted(event) => {
                now.insert(event.actor_id.clone(), (event.kind, fact.at));
            }
            Engagement::Unreacted(event) => _ = now.remove(&event.actor_id),
            _ => {}
        }
        line.set(fact.position.offset, now);
    }

    fn counted(&self) -> &'static [Counted] {
        const {
            &[
                Counted { table: "reactions", column: 1, counts: |row| is_of(row, "like") },
                Counted { table: "reactions", column: 2, counts: |row| is_of(row, "love") },
            ]
        }
    }
}

fn is_of(row: &Row, kind: &str) -> bool {
    row.read::<kith_engagement::reaction::ReactionRow>().is_some_and(|row| row.kind == kind)
}

#[derive(Debug)]
pub struct React {
    pub subject: Subject,
    pub kind: i32,
}

#[derive(Debug)]
pub struct Unreact {
    pub subject: Subject,
}

fn client(to: &Callers) -> ReactionServiceClient<Way> {
    ReactionServiceClient::new(to.way(SERVICE))
}

/// The record of an RPC around a post.
pub fn record_around(actor: &str, post_id: &str, rpc: &str, request_id: &str) -> Option<Appended> {
    let id = record_id(actor, rpc, request_id)?;
    Some(Appended { topic: topics::ENGAGEMENT, key: post_id.to_owned(), id })
}

fn ever(model: &Model, call: &Call, subject: &Subject, holds: impl Fn(&Stands) -> bool) -> bool {
    let window = call.meanwhile(model.partition(topics::ENGAGEMENT, &subject.post_id));
    model.state::<Reacted>().0.get(subject).cloned().unwrap_or_default().ever(window, holds)
}

#[async_trait]
impl Operation for React {
    /// Kind and time.
    type Answer = (i32, i64);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(i32, i64)>, Status> {
        let (subject, kind) = (Some(self.subject.wire()), self.kind);
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = ReactRequest { subject, kind, request_id, at_least };
        let done = client(to).react(to.from(&actor, request)).await?.into_inner();
        let reaction = done.reaction.unwrap_or_default();
        Ok(Reply::new((reaction.kind, micros(reaction.create_time.as_ref())), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.subject.post_id, "kith.engagement.v1.ReactionService/React", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.subject, |now| now.get(&call.actor).is_some_and(|(kind, _)| *kind == self.kind))
    }

    fn stands(&self, model: &Model, call: &Call, reaction: &(i32, i64)) -> bool {
        let line = model.state::<Reacted>().0.get(&self.subject);
        // A copy that comes when the reaction was taken back is told that none stands.
        let is_it = |now: &Stands| now.get(&call.actor).copied().unwrap_or_default() == *reaction;
        line.is_some_and(|line| line.ever((0, u64::MAX), is_it))
    }
}

#[async_trait]
impl Operation for Unreact {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = UnreactRequest { subject: Some(self.subject.wire()), request_id, at_least };
        let done = client(to).unreact(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.subject.post_id, "kith.engagement.v1.ReactionService/Unreact", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.subject, |now| !now.contains_key(&call.actor))
    }
}
