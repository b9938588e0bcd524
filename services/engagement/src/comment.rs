//! Comments on posts and replies to them: immutable, listed a level at a time, oldest first.

use bytes::Bytes;
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::{RecordId, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{Comment, CommentContent, CommentCreated};
use kith_proto::time;
use kith_service::ids;
use kith_tables::{Column, Key, Order, RowRange, RowType, Section, StoreError, Table, Timestamp, Value, row};

use crate::scene::Scene;
use crate::{Rejection, is_id};

/// Asks for a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub id: RecordId,
    pub author_id: String,
    pub post_id: String,
    /// Empty: the post.
    pub parent_comment_id: String,
    /// Parsed.
    pub text: String,
    pub digest: [u8; 32],
    pub at_ms: i64,
}

impl Command {
    /// Of the comment that it makes.
    pub fn comment_id(&self) -> String {
        ids::made_in(self.id, &self.post_id).to_string()
    }
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    /// The post, or the comment that is replied to.
    pub scene: Scene,
    /// The command's own comment, if it was made before.
    pub made: Option<IndexRow>,
}

/// `None`: the comment was made before.
pub fn decide(before: &Before, command: &Command) -> Result<Option<Event>, Rejection> {
    match &before.made {
        Some(made) if made.payload_digest[..] != command.digest[..] => Err(Rejection::RequestIdReused),
        Some(_) => Ok(None),
        None => {
            let (post, _) = before.scene.visible()?;
            Ok(Some(created(command, &post.author_id)))
        }
    }
}

/// A level of a discussion is a prefix: the clustering starts with the parent.
pub static COMMENTS: Table = Table {
    name: "comments",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("parent_comment_id"), Column::timestamp("create_time"), Column::text("comment_id")],
    order: Order::Ascending,
    sections: &[Section::of::<CommentRow>("comment"), Section::of::<IndexRow>("comment_by_id")],
    summary: CommentCount::COLUMNS,
};

row! {
    /// A comment in its level, under (parent, create time, id).
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct CommentRow in 0 { pub author_id: String, pub text: String }
}
row! {
    /// The same comment, by its id alone: a copy that states another time or parent finds it here.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct IndexRow in 1 {
        pub replies_to: String,
        pub at: Timestamp,
        pub author_id: String,
        pub payload_digest: Bytes,
        /// Direct replies: as many as there are rows in its level.
        pub reply_count: i64,
    }
}
row! {
    /// Comments of all levels of one post.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct CommentCount in 0 { pub comment_count: i64 }
}

/// Folds comments by post.
pub struct Comments;

impl Fold for Comments {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&COMMENTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = comment_created(record)?;
        let scope = Scope::new(&COMMENTS, Key::text(&event.post_id)).with::<IndexRow>(by_id_key(&event.comment_id));
        Some(match &*event.parent_comment_id {
            "" => scope,
            parent => scope.with::<IndexRow>(by_id_key(parent)),
        })
    }

    /// A reply to what is not there is none: `decide` refuses it, so only a foreign hand can have written it.
    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = comment_created(record) else { return };
        let parent = &*event.parent_comment_id;
        let parent_row = if parent.is_empty() { None } else { rows.get::<IndexRow>(by_id_key(parent)) };
        let known = rows.get::<IndexRow>(by_id_key(&event.comment_id)).is_some();
        if known || (!parent.is_empty() && parent_row.is_none()) {
            return;
        }
        if let Some(row) = parent_row {
            let reply_count = row.reply_count.saturating_add(1);
            rows.put(by_id_key(parent), IndexRow { reply_count, ..row });
        }
        insert(rows, event);
    }
}

fn insert(rows: &mut Rows, event: &CommentCreated) {
    let at = Timestamp(time::unix_ms(event.create_time.as_ref()));
    let text = event.content.as_ref().map(|content| content.text.clone()).unwrap_or_default();
    let row = CommentRow { author_id: event.author_id.clone(), text };
    rows.put([event.parent_comment_id.as_str().into(), at.into(), event.comment_id.as_str().into()], row);
    let index = IndexRow {
        replies_to: event.parent_comment_id.clone(),
        at,
        author_id: event.author_id.clone(),
        payload_digest: event.payload_digest.clone(),
        reply_count: 0,
    };
    rows.put(by_id_key(&event.comment_id), index);
    let CommentCount { comment_count } = rows.summary();
    rows.set_summary(CommentCount { comment_count: comment_count.saturating_add(1) });
}

fn comment_created(record: &Record) -> Option<&CommentCreated> {
    let kith_proto::Event::Engagement(Event::CommentCreated(event)) = &record.event else { return None };
    let parent = &*event.parent_comment_id;
    let ids = is_id(&event.post_id) && is_id(&event.comment_id) && is_id(&event.author_id);
    (ids && (parent.is_empty() || is_id(parent))).then_some(event)
}

/// All clustering columns of an index row but the last are the least there are.
fn by_id_key(comment_id: &str) -> [Value; 3] {
    ["".into(), Timestamp::default().into(), comment_id.into()]
}

/// The comment of that id on that post; none, without a read, for the empty id.
pub async fn by_id(state: &State, post_id: &str, comment_id: &str) -> Result<Option<Found<IndexRow>>, StoreError> {
    match comment_id {
        "" => Ok(None),
        comment_id => state.row(&COMMENTS, &Key::text(post_id), by_id_key(comment_id)).await,
    }
}

/// How many comments the post has, of all levels.
pub async fn count(state: &State, post_id: &str) -> Result<i64, StoreError> {
    let found = state.summary(&COMMENTS, &Key::text(post_id), (topics::ENGAGEMENT, post_id)).await?;
    Ok(found.map_or(0, |found: Found<CommentCount>| found.row.comment_count))
}

/// Where a page of a level ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    comment_id: RecordId,
}

impl Cursor {
    const BYTES: usize = 24;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.comment_id.0);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (at, id) = bytes.split_first_chunk::<8>()?;
        let comment_id = RecordId(id.try_into().ok()?);
        Some(Self { at: Timestamp(i64::from_be_bytes(*at)), comment_id })
    }
}

/// A comment of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed(Found<CommentRow>);

impl Listed {
    pub fn author_id(&self) -> &str {
        &self.0.row.author_id
    }

    /// `None` for a row that cannot be a comment's.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor { at: self.at(), comment_id: RecordId::parse(self.0.text(2))? })
    }

    /// The comment as callers see it.
    pub fn present(self, post_id: &str) -> Comment {
        let create_time = Some(time::timestamp(self.at().0));
        let (parent, comment_id) = (self.0.text(0).to_owned(), self.0.text(2).to_owned());
        let CommentRow { author_id, text } = self.0.row;
        Comment { comment_id, post_id: post_id.to_owned(), parent_comment_id: parent, author_id, text, create_time }
    }

    fn at(&self) -> Timestamp {
        match self.0.clustering.get(1) {
            Some(Value::Timestamp(at)) => *at,
            _ => Timestamp::default(),
        }
    }
}

/// The replies to the post (`parent_comment_id` empty) or to a comment on it behind `after`, oldest first.
pub async fn level(
    state: &State,
    post_id: &str,
    parent_comment_id: &str,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Vec<Listed>, StoreError> {
    let after = after.map(|cursor| vec![cursor.at.into(), cursor.comment_id.to_string().into()]);
    let range = RowRange { section: CommentRow::SECTION, prefix: vec![parent_comment_id.into()], after };
    let rows = state.slice(&COMMENTS, &Key::text(post_id), range, limit).await?;
    Ok(rows.into_iter().map(Listed).collect())
}

fn created(command: &Command, post_author_id: &str) -> Event {
    Event::CommentCreated(CommentCreated {
        comment_id: command.comment_id(),
        post_id: command.post_id.clone(),
        parent_comment_id: command.parent_comment_id.clone(),
        author_id: command.author_id.clone(),
        post_author_id: post_author_id.to_owned(),
        content: Some(CommentContent { text: command.text.clone() }),
        create_time: Some(time::timestamp(command.at_ms)),
        payload_digest: Bytes::copy_from_slice(&command.digest),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::scene::Seen;
    use crate::subject::SubjectRow;
    use crate::tests::history::{History, hex, id};

    fn command() -> Command {
        let (post_id, parent_comment_id, text) = (hex(1), String::new(), "hello".to_owned());
        Command { id: id(5), author_id: hex(0xa), post_id, parent_comment_id, text, digest: [1; 32], at_ms: 7 }
    }

    fn on_a_post() -> Before {
        let row = Some(SubjectRow { author_id: hex(0xb), ..SubjectRow::default() });
        Before { scene: Scene { post: Seen { row, blocked: false }, comment: None }, made: None }
    }

    #[test]
    fn a_comment_is_made_once() {
        let Ok(Some(Event::CommentCreated(event))) = decide(&on_a_post(), &command()) else { panic!("not made") };
        assert_eq!((event.comment_id, event.post_author_id), (command().comment_id(), hex(0xb)));
        let elsewhere = Command { post_id: hex(2), ..command() };
        assert_ne!(elsewhere.comment_id(), command().comment_id());
        let made = IndexRow { payload_digest: event.payload_digest, ..IndexRow::default() };
        let made = Before { made: Some(made), ..on_a_post() };
        assert_eq!(decide(&made, &command()), Ok(None));
        assert_eq!(decide(&made, &Command { digest: [2; 32], ..command() }), Err(Rejection::RequestIdReused));
    }

    #[test]
    fn nothing_is_said_about_what_is_not_there() {
        assert_eq!(decide(&Before::default(), &command()), Err(Rejection::PostNotFound));
        let mut no_parent = on_a_post();
        no_parent.scene.comment = Some(Seen::default());
        assert_eq!(decide(&no_parent, &command()), Err(Rejection::CommentNotFound));
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let cursor = Cursor { at: Timestamp(-5), comment_id: id(9) };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        for bad in [&[][..], &[0; 23], &[0; 25]] {
            assert_eq!(Cursor::decode(bad), None);
        }
    }

    fn event(n: u8, parent: Option<u8>, at_ms: i64) -> Event {
        Event::CommentCreated(CommentCreated {
            comment_id: hex(n),
            post_id: hex(1),
            parent_comment_id: parent.map(hex).unwrap_or_default(),
            author_id: hex(0xa),
            create_time: Some(time::timestamp(at_ms)),
            ..CommentCreated::default()
        })
    }

    /// Parent and time of each comment, as the first record has it that is not a reply to nothing.
    fn standing(history: &History) -> BTreeMap<String, (String, i64)> {
        let mut standing = BTreeMap::new();
        for event in history.records.iter().filter_map(comment_created) {
            let parent = event.parent_comment_id.clone();
            if parent.is_empty() || standing.contains_key(&parent) {
                let at_ms = time::unix_ms(event.create_time.as_ref());
                standing.entry(event.comment_id.clone()).or_insert((parent, at_ms));
            }
        }
        standing
    }

    proptest! {
        /// Replies to nothing and copies, also ones that state another parent or time, change nothing.
        #[test]
        fn counts_are_the_recount_of_the_rows(
            steps in prop::collection::vec((0_u8..20, prop::option::of(0_u8..20), 0_i64..50, 0_usize..40), 1..60),
        ) {
            let mut history = History::new(&COMMENTS);
            for (n, parent, at_ms, copied) in steps {
                history.append(&Comments, event(n, parent, at_ms));
                history.append_copy(&Comments, copied);
            }
            history.replay(&Comments);
            let standing = standing(&history);
            prop_assert_eq!(history.rows.summary::<CommentCount>().comment_count, standing.len() as i64);
            for (id, (parent, at_ms)) in &standing {
                let replies = standing.values().filter(|(parent, _)| parent == id).count() as i64;
                let index = history.rows.get::<IndexRow>(by_id_key(id)).unwrap();
                prop_assert_eq!((&index.replies_to, index.at.0, index.reply_count), (parent, *at_ms, replies));
                let place = [parent.as_str().into(), Timestamp(*at_ms).into(), id.as_str().into()];
                prop_assert!(history.rows.get::<CommentRow>(place).is_some());
            }
        }
    }
}
