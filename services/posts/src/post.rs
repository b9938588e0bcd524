//! A post: published, edited, taken away.

use bytes::Bytes;
use kith_content::{Content, Opener};
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{Post, PostAttributes, PostContent, PostCreated, PostDeleted, PostEdited};
use kith_proto::{Event, time};
use kith_service::Failure;
use kith_service::command::Asked;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

use crate::content::Said;

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

/// What a command makes of a post; `None`: it is so already.
pub fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<PostEvent>, Rejection> {
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

/// What an event dated `at` makes of a post.
pub fn evolve(state: &mut Option<PostRow>, event: &PostEvent, at: Timestamp) {
    match (state.as_mut(), event) {
        (None, PostEvent::PostCreated(event)) => *state = Some(PostRow::created(event, at)),
        (Some(post), PostEvent::PostEdited(event)) if post.lacks(event.intent_offset) => post.edit(event, at),
        (Some(post), PostEvent::PostDeleted(_)) if !post.deleted => post.delete(at),
        (None, PostEvent::PostEdited(_) | PostEvent::PostDeleted(_)) | (Some(_), _) => {}
    }
}

/// The fold of posts, and their RPCs.
pub struct Posts;

impl Fold for Posts {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&POSTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let id = post_id(fact(record)?);
        // An id that is none cannot be a key: such an event concerns no post.
        RecordId::parse(id)?;
        Some(Scope::new(&POSTS, Key::text(id)).with::<PostRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let mut post = rows.get::<PostRow>([]);
        if let Some(event) = fact(record) {
            evolve(&mut post, event, record.time);
        }
        if let Some(post) = post {
            rows.put([], post);
        }
    }
}

impl PostRow {
    /// As it was created, at that time.
    pub fn created(event: &PostCreated, at: Timestamp) -> Self {
        let mut post = Self {
            author_id: event.author_id.clone(),
            revision: 1,
            create_time: at,
            payload_digest: event.payload_digest.clone(),
            ..Self::default()
        };
        post.say(event.content.clone(), event.attributes.as_ref());
        post
    }

    /// The post as callers see it.
    pub fn present(self, opener: &Opener, post_id: &str) -> Post {
        let languages = self.languages();
        let PostContent { text, facets } = opener.open(&self.content);
        Post {
            post_id: post_id.to_owned(),
            author_id: self.author_id,
            text,
            facets,
            languages,
            revision: u32::try_from(self.revision).unwrap_or(u32::MAX),
            create_time: Some(time::of_us(self.create_time.0)),
            edit_time: (self.edit_time.0 != 0).then(|| time::of_us(self.edit_time.0)),
        }
    }

    pub fn languages(&self) -> Vec<String> {
        self.languages.split_terminator(',').map(str::to_owned).collect()
    }

    /// Why somebody else may not touch it: one that was deleted looks like one that is not there.
    pub fn not_the_author(&self) -> Rejection {
        if self.deleted { Rejection::NotFound } else { Rejection::NotTheAuthor }
    }

    /// The latest time that it carries.
    pub fn newest(&self) -> Timestamp {
        self.create_time.max(self.edit_time).max(self.delete_time)
    }

    /// Whether the edit of the intent at that offset is later than what is there. Deleted stays deleted.
    pub fn lacks(&self, intent_offset: u64) -> bool {
        !self.deleted && signed(intent_offset) >= self.edit_intent_next
    }

    fn edit(&mut self, event: &PostEdited, at: Timestamp) {
        self.say(event.content.clone(), event.attributes.as_ref());
        self.revision = event.revision.into();
        self.edit_time = at;
        self.edit_intent_next = signed(event.intent_offset).saturating_add(1);
    }

    /// What it said goes, so that no table keeps what its author took away.
    fn delete(&mut self, at: Timestamp) {
        self.say(None, None);
        self.deleted = true;
        self.delete_time = at;
    }

    fn say(&mut self, content: Option<Content>, attributes: Option<&PostAttributes>) {
        self.content = content.unwrap_or_default();
        self.languages = attributes.map(|attributes| attributes.languages.join(",")).unwrap_or_default();
    }
}

/// The row of a post, deleted or not.
pub async fn post(state: &State, post_id: &str) -> Result<Option<Found<PostRow>>, StoreError> {
    state.row::<PostRow>(&POSTS, &Key::text(post_id), []).await
}

pub(crate) fn fact(record: &Record) -> Option<&PostEvent> {
    match &record.event {
        Event::Posts(event) => Some(event),
        _ => None,
    }
}

fn post_id(event: &PostEvent) -> &str {
    match event {
        PostEvent::PostCreated(event) => &event.post_id,
        PostEvent::PostEdited(event) => &event.post_id,
        PostEvent::PostDeleted(event) => &event.post_id,
    }
}

/// Offsets come from our own log, where none is that large; a hostile one is cut.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
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
