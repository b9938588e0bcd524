//! A post: published, edited, taken away.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kith_content::{Content, Opener};
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::{Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{Post, PostCreated, PostDeleted};
use kith_proto::time;
use kith_relations::post::{Change, Columns};
use kith_relations::sight::Viewer;
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing};
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

use crate::PostsService;
use crate::content::{self, Said};

/// Posts read at once.
const READS_IN_FLIGHT: usize = 16;

pub static POSTS: Table = Table {
    name: "posts",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<PostRow>("post")],
    summary: &[],
};

row! {
    /// A post at its latest revision. Of a deleted one only who wrote it and when is left.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PostRow in 0 {
        pub author_id: String,
        pub content: Content,
        /// BCP 47 tags, a comma between them.
        pub languages: String,
        pub revision: i64,
        pub create_time: Timestamp,
        /// 0: never edited.
        pub edit_time: Timestamp,
        pub deleted: bool,
        pub delete_time: Timestamp,
        /// One past the offset of the last intent applied: an edit whose intent is below changes nothing.
        pub edit_intent_next: i64,
        pub payload_digest: Bytes,
    }
}

/// What is asked of a post, besides an edit, which the arbiter decides.
#[derive(Debug, Clone)]
pub enum Command {
    Create { post_id: String, text: String, languages: Vec<String> },
    Delete { post_id: String },
}

/// What a decision looks at.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub post: Option<PostRow>,
    /// What a post that is to be created says, its mentions resolved.
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the post is not there")]
    NotFound,
    #[error("only the author may do this")]
    NotTheAuthor,
    #[error("the request id was used for another post")]
    RequestIdReused,
    #[error("the post is at revision {current}")]
    RevisionStale { current: u32 },
}

/// The fold of posts, and their RPCs.
pub struct Posts;

#[async_trait]
impl Noun for Posts {
    type Service = PostsService;
    type Command = Command;
    type State = Before;
    type Event = PostEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::POSTS;

    fn key(command: &Command) -> &str {
        match command {
            Command::Create { post_id, .. } | Command::Delete { post_id } => post_id,
        }
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (found, said) = match command {
            Command::Create { post_id, text, languages } => {
                let said = content::compose(&seen.state, &asked.actor, text.clone(), languages.clone()).await?;
                (post(&seen.state, post_id).await?, said)
            }
            Command::Delete { post_id } => (seen_by(&seen.state, &asked.actor, post_id).await?, Default::default()),
        };
        let rests_on = found.as_ref().map(|found| found.position);
        let post = found.map(|found| found.row);
        let newest = post.as_ref().map(PostRow::newest).unwrap_or_default();
        Ok(Standing::new(Before { post, said }, rests_on).after(newest))
    }

    /// What a command makes of a post; `None`: it is so already.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<PostEvent>, Rejection> {
        match (&before.post, command) {
            (None, Command::Create { post_id, .. }) => Ok(Some(PostEvent::PostCreated(PostCreated {
                post_id: post_id.clone(),
                author_id: asked.actor.clone(),
                content: Some(asked.close(&before.said.content)),
                create_time: Some(time::of_us(asked.at.0)),
                payload_digest: Bytes::copy_from_slice(&asked.digest),
                attributes: Some(before.said.attributes.clone()),
            }))),
            (Some(post), Command::Create { .. }) if post.payload_digest[..] == asked.digest[..] => Ok(None),
            (Some(_), Command::Create { .. }) => Err(Rejection::RequestIdReused),
            (None, Command::Delete { .. }) => Err(Rejection::NotFound),
            (Some(post), Command::Delete { .. }) if post.author_id != asked.actor => Err(post.not_the_author()),
            (Some(post), Command::Delete { .. }) if post.deleted => Ok(None),
            (Some(post), Command::Delete { post_id }) => Ok(Some(PostEvent::PostDeleted(PostDeleted {
                post_id: post_id.clone(),
                author_id: post.author_id.clone(),
                post_create_time: Some(time::of_us(post.create_time.0)),
                delete_time: Some(time::of_us(asked.at.0)),
            }))),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            evolve(&mut before.post, change.event, record.time);
        }
    }
}

/// What an event dated `at` makes of a post.
pub fn evolve(state: &mut Option<PostRow>, event: &PostEvent, at: Timestamp) {
    let is_there = state.is_some();
    let post = state.get_or_insert_default();
    if post.columns().evolve(is_there, event, at) {
        match event {
            PostEvent::PostCreated(event) => post.payload_digest = event.payload_digest.clone(),
            PostEvent::PostEdited(_) => {}
            PostEvent::PostDeleted(_) => post.delete_time = at,
        }
    } else if !is_there {
        *state = None;
    }
}

impl Fold for Posts {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&POSTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Some(Scope::new(&POSTS, Key::text(Change::of(record)?.post_id)).with::<PostRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let mut post = rows.get::<PostRow>([]);
        evolve(&mut post, change.event, record.time);
        if let Some(post) = post {
            rows.put([], post);
        }
    }
}

impl PostRow {
    fn columns(&mut self) -> Columns<'_> {
        let Self { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next, .. } =
            self;
        Columns { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next }
    }

    /// The post as callers see it.
    pub fn present(mut self, opener: &Opener, post_id: &str) -> Post {
        self.columns().present(opener, post_id)
    }

    /// Why somebody else may not touch it: one that was deleted looks like one that is not there.
    pub fn not_the_author(&self) -> Rejection {
        if self.deleted { Rejection::NotFound } else { Rejection::NotTheAuthor }
    }

    /// The latest time that it carries.
    pub fn newest(&self) -> Timestamp {
        self.create_time.max(self.edit_time).max(self.delete_time)
    }
}

/// The row of a post, deleted or not.
pub async fn post(state: &State, post_id: &str) -> Result<Option<Found<PostRow>>, StoreError> {
    state.row::<PostRow>(&POSTS, &Key::text(post_id), []).await
}

/// The rows of these posts, at most a batch, in their order, deleted ones included; `None` as well for one whose author
/// the viewer does not see.
pub async fn all_seen_by(
    state: &State,
    viewer: &str,
    post_ids: &[String],
) -> Result<Vec<Option<Found<PostRow>>>, StoreError> {
    let reads: Vec<_> = post_ids.iter().map(|id| post(state, id)).collect();
    let mut rows: Vec<Option<Found<PostRow>>> = stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
    let authors = rows.iter().flatten().map(|found| found.row.author_id.as_str());
    let sights = Viewer::new(state, viewer).sights(authors).await?;
    for row in &mut rows {
        row.take_if(|found| !sights.of(&found.row.author_id).is_clear());
    }
    Ok(rows)
}

/// As [`all_seen_by`], for one.
pub async fn seen_by(state: &State, viewer: &str, post_id: &str) -> Result<Option<Found<PostRow>>, StoreError> {
    Ok(all_seen_by(state, viewer, &[post_id.to_owned()]).await?.pop().flatten())
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::not_found(Reason::PostNotFound, "post"),
            Rejection::NotTheAuthor => Self::new(Reason::NotTheAuthor, "only the author may change a post"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::RevisionStale { current } => {
                let message = format!("the post is at revision {current}: read it again, then decide");
                Self::new(Reason::RevisionStale, message).with("current_revision", current)
            }
        }
    }
}

#[cfg(test)]
mod tests;
