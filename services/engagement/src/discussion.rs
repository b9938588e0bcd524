//! What discussions are kept as: a post's comments of all levels in one table partition, listed a level at a time.

use bytes::Bytes;
use kith_content::{Content, Opener};
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::topics;
use kith_proto::engagement::v1::{Comment, CommentContent, CommentCreated};
use kith_proto::time;
use kith_relations::comment;
use kith_service::kit::Seen;
use kith_service::query::PageAsk;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, Value, row};

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
    pub struct CommentRow in 0 { pub author_id: String, pub content: Content }
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

impl IndexRow {
    /// Of a comment that was made at that time.
    pub fn of(event: &CommentCreated, at: Timestamp) -> Self {
        Self {
            replies_to: event.parent_comment_id.clone(),
            at,
            author_id: event.author_id.clone(),
            payload_digest: event.payload_digest.clone(),
            reply_count: 0,
        }
    }
}

/// Folds comments by post.
pub struct Comments;

impl Fold for Comments {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&COMMENTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = comment::created(record)?;
        let scope = Scope::new(&COMMENTS, Key::text(&event.post_id)).with::<IndexRow>(by_id_key(&event.comment_id));
        Some(match &*event.parent_comment_id {
            "" => scope,
            parent => scope.with::<IndexRow>(by_id_key(parent)),
        })
    }

    /// A reply to what is not there is none: `decide` refuses it, so only a foreign hand can have written it.
    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = comment::created(record) else { return };
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
        insert(rows, event, record.time);
    }
}

fn insert(rows: &mut Rows, event: &CommentCreated, at: Timestamp) {
    let content = event.content.clone().unwrap_or_default();
    let row = CommentRow { author_id: event.author_id.clone(), content };
    rows.put([event.parent_comment_id.as_str().into(), at.into(), event.comment_id.as_str().into()], row);
    rows.put(by_id_key(&event.comment_id), IndexRow::of(event, at));
    let CommentCount { comment_count } = rows.summary();
    rows.set_summary(CommentCount { comment_count: comment_count.saturating_add(1) });
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

/// A comment of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed(Found<CommentRow>);

impl Listed {
    pub fn author_id(&self) -> &str {
        &self.0.row.author_id
    }

    /// The comment as callers see it.
    pub fn present(self, opener: &Opener, post_id: &str) -> Comment {
        let create_time = Some(time::of_us(self.0.time(1).0));
        let (parent, comment_id) = (self.0.text(0).to_owned(), self.0.text(2).to_owned());
        let CommentRow { author_id, content } = self.0.row;
        let CommentContent { text } = opener.open(&content);
        Comment { comment_id, post_id: post_id.to_owned(), parent_comment_id: parent, author_id, text, create_time }
    }
}

/// A page of the replies to the post (`parent_comment_id` empty) or to a comment on it, oldest first, and the place of the
/// next.
pub async fn level(
    seen: &Seen<'_>,
    post_id: &str,
    parent_comment_id: &str,
    page: &PageAsk,
) -> Result<(Vec<Listed>, Option<Vec<Value>>), StoreError> {
    let (rows, next) = page.rows(seen, &COMMENTS, &Key::text(post_id), vec![parent_comment_id.into()]).await?;
    Ok((rows.into_iter().map(Listed).collect(), next))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kith_proto::engagement::v1::engagement_event::Event;
    use proptest::prelude::*;

    use super::*;
    use crate::tests::history::{History, hex};

    fn event(n: u8, parent: Option<u8>, at_us: i64) -> Event {
        Event::CommentCreated(CommentCreated {
            comment_id: hex(n),
            post_id: hex(1),
            parent_comment_id: parent.map(hex).unwrap_or_default(),
            author_id: hex(0xa),
            create_time: Some(time::of_us(at_us)),
            ..CommentCreated::default()
        })
    }

    /// Parent and time of each comment, as the first record has it that is not a reply to nothing.
    fn standing(history: &History) -> BTreeMap<String, (String, i64)> {
        let mut standing = BTreeMap::new();
        for event in history.records.iter().filter_map(comment::created) {
            let parent = event.parent_comment_id.clone();
            if parent.is_empty() || standing.contains_key(&parent) {
                let at_us = time::unix_us(event.create_time.as_ref());
                standing.entry(event.comment_id.clone()).or_insert((parent, at_us));
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
            for (n, parent, at_us, copied) in steps {
                history.append(&Comments, event(n, parent, at_us));
                history.append_copy(&Comments, copied);
            }
            history.replay(&Comments);
            let standing = standing(&history);
            prop_assert_eq!(history.rows.summary::<CommentCount>().comment_count, standing.len() as i64);
            for (id, (parent, at_us)) in &standing {
                let replies = standing.values().filter(|(parent, _)| parent == id).count() as i64;
                let index = history.rows.get::<IndexRow>(by_id_key(id)).unwrap();
                prop_assert_eq!((&index.replies_to, index.at.0, index.reply_count), (parent, *at_us, replies));
                let place = [parent.as_str().into(), Timestamp(*at_us).into(), id.as_str().into()];
                prop_assert!(history.rows.get::<CommentRow>(place).is_some());
            }
        }
    }
}
