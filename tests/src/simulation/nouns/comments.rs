//! Comments on posts, and replies to them: listed one level at a time, oldest first.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::engagement::v1::comment_service_client::CommentServiceClient;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{self, CommentContent, CreateCommentRequest, ListCommentsRequest};
use tonic::{Code, Status};

use super::follows::size;
use super::lists::{List, There, walk, whole};
use super::posts::{POSTS, Written, standing};
use super::reactions::SERVICE;
use super::requests::{always_hidden, ever_hidden};
use super::{Counted, Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, LISTS, TOKEN, times};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros, said};
use crate::simulation::operation::{Ask, Op, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

pub const COMMENTS: &str = "comments";

pub struct Comments;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comment {
    /// Empty: the post.
    pub parent: String,
    pub author: String,
    pub text: String,
    pub at: i64,
}

/// Comments of all levels, by id.
pub type Discussion = BTreeMap<String, Comment>;

/// Discussions, by post.
#[derive(Default)]
struct Discussions(BTreeMap<String, Timeline<Discussion>>);

/// What had been said about a post while a call could see it.
pub fn states(model: &Model, call: &Call, post_id: &str) -> Vec<Discussion> {
    let window = call.window(model.partition(topics::ENGAGEMENT, post_id));
    let line = model.state::<Discussions>().0.get(post_id);
    line.map_or_else(|| vec![Discussion::default()], |line| line.within(window))
}

/// All comments on a post, at the end.
pub fn ids(model: &Model, post_id: &str) -> Vec<String> {
    let line = model.state::<Discussions>().0.get(post_id);
    line.map(Timeline::last).unwrap_or_default().into_keys().collect()
}

impl Noun for Comments {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 4,
                    draw: |scene| {
                        let (post_id, parent) = (scene.one(POSTS)?.id.clone(), String::new());
                        Some(op(CreateComment { post_id, parent, text: scene.text() }))
                    },
                },
                Draw {
                    weight: 3,
                    draw: |scene| {
                        let comment = scene.one(COMMENTS)?;
                        let (post_id, parent) = (comment.on.clone(), comment.id.clone());
                        Some(op(CreateComment { post_id, parent, text: scene.text() }))
                    },
                },
                Draw { weight: 2, draw: |scene| Some(whole(level(scene)?)) },
                Draw { weight: 1, draw: |scene| Some(walk(level(scene)?, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Discussions>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Engagement(Engagement::CommentCreated(event)) = &fact.event else { return };
        if !fact.is_new {
            return;
        }
        let text = said::<CommentContent>(event.content.as_ref()).text;
        model.makes(&event.comment_id, Some(&text), fact.position);
        let line = model.state_mut::<Discussions>().0.entry(event.post_id.clone()).or_default();
        let mut now = line.last();
        let (parent, author) = (event.parent_comment_id.clone(), event.author_id.clone());
        let comment = Comment { parent, author, text, at: fact.at };
        now.insert(event.comment_id.clone(), comment);
        line.set(fact.position.offset, now);
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let mut all = Vec::new();
        for (post_id, post) in model.state::<Written>().last() {
            let parents = ids(model, post_id).into_iter().chain([String::new()]);
            let levels = parents.map(|parent| Level { post_id: post_id.clone(), parent });
            all.extend(levels.map(|level| (post.author.clone(), walk(level, 3))));
        }
        all
    }

    fn counted(&self) -> &'static [Counted] {
        const { &[Counted { table: "comments", column: 1, counts: |row| row.key.section == 0 }] }
    }
}

fn level(scene: &Scene<'_>) -> Option<Level> {
    if scene.chance.per_mille(400)
        && let Some(comment) = scene.one(COMMENTS)
    {
        return Some(Level { post_id: comment.on.clone(), parent: comment.id.clone() });
    }
    Some(Level { post_id: scene.one(POSTS)?.id.clone(), parent: String::new() })
}

/// A comment as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenComment {
    id: String,
    comment: Comment,
}

impl SeenComment {
    fn of(comment: v1::Comment) -> Self {
        let at = micros(comment.create_time.as_ref());
        let v1::Comment { comment_id: id, parent_comment_id: parent, author_id: author, text, .. } = comment;
        Self { id, comment: Comment { parent, author, text, at } }
    }
}

fn client(to: &Callers) -> CommentServiceClient<Way> {
    CommentServiceClient::new(to.way(SERVICE))
}

#[derive(Debug)]
struct CreateComment {
    post_id: String,
    parent: String,
    text: String,
}

#[async_trait]
impl Operation for CreateComment {
    type Answer = SeenComment;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenComment>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (post_id, parent_comment_id, text) = (self.post_id.clone(), self.parent.clone(), self.text.clone());
        let request = CreateCommentRequest { post_id, parent_comment_id, text, request_id, at_least };
        let created = client(to).create_comment(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(SeenComment::of(created.comment.unwrap_or_default()), created.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenComment, Code>) -> Vec<Finding> {
        let Ok(SeenComment { id, .. }) = told else { return Vec::new() };
        let said = model.said.get(&self.text).is_some_and(|ids| ids.contains(id));
        let missing = || Finding::new(EFFECTIVE_ONCE, format!("said, and not in the log: {} is {id}", call.op));
        if said { Vec::new() } else { vec![missing()] }
    }

    fn made(&self, told: &SeenComment) -> Option<String> {
        Some(told.id.clone())
    }

    fn stands(&self, model: &Model, _call: &Call, told: &SeenComment) -> bool {
        let line = model.state::<Discussions>().0.get(&self.post_id);
        line.is_some_and(|line| line.last().get(&told.id) == Some(&told.comment))
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &SeenComment) {
        let (id, by, on) = (told.id.clone(), vec![actor.to_owned()], self.post_id.clone());
        board.add(COMMENTS, Thing { id, by, on, ..Thing::default() });
    }
}

/// The replies to a post, or to a comment on it.
#[derive(Debug)]
struct Level {
    post_id: String,
    parent: String,
}

#[async_trait]
impl List for Level {
    type Row = SeenComment;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenComment>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let (post_id, parent_comment_id) = (self.post_id.clone(), self.parent.clone());
        let request = ListCommentsRequest { post_id, parent_comment_id, page_size, page_token, at_least };
        let page = client(to).list_comments(to.from(&actor, request)).await?.into_inner();
        let answer = page.comments.into_iter().map(SeenComment::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenComment]) -> Vec<Finding> {
        let states = states(model, call, &self.post_id);
        let mut there = There::default();
        for (id, comment) in states.iter().flatten().filter(|(_, comment)| comment.parent == self.parent) {
            let ever = !always_hidden(model, call, &call.actor, &comment.author);
            let always = states.iter().all(|now| now.contains_key(id));
            there.put(id, ever, always && !ever_hidden(model, call, &call.actor, &comment.author));
        }
        let ids: Vec<&str> = rows.iter().map(|row| &*row.id).collect();
        let mut findings = there.check(call, &ids);
        let known = |row: &SeenComment| states.iter().any(|now| now.get(&row.id) == Some(&row.comment));
        let unlike = rows.iter().filter(|row| !known(row));
        findings.extend(unlike.map(|row| Finding::new(TOKEN, format!("{} has {row:?}, not as it is", call.op))));
        if !rows.is_sorted_by_key(|row| row.comment.at) {
            findings.push(Finding::new(LISTS, format!("{} is out of order: {rows:?}", call.op)));
        }
        findings.extend(times::in_causal_order(model, call, &ids));
        findings
    }

    fn refused(&self, model: &Model, call: &Call, code: Code) -> Vec<Finding> {
        let Some(post) = standing(model, call, &self.post_id).filter(|_| code == Code::NotFound) else {
            return Vec::new();
        };
        let states = states(model, call, &self.post_id);
        let parent = states.first().and_then(|now| now.get(&self.parent));
        let hidden = |author: &str| ever_hidden(model, call, &call.actor, author);
        let there = self.parent.is_empty() || parent.is_some_and(|parent| !hidden(&parent.author));
        let wrong = there && !hidden(&post.author);
        wrong.then(|| Finding::new(TOKEN, format!("{} was not found", call.op))).into_iter().collect()
    }
}
