//! Counts of posts and comments, and viewer states. It has no records of its own.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_proto::engagement::v1::engagement_service_client::EngagementServiceClient;
use kith_proto::engagement::v1::{self, BatchGetCountsRequest, BatchGetViewerStatesRequest};
use kith_service::limits;
use tonic::{Code, Status};

use super::comments::COMMENTS;
use super::posts::{POSTS, Written, standing};
use super::reactions::{self, SERVICE, Subject};
use super::requests::{always_hidden, ever_hidden};
use super::{Draw, Noun, comments, posts, shares};
use crate::simulation::board::Scene;
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{COUNTS, Finding, HIDDEN, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::operation::{Ask, Op, Operation, Reply, op};

pub struct Counts;

/// Reactions by kind, comments, shares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenCounts {
    by_kind: BTreeMap<i32, u64>,
    comments: u64,
    shares: u64,
}

impl SeenCounts {
    pub fn of(counts: v1::Counts) -> Self {
        let by_kind = counts.reactions_by_kind.into_iter().map(|of| (of.kind, of.count)).collect();
        Self { by_kind, comments: counts.comment_count, shares: counts.share_count }
    }
}

/// What is wrong with the counts of a subject: each of them must be right at some time that the call could see. They are
/// read one after the other.
pub fn check(model: &Model, call: &Call, subject: &Subject, seen: &SeenCounts) -> Option<Finding> {
    let reactions = reactions::states(model, call, subject);
    let comments = comments::states(model, call, &subject.post_id);
    let shares = shares::states(model, call, &subject.post_id);
    let is_post = subject.comment_id.is_empty();
    let by_kind = |now: &reactions::Stands| {
        let mut counts = BTreeMap::new();
        now.values().for_each(|(kind, _)| *counts.entry(*kind).or_default() += 1);
        counts
    };
    let counted = |now: &comments::Discussion| match is_post {
        true => now.len() as u64,
        false => now.values().filter(|comment| comment.parent == subject.comment_id).count() as u64,
    };
    let shared = |now: &shares::Sharers| if is_post { now.len() as u64 } else { 0 };
    let fits = reactions.iter().any(|now| by_kind(now) == seen.by_kind)
        && comments.iter().any(|now| counted(now) == seen.comments)
        && shares.iter().any(|now| shared(now) == seen.shares);
    let known = || {
        let reactions: Vec<_> = reactions.iter().map(by_kind).collect();
        let comments: Vec<u64> = comments.iter().map(counted).collect();
        (reactions, comments, shares.iter().map(shared).collect::<Vec<u64>>())
    };
    (!fits).then(|| Finding::new(COUNTS, format!("of {subject:?}: {seen:?}, not of {:?}", known())))
}

/// What an account did about a subject: its reaction, 0 for none, and whether it shares it.
pub type Mine = (i32, bool);

/// Whether it was so at some time that the call could see.
pub fn did(model: &Model, call: &Call, subject: &Subject, (kind, shared): Mine) -> bool {
    let reactions = reactions::states(model, call, subject);
    let shares = shares::states(model, call, &subject.post_id);
    let is_post = subject.comment_id.is_empty();
    reactions.iter().any(|now| now.get(&call.actor).map_or(0, |(kind, _)| *kind) == kind)
        && shares.iter().any(|now| (is_post && now.contains_key(&call.actor)) == shared)
}

impl Noun for Counts {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 4, draw: |scene| Some(op(BatchGetCounts { subjects: subjects(scene)? })) },
                Draw { weight: 3, draw: |scene| Some(op(BatchGetViewerStates { subjects: subjects(scene)? })) },
            ]
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let mut all = Vec::new();
        for (post_id, post) in model.state::<Written>().last() {
            let comments = comments::ids(model, post_id);
            let of = |comment_id: String| Subject { post_id: post_id.clone(), comment_id };
            let subjects: Vec<Subject> = comments.into_iter().chain([String::new()]).map(of).collect();
            for subjects in subjects.chunks(limits::BATCH_ITEMS).map(<[Subject]>::to_vec) {
                all.push((post.author.clone(), op(BatchGetCounts { subjects: subjects.clone() })));
                all.push((post.author.clone(), op(BatchGetViewerStates { subjects })));
            }
        }
        all
    }
}

/// One post; or a few subjects, comments among them.
fn subjects(scene: &Scene<'_>) -> Option<Vec<Subject>> {
    let mut subjects = vec![Subject::post(&scene.one(POSTS)?.id)];
    if scene.chance.per_mille(500) {
        let comments = (0..scene.chance.below(3)).filter_map(|_| scene.one(COMMENTS));
        let of = |comment: &crate::simulation::board::Thing| {
            [Subject { post_id: comment.on.clone(), comment_id: comment.id.clone() }, Subject::post(&comment.on)]
        };
        subjects.extend(comments.flat_map(of));
    }
    Some(subjects)
}

#[derive(Debug)]
struct BatchGetCounts {
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct BatchGetViewerStates {
    subjects: Vec<Subject>,
}

fn client(to: &Callers) -> EngagementServiceClient<Way> {
    EngagementServiceClient::new(to.way(SERVICE))
}

fn wire(subjects: &[Subject]) -> Vec<v1::Subject> {
    subjects.iter().map(Subject::wire).collect()
}

#[async_trait]
impl Operation for BatchGetCounts {
    type Answer = Vec<(Subject, Option<SeenCounts>)>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status> {
        let request = BatchGetCountsRequest { subjects: wire(&self.subjects), at_least: ask.at_least };
        let found = client(to).batch_get_counts(to.from(&ask.actor, request)).await?.into_inner();
        let entry = |entry: v1::CountsEntry| (Subject::of(entry.subject), entry.counts.map(SeenCounts::of));
        Ok(Reply::new(found.entries.into_iter().map(entry).collect(), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        if !told.iter().map(|(subject, _)| subject).eq(&self.subjects) {
            return vec![Finding::new(COUNTS, format!("{} was answered for {told:?}", call.op))];
        }
        let of = |(subject, counts): &(Subject, Option<SeenCounts>)| match counts {
            None => missing(model, call, subject),
            Some(_) if is_gone(model, call, subject) => {
                Some(Finding::new(HIDDEN, format!("{} is told the counts of {subject:?}", call.actor)))
            }
            Some(counts) => check(model, call, subject, counts),
        };
        told.iter().filter_map(of).collect()
    }
}

/// Whether a subject was deleted, or in a block with the caller, the whole time.
fn is_gone(model: &Model, call: &Call, subject: &Subject) -> bool {
    let posts = posts::states(model, call, &subject.post_id);
    let author = posts.last().map(|post| post.author.clone()).unwrap_or_default();
    posts.iter().all(|post| !post.stands()) || always_hidden(model, call, &call.actor, &author)
}

/// No counts, though the subject was there the whole time.
fn missing(model: &Model, call: &Call, subject: &Subject) -> Option<Finding> {
    let post = standing(model, call, &subject.post_id)?;
    let discussion = comments::states(model, call, &subject.post_id).into_iter().next().unwrap_or_default();
    let comment = discussion.get(&subject.comment_id);
    let there = subject.comment_id.is_empty() || comment.is_some();
    let mut authors = comment.map(|comment| &comment.author).into_iter().chain([&post.author]);
    let hidden = authors.any(|author| ever_hidden(model, call, &call.actor, author));
    (there && !hidden).then(|| Finding::new(TOKEN, format!("{} was told no counts of {subject:?}", call.actor)))
}

#[async_trait]
impl Operation for BatchGetViewerStates {
    type Answer = Vec<(Subject, Mine)>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status> {
        let request = BatchGetViewerStatesRequest { subjects: wire(&self.subjects), at_least: ask.at_least };
        let found = client(to).batch_get_viewer_states(to.from(&ask.actor, request)).await?.into_inner();
        let entry = |entry: v1::ViewerStateEntry| {
            let mine = entry.viewer_state.unwrap_or_default();
            (Subject::of(entry.subject), (mine.reaction, mine.shared))
        };
        Ok(Reply::new(found.entries.into_iter().map(entry).collect(), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        if !told.iter().map(|(subject, _)| subject).eq(&self.subjects) {
            return vec![Finding::new(TOKEN, format!("{} was answered for {told:?}", call.op))];
        }
        // Of what is not there, or hidden, nothing is told.
        let may_be_nothing = |subject: &Subject| missing(model, call, subject).is_none();
        let wrong = told.iter().filter(|(subject, mine)| {
            let is_hidden = *mine == (0, false) && may_be_nothing(subject);
            !is_hidden && !did(model, call, subject, *mine)
        });
        let finding = |(subject, mine): &(Subject, Mine)| {
            Finding::new(TOKEN, format!("{}'s own doings about {subject:?} are {mine:?}", call.actor))
        };
        wrong.map(finding).collect()
    }
}
