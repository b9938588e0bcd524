//! Posts: written, edited from a revision, deleted.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::posts::v1::post_event::Event as Posted;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_proto::posts::v1::{self, CreatePostRequest, DeletePostRequest, EditPostRequest, GetPostRequest, PostContent};
use tonic::{Code, Status};

use super::requests::{always_hidden, ever_hidden};
use super::{Draw, Noun, edits};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, HIDDEN, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros, said};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

pub const POSTS: &str = "posts";
/// Hashtags that posts carry.
pub const TAGS: [&str; 2] = ["tea", "rain"];
pub const SERVICE: &str = "posts";

pub struct Posts;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Post {
    pub author: String,
    pub text: String,
    pub revision: u32,
    pub at: i64,
    pub deleted: bool,
    /// When it was last edited; 0: never.
    edited_at: i64,
    edits: Offset,
}

impl Post {
    pub fn stands(&self) -> bool {
        self.revision > 0 && !self.deleted
    }
}

/// By id.
#[derive(Default)]
pub struct Written(BTreeMap<String, Timeline<Post>>);

impl Written {
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// All posts, as they are at the end.
    pub fn last(&self) -> impl Iterator<Item = (&String, Post)> {
        self.0.iter().map(|(id, line)| (id, line.last()))
    }
}

/// What a post was while a call could see it.
pub fn states(model: &Model, call: &Call, post_id: &str) -> Vec<Post> {
    let window = call.window(model.partition(topics::POSTS, post_id));
    model.state::<Written>().0.get(post_id).map(|line| line.within(window)).unwrap_or_default()
}

/// The post as it stood the whole time, if it did.
pub fn standing(model: &Model, call: &Call, post_id: &str) -> Option<Post> {
    let states = states(model, call, post_id);
    let stood = !states.is_empty() && states.iter().all(Post::stands);
    states.into_iter().next_back().filter(|_| stood)
}

/// What a post looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPost {
    pub post_id: String,
    pub author_id: String,
    pub text: String,
    pub revision: u32,
    pub at: i64,
    edited_at: i64,
}

impl SeenPost {
    pub fn of(post: v1::Post) -> Self {
        let (at, edited_at) = (micros(post.create_time.as_ref()), micros(post.edit_time.as_ref()));
        let v1::Post { post_id, author_id, text, revision, .. } = post;
        Self { post_id, author_id, text, revision, at, edited_at }
    }

    /// Whether it reads as the post did.
    pub fn reads(&self, post: &Post) -> bool {
        (&self.text, self.revision, &self.author_id) == (&post.text, post.revision, &post.author)
    }

    /// Whether its times are the post's as well.
    fn is(&self, post: &Post) -> bool {
        self.reads(post) && (self.at, self.edited_at) == (post.at, post.edited_at)
    }
}

impl Noun for Posts {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 10, draw: |scene| Some(op(CreatePost { text: text(scene) })) },
                Draw {
                    weight: 4,
                    draw: |scene| {
                        let post = scene.own(POSTS)?;
                        let expected_revision = if scene.chance.per_mille(700) { post.number as u32 } else { 0 };
                        Some(op(EditPost { post_id: post.id.clone(), text: text(scene), expected_revision }))
                    },
                },
                Draw { weight: 2, draw: |scene| Some(op(DeletePost { post_id: scene.own(POSTS)?.id.clone() })) },
                Draw { weight: 3, draw: |scene| Some(op(GetPost { post_id: scene.one(POSTS)?.id.clone() })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Written>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Posts(event) = &fact.event else { return };
        let id = match event {
            Posted::PostCreated(event) => &event.post_id,
            Posted::PostEdited(event) => &event.post_id,
            Posted::PostDeleted(event) => &event.post_id,
        };
        if !fact.is_new {
            return;
        }
        let line = model.state_mut::<Written>().0.entry(id.clone()).or_default();
        let mut now = line.last();
        let mut made = None;
        match event {
            Posted::PostCreated(event) if now.revision == 0 => {
                now.author = event.author_id.clone();
                now.text = said::<PostContent>(event.content.as_ref()).text;
                now.revision = 1;
                now.at = fact.at;
                made = Some(now.text.clone());
            }
            Posted::PostEdited(event) if !now.deleted && event.intent_offset >= now.edits => {
                now.text = said::<PostContent>(event.content.as_ref()).text;
                now.revision = event.revision;
                now.edited_at = fact.at;
                now.edits = event.intent_offset + 1;
            }
            Posted::PostDeleted(_) if now.revision > 0 => now.deleted = true,
            _ => {}
        }
        line.set(fact.position.offset, now);
        if let Some(text) = made {
            model.makes(id, Some(&text), fact.position);
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let all = model.state::<Written>().last();
        all.map(|(id, post)| (post.author, op(GetPost { post_id: id.clone() }))).collect()
    }
}

/// A unique text; some carry a hashtag.
fn text(scene: &Scene<'_>) -> String {
    let tag = scene.chance.pick(&TAGS).filter(|_| scene.chance.per_mille(600));
    tag.map_or_else(|| scene.text(), |tag| format!("{} #{tag}", scene.text()))
}

#[derive(Debug)]
struct CreatePost {
    text: String,
}

#[derive(Debug)]
struct EditPost {
    post_id: String,
    text: String,
    expected_revision: u32,
}

#[derive(Debug)]
struct DeletePost {
    post_id: String,
}

#[derive(Debug)]
struct GetPost {
    post_id: String,
}

fn client(to: &Callers) -> PostServiceClient<crate::simulation::callers::Way> {
    PostServiceClient::new(to.way(SERVICE))
}

/// Whether the post was ever as it was answered.
fn was(model: &Model, post_id: &str, holds: impl Fn(&Post) -> bool) -> bool {
    model.state::<Written>().0.get(post_id).is_some_and(|line| line.ever((0, Offset::MAX), holds))
}

#[async_trait]
impl Operation for CreatePost {
    type Answer = SeenPost;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenPost>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = CreatePostRequest { text: self.text.clone(), request_id, at_least, languages: Vec::new() };
        let created = client(to).create_post(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(SeenPost::of(created.post.unwrap_or_default()), created.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenPost, Code>) -> Vec<Finding> {
        let Ok(post) = told else { return Vec::new() };
        let said = model.said.get(&self.text).is_some_and(|ids| ids.contains(&post.post_id));
        let missing = || Finding::new(EFFECTIVE_ONCE, format!("written, and not in the log: {} is {post:?}", call.op));
        if said { Vec::new() } else { vec![missing()] }
    }

    fn made(&self, post: &SeenPost) -> Option<String> {
        Some(post.post_id.clone())
    }

    fn stands(&self, model: &Model, _call: &Call, post: &SeenPost) -> bool {
        was(model, &post.post_id, |state| post.is(state))
    }

    fn learn(&self, board: &mut Board, actor: &str, post: &SeenPost) {
        let (id, by, number) = (post.post_id.clone(), vec![actor.to_owned()], post.revision.into());
        board.add(POSTS, Thing { id, by, number, ..Thing::default() });
    }
}

impl EditPost {
    /// The id of its intent.
    fn intent(&self, call: &Call) -> Option<RecordId> {
        record_id(&call.actor, "kith.posts.v1.PostService/EditPost", &call.request_id)
    }
}

#[async_trait]
impl Operation for EditPost {
    type Answer = SeenPost;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenPost>, Status> {
        let (post_id, text, expected_revision) = (self.post_id.clone(), self.text.clone(), self.expected_revision);
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = EditPostRequest { post_id, text, expected_revision, request_id, at_least };
        let edited = client(to).edit_post(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(SeenPost::of(edited.post.unwrap_or_default()), edited.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenPost, Code>) -> Vec<Finding> {
        let what = match told {
            Ok(_) if !was(model, &self.post_id, |post| post.text == self.text) => "is not in the log",
            // Stale, it was told.
            Err(Code::Aborted) if self.intent(call).is_some_and(|id| edits::won(model, id)) => {
                "has won, and was refused"
            }
            _ => return Vec::new(),
        };
        vec![Finding::new(EFFECTIVE_ONCE, format!("an edit {what}: {}", call.op))]
    }

    fn stands(&self, model: &Model, _call: &Call, post: &SeenPost) -> bool {
        was(model, &self.post_id, |state| post.is(state))
    }

    fn learn(&self, board: &mut Board, _actor: &str, post: &SeenPost) {
        board.change(POSTS, &self.post_id, |known| known.number = post.revision.into());
    }
}

#[async_trait]
impl Operation for DeletePost {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = DeletePostRequest { post_id: self.post_id.clone(), request_id, at_least };
        let deleted = client(to).delete_post(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), deleted.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let id = record_id(actor, "kith.posts.v1.PostService/DeletePost", request_id)?;
        Some(Appended { topic: topics::POSTS, key: self.post_id.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let window = call.meanwhile(model.partition(topics::POSTS, &self.post_id));
        model.state::<Written>().0.get(&self.post_id).is_some_and(|line| line.ever(window, |post| post.deleted))
    }
}

#[async_trait]
impl Operation for GetPost {
    type Answer = SeenPost;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenPost>, Status> {
        let request = GetPostRequest { post_id: self.post_id.clone(), at_least: ask.at_least };
        let found = client(to).get_post(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(SeenPost::of(found.post.unwrap_or_default()), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenPost, Code>) -> Vec<Finding> {
        let (Self { post_id }, Call { actor, .. }) = (self, call);
        let states = states(model, call, post_id);
        let author = states.last().map(|post| post.author.clone()).unwrap_or_default();
        let finding = match told {
            Ok(_) if always_hidden(model, call, actor, &author) => {
                Some(Finding::new(HIDDEN, format!("{actor} sees {post_id} of {author} in spite of a block")))
            }
            Ok(seen) if states.iter().any(|post| !post.deleted && seen.is(post)) => None,
            Ok(_) if states.iter().all(|post| post.deleted) => {
                Some(Finding::new(HIDDEN, format!("{post_id} is deleted and shown")))
            }
            Ok(seen) => Some(Finding::new(TOKEN, format!("{post_id} is {seen:?}, not one of {states:?}"))),
            Err(Code::NotFound) => {
                let there = standing(model, call, post_id).is_some() && !ever_hidden(model, call, actor, &author);
                there.then(|| Finding::new(TOKEN, format!("{post_id} was not found")))
            }
            Err(_) => None,
        };
        finding.into_iter().collect()
    }
}
