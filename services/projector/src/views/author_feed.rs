//! What an author wrote and shared: `author_feed`. Also one side of the home feed's join; `followers` says why that misses
//! nothing.

use std::sync::Arc;

use kith_fold::{Effect, Fold, Found, Record, Rows, Scope, State, Walk};
use kith_log::Offset;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Shared, Unshared};
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::posts::v1::{PostCreated, PostDeleted};
use kith_relations::are_ids;
use kith_tables::{Column, Key, Order, Row, RowRange, Section, StoreError, Table, Timestamp, Value, row};

use super::home::HOME;
use super::{audience, home, signed, unsigned};
use crate::entry::{Entry, Kind, Place};

pub static AUTHOR_FEED: Table = Table {
    name: "author_feed",
    partition: &[Column::text("author_id")],
    clustering: &[Column::timestamp("at"), Column::text("item_id")],
    order: Order::Descending,
    sections: &[Section::of::<ItemRow>("item"), Section::of::<IndexRow>("by_id")],
    summary: &[],
};

row! {
    /// A post of the author's, or a share. Its source is the post's log partition, or the share's.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ItemRow in 0 {
        pub kind: Kind,
        pub post_id: String,
        pub post_author_id: String,
        /// Offset of the record that made it: what a reader's row of it is written at. A row that is over has a later
        /// position of its own.
        pub created_at_offset: i64,
        /// Deleted, or taken back.
        pub over: bool,
    }
}
row! {
    /// Where an item stands, by its id, at time 0: a copy with another time changes nothing, and its end finds it.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct IndexRow in 1 {
        pub item_time: Timestamp,
        pub kind: Kind,
        pub post_id: String,
        pub post_author_id: String,
        pub created_at_offset: i64,
    }
}

/// Folds what authors wrote and shared, and has it reach their followers.
pub struct AuthorFeed;

/// What a record does to one item.
struct Change<'a> {
    author: &'a str,
    item_id: &'a str,
    step: Step<'a>,
}

enum Step<'a> {
    Begin { kind: Kind, post_id: &'a str, post_author_id: &'a str },
    End,
}

impl<'a> Change<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let begin = |kind, post_id, post_author_id| Step::Begin { kind, post_id, post_author_id };
        let (author, item_id, step): (&str, &str, Step<'a>) = match &record.event {
            Event::Posts(Posts::PostCreated(PostCreated { post_id, author_id, .. })) => {
                (author_id, post_id, begin(Kind::Post, post_id, author_id))
            }
            Event::Posts(Posts::PostDeleted(PostDeleted { post_id, author_id, .. })) => (author_id, post_id, Step::End),
            Event::Engagement(Engagement::Shared(Shared { share_id, actor_id, post_id, post_author_id, .. })) => {
                (actor_id, share_id, begin(Kind::Share, post_id, post_author_id))
            }
            Event::Engagement(Engagement::Unshared(Unshared { share_id, actor_id, .. })) => {
                (actor_id, share_id, Step::End)
            }
            _ => return None,
        };
        let post = match step {
            Step::Begin { post_id, post_author_id, .. } => are_ids(&[post_id, post_author_id]),
            Step::End => true,
        };
        (post && are_ids(&[author, item_id])).then_some(Self { author, item_id, step })
    }

    fn index_key(&self) -> [Value; 2] {
        [Timestamp(0).into(), self.item_id.into()]
    }
}

impl Fold for AuthorFeed {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&AUTHOR_FEED, &HOME]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&AUTHOR_FEED, Key::text(change.author)).with::<IndexRow>(change.index_key()))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let known = rows.get::<IndexRow>(change.index_key());
        match (&change.step, known) {
            (&Step::Begin { kind, post_id, post_author_id }, None) => {
                let index = IndexRow {
                    item_time: record.time,
                    kind,
                    post_id: post_id.to_owned(),
                    post_author_id: post_author_id.to_owned(),
                    created_at_offset: signed(record.position.offset),
                };
                rows.put(index.item_key(change.item_id), index.item(false));
                rows.put(change.index_key(), index);
            }
            (Step::End, Some(index)) => rows.put(index.item_key(change.item_id), index.item(true)),
            (Step::Begin { .. }, Some(_)) | (Step::End, None) => {}
        }
    }

    /// Of the record that made the item; a copy of it makes nothing.
    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(change) = Change::of(record) else { return Vec::new() };
        let made = rows.get::<IndexRow>(change.index_key());
        match (change.step, made) {
            (Step::Begin { .. }, Some(index)) if index.created_at_offset == signed(record.position.offset) => {
                vec![push(index.entry(change.author, change.item_id), record.position.offset)]
            }
            _ => Vec::new(),
        }
    }
}

/// P2 and P3 of the argument in `followers`.
fn push(entry: Entry, created_at: u64) -> Effect {
    let author = entry.author_id.clone();
    audience::unless_pulled(&author, move |follower| vec![home::put(follower, &entry, created_at)])
}

/// Puts before the reader what the author wrote and shared since `since_us`, however much that is, and reads no further.
/// Also what is over: what a home feed leaves out it counts, and that must not depend on which side came first.
pub(super) fn backfill(author: &str, reader: &str, since_us: i64) -> Effect {
    let (of_author, reader) = (author.to_owned(), reader.to_owned());
    let each = move |row: &Row| {
        // A row that does not read as one is shown to nobody either.
        let Some((place, item)) = Place::of(&row.key.clustering).zip(row.read::<ItemRow>()) else {
            return Some(Vec::new());
        };
        let put = |place| home::put(&reader, &item.entry(&of_author, place), unsigned(item.created_at_offset));
        (place.at_us >= since_us).then(|| vec![put(place)])
    };
    let (partition, range) = (Key::text(author), RowRange::all::<ItemRow>());
    Effect::ForEach(Box::new(Walk { table: &AUTHOR_FEED, partition, range, unless: None, then: Arc::new(each) }))
}

/// Up to `limit` items of an author, newest first, from behind a place.
pub async fn slice(
    state: &State,
    author: &str,
    behind: Option<&Place>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let range = RowRange { after: behind.map(|place| place.clustering().into()), ..RowRange::all::<ItemRow>() };
    let found: Vec<Found<ItemRow>> = state.slice(&AUTHOR_FEED, &Key::text(author), range, limit).await?;
    let placed = |found: Found<ItemRow>| {
        let place = Place::of(&found.clustering);
        let place = place.ok_or_else(|| StoreError::Damaged("an author feed row has no place".to_owned()))?;
        Ok(found.row.entry(author, place))
    };
    found.into_iter().map(placed).collect()
}

/// An item with the places of the records that made and ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub entry: Entry,
    pub made_at: Offset,
    pub ended_at: Option<Offset>,
}

/// An author's item by its id.
pub async fn made(state: &State, author: &str, item_id: &str) -> Result<Option<Made>, StoreError> {
    let key = Key::text(author);
    let by_id = state.row::<IndexRow>(&AUTHOR_FEED, &key, [Timestamp(0).into(), item_id.into()]).await?;
    let Some(index) = by_id.map(|found| found.row) else { return Ok(None) };
    let item = state.row::<ItemRow>(&AUTHOR_FEED, &key, index.item_key(item_id)).await?;
    let ended_at = item.as_ref().filter(|found| found.row.over).map(|found| found.position);
    let mut entry = index.entry(author, item_id);
    entry.over = ended_at.is_some();
    Ok(Some(Made { entry, made_at: unsigned(index.created_at_offset), ended_at }))
}

impl ItemRow {
    fn entry(&self, author: &str, place: Place) -> Entry {
        Entry {
            place,
            kind: self.kind,
            post_id: self.post_id.clone(),
            author_id: author.to_owned(),
            post_author_id: self.post_author_id.clone(),
            over: self.over,
        }
    }
}

impl IndexRow {
    fn item_key(&self, item_id: &str) -> [Value; 2] {
        Place { at_us: self.item_time.0, item_id: item_id.to_owned() }.clustering()
    }

    fn item(&self, over: bool) -> ItemRow {
        ItemRow {
            kind: self.kind,
            post_id: self.post_id.clone(),
            post_author_id: self.post_author_id.clone(),
            created_at_offset: self.created_at_offset,
            over,
        }
    }

    fn entry(&self, author: &str, item_id: &str) -> Entry {
        self.item(false).entry(author, Place { at_us: self.item_time.0, item_id: item_id.to_owned() })
    }
}
