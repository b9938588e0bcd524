//! What is needed to show a post: `cards`. The post, how much stands around it, what each account did about it, in one
//! table partition, so that one read gives all of it. Two folds evolve it, each its own source's rows.

mod engagement;

use std::collections::{BTreeMap, BTreeSet};

use kith_content::{Content, Opener};
use kith_fold::{Effect, Fold, Record, Rows, Scope, State};
use kith_log::{LogPartition, topics};
use kith_proto::posts::v1::Post;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_relations::post::{self, Change, Columns};
use kith_tables::{Column, Key, Order, Row, RowKey, RowType, Section, StoreError, Table, Timestamp, Value, row};

pub use engagement::{ActorRow, CardEngagement, CommentRow, EngagementSummary};

pub static CARDS: Table = Table {
    name: "cards",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("id")],
    order: Order::Ascending,
    sections: &[Section::of::<PostRow>("post"), Section::of::<ActorRow>("actor"), Section::of::<CommentRow>("comment")],
    summary: EngagementSummary::COLUMNS,
};

row! {
    /// The post, under the empty id. A deleted one keeps its author and times, not what it said.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PostRow in 0 {
        pub author_id: String,
        pub content: Content,
        /// BCP 47 tags, a comma between them.
        pub languages: String,
        /// Its hashtags, normalised, each behind a `#`, which none of them has in it.
        pub tags: String,
        pub revision: i64,
        pub create_time: Timestamp,
        /// 0: never.
        pub edit_time: Timestamp,
        pub deleted: bool,
        /// One more than the offset of the last edit's intent that was applied.
        pub edit_intent_next: i64,
    }
}

/// Folds the posts, and has them reach other views.
pub struct CardPosts {
    pub spreads: &'static [Spread],
}

/// The rows of another view that a post's record puts: a function of the record alone. A view that names what shows posts
/// cannot be named here: modules do not import each other in a circle.
pub struct Spread {
    pub table: &'static Table,
    pub rows: fn(&Record) -> Vec<Effect>,
}

impl Fold for CardPosts {
    fn tables(&self) -> Vec<&'static Table> {
        let spread_to = self.spreads.iter().map(|spread| spread.table);
        [&CARDS].into_iter().chain(spread_to).collect()
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = change(record)?;
        Some(Scope::new(&CARDS, Key::text(change.post_id)).with::<PostRow>(["".into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = change(record) else { return };
        if let Some(row) = evolve(rows.get::<PostRow>(["".into()]), change.event, record.time) {
            rows.put(["".into()], row);
        }
    }

    fn effects(&self, _: &Rows, record: &Record) -> Vec<Effect> {
        self.spreads.iter().flat_map(|spread| (spread.rows)(record)).collect()
    }
}

/// A card of a post needs an author who can be asked about.
fn change(record: &Record) -> Option<Change<'_>> {
    Change::of(record).filter(|change| !matches!(change.event, Posts::PostCreated(_)) || change.has_author())
}

/// The post after the event dated `at`; `None`: as it was.
fn evolve(post: Option<PostRow>, event: &Posts, at: Timestamp) -> Option<PostRow> {
    let is_there = post.is_some();
    let mut post = post.unwrap_or_default();
    let changes = post.columns().evolve(is_there, event, at);
    let tags = post::attributes(event).into_iter().flat_map(|attributes| &attributes.tags);
    changes.then(|| PostRow { tags: tags.map(|tag| format!("#{tag}")).collect(), ..post })
}

impl PostRow {
    fn columns(&mut self) -> Columns<'_> {
        let Self { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next, .. } =
            self;
        Columns { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next }
    }

    /// Whether it carries the tag, which is normalised.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.split('#').skip(1).any(|own| own == tag)
    }

    /// The post as callers see it.
    pub fn present(&self, opener: &Opener, post_id: &str) -> Post {
        self.clone().columns().present(opener, post_id)
    }
}

/// A post as it stands, with what some accounts did about it.
#[derive(Debug, Clone, Default)]
pub struct Card {
    pub post: Option<PostRow>,
    pub engagement: EngagementSummary,
    /// By account; those that did something.
    pub actors: BTreeMap<String, ActorRow>,
}

/// One read: the post, its counts, and what each of `actors` (fewer than a read takes) did about it.
pub async fn card(state: &State, post_id: &str, actors: &BTreeSet<&str>) -> Result<Card, StoreError> {
    let engagement = LogPartition::of_key(topics::ENGAGEMENT, post_id, state.partition_count());
    let mut keys = vec![RowKey::of::<PostRow>(["".into()]), CARDS.summary_key(engagement.source())];
    keys.extend(actors.iter().map(|&actor| RowKey::of::<ActorRow>([actor.into()])));
    let rows = state.get(&CARDS, &Key::text(post_id), &keys).await?;
    let mut card = Card::default();
    for row in rows.into_iter().flatten() {
        card.add(row)?;
    }
    Ok(card)
}

impl Card {
    fn add(&mut self, mut row: Row) -> Result<(), StoreError> {
        let damaged = || StoreError::Damaged("a row of cards does not read as its type".to_owned());
        match row.key.section {
            PostRow::SECTION => self.post = Some(row.read().ok_or_else(damaged)?),
            ActorRow::SECTION => {
                let Some(Value::Text(actor)) = row.key.clustering.first().cloned() else { return Err(damaged()) };
                self.actors.insert(actor, row.read().ok_or_else(damaged)?);
            }
            // The summary row: the mark comes first.
            _ if !row.columns.is_empty() => {
                let own = row.columns.split_off(1);
                self.engagement = EngagementSummary::from_columns(own).ok_or_else(damaged)?;
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::posts::v1::{PostAttributes, PostContent, PostCreated, PostDeleted, PostEdited};
    use kith_proto::{Event, time};

    use super::*;

    fn content(text: &str) -> Option<Content> {
        Some(Content::close(&PostContent { text: text.to_owned(), ..PostContent::default() }))
    }

    fn attributes() -> Option<PostAttributes> {
        Some(PostAttributes { languages: vec!["de".to_owned()], ..PostAttributes::default() })
    }

    fn shown(events: &[Posts]) -> Post {
        after(events).unwrap().present(&Opener::new(), "p")
    }

    fn created(text: &str, at_us: i64) -> Posts {
        Posts::PostCreated(PostCreated {
            post_id: "p".into(),
            author_id: "ada".into(),
            content: content(text),
            attributes: attributes(),
            create_time: Some(time::timestamp(at_us)),
            ..PostCreated::default()
        })
    }

    fn edited(text: &str, revision: u32, intent_offset: u64) -> Posts {
        let (edit_time, content, attributes) = (Some(time::timestamp(9_000)), content(text), attributes());
        let edited = PostEdited { revision, content, attributes, edit_time, intent_offset, ..PostEdited::default() };
        Posts::PostEdited(edited)
    }

    fn after(events: &[Posts]) -> Option<PostRow> {
        events.iter().fold(None, |post, event| at_its_time(post.clone(), event).or(post))
    }

    fn at_its_time(post: Option<PostRow>, event: &Posts) -> Option<PostRow> {
        evolve(post, event, Timestamp(time::unix_us(Event::Posts(event.clone()).time())))
    }

    #[test]
    fn a_post_is_as_its_last_edit_left_it() {
        let post = shown(&[created("one", 1_000), edited("two", 2, 0), edited("three", 3, 5)]);
        assert_eq!((&*post.text, post.revision, post.languages.len()), ("three", 3, 1));
        assert_eq!((post.create_time, post.edit_time), (Some(time::timestamp(1_000)), Some(time::timestamp(9_000))));
        assert_eq!(shown(&[created("one", 1_000)]).edit_time, None);
    }

    #[test]
    fn copies_and_what_comes_too_late_change_nothing() {
        let all = [created("one", 1_000), edited("two", 2, 4), edited("three", 3, 5)];
        let post = after(&all);
        for late in [created("other", 2_000), edited("two", 2, 4), edited("three", 3, 5), edited("x", 2, 0)] {
            assert_eq!(at_its_time(post.clone(), &late), None, "{late:?}");
        }
        assert_eq!(after(&[edited("two", 2, 0), Posts::PostDeleted(PostDeleted::default())]), None);
    }

    #[test]
    fn a_deleted_post_says_nothing_any_more_and_stays_deleted() {
        let deleted = after(&[created("one", 1_000), Posts::PostDeleted(PostDeleted::default())]).unwrap();
        assert!(deleted.deleted && deleted.content.is_empty());
        for late in [created("one", 1_000), edited("two", 2, 9), Posts::PostDeleted(PostDeleted::default())] {
            assert_eq!(at_its_time(Some(deleted.clone()), &late), None);
        }
    }
}
