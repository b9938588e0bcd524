//! The posts that carry a hashtag, newest first: the table `tag_feed`, by tag and week, the rows that a post's record puts
//! there, and the RPC.
//!
//! A row says that the post carried the tag once. Rows are put by what made or edited the post, and never removed: whether
//! it still carries the tag its card says, when it is read.

use async_trait::async_trait;
use futures::future::try_join_all;
use kith_fold::{Effect, Found, Record, State};
use kith_proto::feeds::v1::{FeedItem, GetTagFeedRequest, GetTagFeedResponse, rpc};
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::time;
use kith_relations::post::{Change, attributes};
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_service::text::parse_tag;
use kith_service::{Failure, limits};
use kith_tables::{Column, Key, Order, RowRange, Section, StoreError, Table, Timestamp, Value, row};

use crate::Feeds;
use crate::entry::{Entry, Kind, Place};
use crate::feed;
use crate::hydrate::{Hydrated, hydrate};
use crate::rules::Verdict;
use crate::views::cards::Spread;
use crate::views::home::{start_of, week_of};

/// Weeks read side by side.
const WEEKS_IN_FLIGHT: usize = 8;
/// Of a tag: longer ones no post of ours has, and no key can be as long as an event.
const TAG_BYTES_MAX: usize = limits::HASHTAG_CHARS_MAX * 4;

static TAG_FEED: Table = Table {
    name: "tag_feed",
    partition: &[Column::text("tag"), Column::bigint("week")],
    clustering: &[Column::timestamp("at"), Column::text("post_id")],
    order: Order::Descending,
    sections: &[Section::of::<PostRow>("post"), Section::of::<WeekRow>("week")],
    summary: &[],
};

row! {
    /// A post that carried the tag once, under its own time: a function of the record that said so, at that record's place.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PostRow in 0 { pub author_id: String }
}
row! {
    /// A week in which the tag has posts: in week 0 of the tag, under the week's first moment and no post. The same whoever
    /// writes it: so at position 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct WeekRow in 1 { pub has_posts: bool }
}

/// What posts put there.
pub const SPREAD: Spread = Spread { table: &TAG_FEED, rows };

/// Into the feeds of the tags that the post has by the record.
fn rows(record: &Record) -> Vec<Effect> {
    // Nothing could be asked about an account that is no id.
    let Some(change) = Change::of(record).filter(Change::has_author) else { return Vec::new() };
    let at = match change.event {
        Posts::PostCreated(_) => record.time,
        Posts::PostEdited(event) => Timestamp(time::unix_us(event.post_create_time.as_ref())),
        Posts::PostDeleted(_) => return Vec::new(),
    };
    let tags = attributes(change.event).into_iter().flat_map(|attributes| &attributes.tags);
    let tags = tags.filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX);
    let week = week_of(at.0);
    let put = |tag: &String| {
        let row = PostRow { author_id: change.author_id.to_owned() };
        let place = [at.into(), change.post_id.into()];
        let has_posts = WeekRow { has_posts: true };
        [
            Effect::put(&TAG_FEED, key(tag, week), place, row, record.position.offset),
            Effect::put(&TAG_FEED, key(tag, 0), [Timestamp(start_of(week)).into(), "".into()], has_posts, 0),
        ]
    };
    tags.flat_map(put).collect()
}

fn key(tag: &str, week: i64) -> Key {
    Key(vec![tag.into(), week.into()])
}

/// The posts that carry a tag.
pub struct Tagged;

#[async_trait]
impl Lists<rpc::GetTagFeed> for Tagged {
    type Service = Feeds;
    /// The tag, normalised.
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: GetTagFeedRequest) -> Result<String, Failure> {
        parse_tag("tag", &request.tag)
    }

    async fn page(
        _: &Feeds,
        seen: &Seen<'_>,
        tag: String,
        page: &PageAsk,
    ) -> Result<(GetTagFeedResponse, Option<Vec<Value>>), Failure> {
        let from = match &page.after {
            Some(values) => Some(Place::of(values).ok_or_else(Failure::page_token_invalid)?),
            None => None,
        };
        let (entries, next) = entries(&seen.state, &tag, from.as_ref(), page.size).await?;
        let hydrated = hydrate(&seen.state, &seen.viewer, &entries).await?;
        let is_shown =
            |entry: &&Entry| carries(entry, &tag, &hydrated) && feed::verdict(entry, &hydrated) == Verdict::Shown;
        let opener = seen.opener();
        let shown = entries.iter().filter(is_shown);
        let items: Vec<FeedItem> =
            shown.filter_map(|entry| feed::present(&opener, entry, &seen.viewer, &hydrated, None)).collect();
        let omitted_count = omitted_count(entries.len() - items.len());
        let response = GetTagFeedResponse { items, omitted_count, ..GetTagFeedResponse::default() };
        Ok((response, next.map(|place| place.clustering().into())))
    }
}

/// Whether the post carries the tag now, and is of that time: a row under another one is none of the post's.
fn carries(entry: &Entry, tag: &str, hydrated: &Hydrated) -> bool {
    let post = hydrated.cards.get(&entry.post_id).and_then(|card| card.post.as_ref());
    post.is_some_and(|post| post.create_time.0 == entry.place.at_us && post.has_tag(tag))
}

/// Up to `size` posts that carried the tag, newest first, from behind a place; and the place that the next page starts
/// behind, if there is more. Only weeks in which the tag has posts are read.
async fn entries(
    state: &State,
    tag: &str,
    from: Option<&Place>,
    size: usize,
) -> Result<(Vec<Entry>, Option<Place>), StoreError> {
    // One more than asked for tells whether there is a next page. No week is without posts: as many weeks are enough.
    let limit = size + 1;
    let weeks = weeks(state, tag, from, limit).await?;
    let mut entries: Vec<Entry> = Vec::new();
    for some in weeks.chunks(WEEKS_IN_FLIGHT) {
        let slices = some.iter().map(|week| slice(state, tag, *week, from, limit));
        entries.extend(try_join_all(slices).await?.into_iter().flatten());
        if entries.len() > size {
            entries.truncate(size);
            let last = entries.last().map(|last| last.place.clone());
            return Ok((entries, last));
        }
    }
    // Where a week had nothing behind `from`, or its posts are not there yet, older weeks may be left.
    let oldest = weeks.last().filter(|_| weeks.len() == limit);
    Ok((entries, oldest.map(|week| Place::before(start_of(*week)))))
}

/// The weeks in which the tag has posts, newest first, from that of a place.
async fn weeks(state: &State, tag: &str, from: Option<&Place>, limit: usize) -> Result<Vec<i64>, StoreError> {
    let behind = |place: &Place| vec![Timestamp(start_of(week_of(place.at_us)).saturating_add(1)).into()];
    let range = RowRange { after: from.map(behind), ..RowRange::all::<WeekRow>() };
    let found: Vec<Found<WeekRow>> = state.slice(&TAG_FEED, &key(tag, 0), range, limit).await?;
    found.iter().map(|week| Ok(week_of(place(&week.clustering)?.at_us))).collect()
}

/// Up to `limit` posts of one week, newest first, from behind a place.
async fn slice(
    state: &State,
    tag: &str,
    week: i64,
    from: Option<&Place>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let range = RowRange { after: from.map(|place| place.clustering().into()), ..RowRange::all::<PostRow>() };
    let found: Vec<Found<PostRow>> = state.slice(&TAG_FEED, &key(tag, week), range, limit).await?;
    found.into_iter().map(|found| Ok(entry(place(&found.clustering)?, found.row.author_id))).collect()
}

fn place(clustering: &[Value]) -> Result<Place, StoreError> {
    Place::of(clustering).ok_or_else(|| StoreError::Damaged("a row of a tag's feed has no place".to_owned()))
}

fn entry(place: Place, author_id: String) -> Entry {
    let post_id = place.item_id.clone();
    Entry { place, kind: Kind::Post, post_id, post_author_id: author_id.clone(), author_id, over: false }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId, topics};
    use kith_proto::feeds::v1::feed_service_server::FeedService;
    use kith_proto::identity::v1::{Blocked, identity_event};
    use kith_proto::posts::v1::{PostAttributes, PostCreated, PostDeleted, PostEdited};

    use super::*;
    use crate::tests::suite::{NOW_MS, Suite, as_caller, reason};

    const ADA: u8 = 0xa;
    const BOB: u8 = 0xb;
    const WEEK_MS: i64 = 7 * 24 * 3_600_000;

    fn hex(n: u8) -> String {
        RecordId([n; 16]).to_string()
    }

    fn with(tags: &[&str]) -> Option<PostAttributes> {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        Some(PostAttributes { tags, ..PostAttributes::default() })
    }

    /// Ada's post `n`, written so many weeks ago.
    fn created(n: u8, weeks_ago: i64, tags: &[&str]) -> Posts {
        let (post_id, author_id, attributes) = (hex(n), hex(ADA), with(tags));
        let create_time = Some(time::timestamp(NOW_MS - weeks_ago * WEEK_MS));
        Posts::PostCreated(PostCreated { post_id, author_id, attributes, create_time, ..PostCreated::default() })
    }

    /// Its edit from revision `edit`.
    fn edited(n: u8, weeks_ago: i64, edit: u32, tags: &[&str]) -> Posts {
        let (post_id, author_id, attributes) = (hex(n), hex(ADA), with(tags));
        let post_create_time = Some(time::timestamp(NOW_MS - weeks_ago * WEEK_MS));
        let (revision, intent_offset) = (edit + 1, edit.into());
        let edit_time = Some(time::timestamp(NOW_MS));
        let edited =
            PostEdited { post_id, author_id, attributes, post_create_time, edit_time, ..PostEdited::default() };
        Posts::PostEdited(PostEdited { revision, intent_offset, ..edited })
    }

    async fn fold(events: impl IntoIterator<Item = Posts>) -> Suite {
        let suite = Suite::start(10_000, 1).await;
        suite.store.rest();
        for (n, event) in (1..).zip(events) {
            suite.append(RecordId([n; 16]), event).await;
        }
        suite.settle().await;
        suite
    }

    /// All posts of a tag as Bob sees them, over pages, and how many were left out.
    async fn feed(suite: &Suite, tag: &str, page_size: i32) -> (Vec<String>, u32) {
        let (mut post_ids, mut omitted, mut page_token) = (Vec::new(), 0, String::new());
        loop {
            let ask = GetTagFeedRequest { tag: tag.to_owned(), page_size, page_token, at_least: Vec::new() };
            let page = suite.feeds().get_tag_feed(as_caller(RecordId([BOB; 16]), ask)).await.unwrap().into_inner();
            assert!(page.items.len() <= page_size as usize);
            post_ids.extend(page.items.into_iter().filter_map(|item| item.post).map(|post| post.post_id));
            omitted += page.omitted_count;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return (post_ids, omitted);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tag_has_its_posts_newest_first_over_many_weeks_and_pages() {
        // Two in one week, then gaps of up to a year; a post of another tag in between.
        let weeks_ago = [0, 0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 141, 142, 143];
        let posts =
            (1..).zip(weeks_ago).map(|(n, ago)| created(n, ago, if n == 4 { &["tea"] } else { &["go", "rain"] }));
        // The log has the oldest first in one partition, the newest first in another.
        let suite = fold(posts.collect::<Vec<_>>().into_iter().rev()).await;
        let mut expected: Vec<String> = (1..=15).filter(|n| *n != 4).map(hex).collect();
        // Of one moment the greater id is the newer.
        expected.swap(0, 1);
        for page_size in [1, 2, 3, 13, 14, 15, 100] {
            assert_eq!(feed(&suite, "rain", page_size).await, (expected.clone(), 0), "pages of {page_size}");
        }
        assert_eq!(feed(&suite, "RAIN", 5).await.0, expected, "it is normalised");
        assert_eq!(feed(&suite, "tea", 5).await, (vec![hex(4)], 0));
        assert_eq!(feed(&suite, "snow", 5).await, (Vec::new(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_takes_a_post_out_and_puts_it_in_at_its_own_time() {
        let before = [created(1, 3, &["rain"]), created(2, 2, &["rain"]), created(3, 1, &["tea"])];
        let edits = [edited(2, 2, 1, &["tea"]), edited(1, 3, 1, &["rain", "tea"])];
        let mut suite = fold(before.into_iter().chain(edits)).await;
        let digest = suite.digest().await;
        for _ in 0..2 {
            assert_eq!(feed(&suite, "rain", 1).await, (vec![hex(1)], 1));
            assert_eq!(feed(&suite, "tea", 9).await, ([3, 2, 1].map(hex).to_vec(), 0));
            suite.rebuild().await;
            suite.settle().await;
        }
        assert_eq!(suite.digest().await, digest);
        suite.append(RecordId([99; 16]), edited(2, 2, 2, &["rain"])).await;
        suite.settle().await;
        assert_eq!(feed(&suite, "rain", 9).await, ([2, 1].map(hex).to_vec(), 0));
        assert_eq!(feed(&suite, "tea", 9).await, ([3, 1].map(hex).to_vec(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_or_blocked_is_left_out_and_counted() {
        let deleted = PostDeleted { post_id: hex(1), author_id: hex(ADA), ..PostDeleted::default() };
        let posts = [created(1, 1, &["rain"]), created(2, 2, &["rain"])];
        let suite = fold(posts.into_iter().chain([Posts::PostDeleted(deleted)])).await;
        assert_eq!(feed(&suite, "rain", 9).await, (vec![hex(2)], 1));
        let blocked = Blocked { actor_id: hex(ADA), target_id: hex(BOB), create_time: None };
        suite.append(RecordId([99; 16]), identity_event::Event::Blocked(blocked)).await;
        suite.settle().await;
        assert_eq!(feed(&suite, "rain", 9).await, (Vec::new(), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_is_there_once_whatever_times_its_records_state() {
        let suite = fold([created(1, 1, &["rain"]), created(1, 9, &["rain"]), edited(1, 5, 1, &["rain"])]).await;
        assert_eq!(feed(&suite, "rain", 9).await, (vec![hex(1)], 2));
        let ask = GetTagFeedRequest { tag: "#rain".to_owned(), ..GetTagFeedRequest::default() };
        let refused = suite.feeds().get_tag_feed(as_caller(RecordId([BOB; 16]), ask)).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }

    #[test]
    fn what_no_post_of_ours_has_makes_no_rows() {
        let partition = LogPartition { topic: topics::POSTS, index: 0 };
        let position = Position { partition, offset: 7 };
        let made_by = |event: Posts| rows(&Record::new(position, RecordId([1; 16]), event)).len();
        let made = |tags: &[&str]| made_by(created(1, 0, tags));
        let longest = "𐐀".repeat(limits::HASHTAG_CHARS_MAX);
        assert_eq!(made(&[&longest, "rain"]), 4);
        assert_eq!(made(&["", &format!("{longest}a")]), 0);
        let by_nobody = PostEdited { post_id: hex(1), attributes: with(&["rain"]), ..PostEdited::default() };
        assert_eq!(made_by(Posts::PostEdited(by_nobody)), 0);
    }
}
