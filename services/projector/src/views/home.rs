//! What was pushed to a reader: `home`, by reader and week. Spread to from both sides of the join, never evolved.

use kith_fold::{Effect, Found, State};
use kith_tables::{Column, Key, Order, RowRange, Section, StoreError, Table, row};

use crate::entry::{Entry, Kind, Place};

const WEEK_US: i64 = 7 * 24 * 3_600 * 1_000_000;

pub static HOME: Table = Table {
    name: "home",
    partition: &[Column::text("reader_id"), Column::bigint("week")],
    clustering: &[Column::timestamp("at"), Column::text("item_id")],
    order: Order::Descending,
    sections: &[Section::of::<HomeRow>("entry")],
    summary: &[],
};

row! {
    /// Only what the record that made the entry fixes, at that record's position, so that both sides write the same row.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct HomeRow in 0 {
        pub kind: Kind,
        pub post_id: String,
        /// The author of the feed that it comes from: the post's, or who shared it.
        pub author_id: String,
        pub post_author_id: String,
    }
}

/// Puts an entry before a reader. `created_at` is the offset of the record that made the post, or the share.
pub(super) fn put(reader: &str, entry: &Entry, created_at: u64) -> Effect {
    let row = HomeRow {
        kind: entry.kind,
        post_id: entry.post_id.clone(),
        author_id: entry.author_id.clone(),
        post_author_id: entry.post_author_id.clone(),
    };
    Effect::put(&HOME, key(reader, week_of(entry.place.at_us)), entry.place.clustering(), row, created_at)
}

/// Which week a time is in, counted from 1970-01-01.
pub fn week_of(at_us: i64) -> i64 {
    at_us.div_euclid(WEEK_US)
}

/// The first moment of a week, microseconds since 1970.
pub fn start_of(week: i64) -> i64 {
    week.saturating_mul(WEEK_US)
}

/// Up to `limit` entries of one week, newest first, from behind a place.
pub async fn slice(
    state: &State,
    reader: &str,
    week: i64,
    behind: &Place,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let range = RowRange { after: Some(behind.clustering().into()), ..RowRange::all::<HomeRow>() };
    let found: Vec<Found<HomeRow>> = state.slice(&HOME, &key(reader, week), range, limit).await?;
    found.into_iter().map(entry).collect()
}

fn entry(found: Found<HomeRow>) -> Result<Entry, StoreError> {
    let place =
        Place::of(&found.clustering).ok_or_else(|| StoreError::Damaged("a home row has no place".to_owned()))?;
    let HomeRow { kind, post_id, author_id, post_author_id } = found.row;
    Ok(Entry { place, kind, post_id, author_id, post_author_id, over: false })
}

fn key(reader: &str, week: i64) -> Key {
    Key(vec![reader.into(), week.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_follow_each_other_without_gap_also_before_1970() {
        for week in [-3_000, -1, 0, 1, 2_800] {
            assert_eq!(week_of(start_of(week)), week);
            assert_eq!(week_of(start_of(week + 1) - 1), week);
        }
    }
}
