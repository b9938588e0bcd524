//! A post: published, edited, taken away.

use bytes::Bytes;
use kith_fold::{Fold, Found, Noun, Record, Rows, Scope, State};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{Post, PostContent, PostCreated, PostDeleted, PostEdited};
use kith_proto::{Event, time};
use kith_service::Failure;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};
use prost::Message;

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
        pub text: String,
        /// A `PostContent` with nothing in it but its facets.
        pub facets: Bytes,
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
    Create(PostCreated),
    Delete { post_id: RecordId, actor_id: String, delete_time_ms: i64 },
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

/// The rules of a post, and their fold.
pub struct Posts;

impl Noun for Posts {
    type Command = Command;
    type Event = PostEvent;
    type State = Option<PostRow>;
    type Rejection = Rejection;

    fn decide(state: &Self::State, command: &Command) -> Result<Option<PostEvent>, Rejection> {
        match (state, command) {
            (None, Command::Create(created)) => Ok(Some(PostEvent::PostCreated(created.clone()))),
            (Some(post), Command::Create(created)) if post.payload_digest == created.payload_digest => Ok(None),
            (Some(_), Command::Create(_)) => Err(Rejection::RequestIdReused),
            (None, Command::Delete { .. }) => Err(Rejection::NotFound),
            (Some(post), Command::Delete { actor_id, .. }) if post.author_id != *actor_id => Err(post.not_the_author()),
            (Some(post), Command::Delete { .. }) if post.deleted => Ok(None),
            (Some(post), Command::Delete { post_id, delete_time_ms, .. }) => {
                Ok(Some(PostEvent::PostDeleted(PostDeleted {
                    post_id: post_id.to_string(),
                    author_id: post.author_id.clone(),
                    post_create_time: Some(time::timestamp(post.create_time.0)),
                    delete_time: Some(time::timestamp(*delete_time_ms)),
                })))
            }
        }
    }

    fn evolve(state: &mut Self::State, event: &PostEvent) {
        match (state.as_mut(), event) {
            (None, PostEvent::PostCreated(event)) => *state = Some(PostRow::created(event)),
            (Some(post), PostEvent::PostEdited(event)) if post.takes(event) => post.edit(event),
            (Some(post), PostEvent::PostDeleted(event)) if !post.deleted => post.delete(event),
            (None, PostEvent::PostEdited(_) | PostEvent::PostDeleted(_)) | (Some(_), _) => {}
        }
    }
}

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
            Self::evolve(&mut post, event);
        }
        if let Some(post) = post {
            rows.put([], post);
        }
    }
}

impl PostRow {
    pub fn created(event: &PostCreated) -> Self {
        let mut post = Self {
            author_id: event.author_id.clone(),
            revision: 1,
            create_time: Timestamp(time::unix_ms(event.create_time.as_ref())),
            payload_digest: event.payload_digest.clone(),
            ..Self::default()
        };
        post.say(event.content.clone().unwrap_or_default());
        post
    }

    /// The post as callers see it.
    pub fn present(self, post_id: &str) -> Post {
        let facets = PostContent::decode(self.facets).unwrap_or_default().facets;
        let languages = self.languages.split_terminator(',').map(str::to_owned).collect();
        Post {
            post_id: post_id.to_owned(),
            author_id: self.author_id,
            text: self.text,
            facets,
            languages,
            revision: u32::try_from(self.revision).unwrap_or(u32::MAX),
            create_time: Some(time::timestamp(self.create_time.0)),
            edit_time: (self.edit_time.0 != 0).then(|| time::timestamp(self.edit_time.0)),
        }
    }

    pub fn languages(&self) -> Vec<String> {
        self.languages.split_terminator(',').map(str::to_owned).collect()
    }

    /// Why somebody else may not touch it: one that was deleted looks like one that is not there.
    pub fn not_the_author(&self) -> Rejection {
        if self.deleted { Rejection::NotFound } else { Rejection::NotTheAuthor }
    }

    /// Whether the edit is later than what is there. Deleted stays deleted.
    fn takes(&self, event: &PostEdited) -> bool {
        !self.deleted && signed(event.intent_offset) >= self.edit_intent_next
    }

    fn edit(&mut self, event: &PostEdited) {
        self.say(event.content.clone().unwrap_or_default());
        self.revision = event.revision.into();
        self.edit_time = Timestamp(time::unix_ms(event.edit_time.as_ref()));
        self.edit_intent_next = signed(event.intent_offset).saturating_add(1);
    }

    /// What it said goes, so that no table keeps what its author took away.
    fn delete(&mut self, event: &PostDeleted) {
        self.say(PostContent::default());
        self.deleted = true;
        self.delete_time = Timestamp(time::unix_ms(event.delete_time.as_ref()));
    }

    fn say(&mut self, content: PostContent) {
        let PostContent { text, facets, languages } = content;
        self.text = text;
        self.facets = PostContent { facets, ..PostContent::default() }.encode_to_vec().into();
        self.languages = languages.join(",");
    }
}

/// The row of a post, deleted or not.
pub async fn post(state: &State, post_id: RecordId) -> Result<Option<Found<PostRow>>, StoreError> {
    state.row::<PostRow>(&POSTS, &Key::text(&post_id.to_string()), []).await
}

/// The place of the record that last changed the post.
pub fn position(state: &State, post_id: RecordId, found: &Found<PostRow>) -> Position {
    let partition = LogPartition::of_key(topics::POSTS, &post_id.to_string(), state.partition_count());
    Position { partition, offset: found.position }
}

fn fact(record: &Record) -> Option<&PostEvent> {
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
