//! Whom an account follows: `follows`, and the state of one follow, which `followers` keeps for the other side.

use std::collections::{BTreeMap, BTreeSet};

use kith_fold::{AppliedIds, Fold, Record, Rows, Scope, State};
use kith_log::topics;
use kith_proto::identity::v1::Followed;
use kith_relations::edge::{Change, Edge, Turn};
use kith_relations::mute;
use kith_relations::sight::Sights;
use kith_tables::{Column, Key, MAX_GET_ROWS, Order, RowType, Section, StoreError, Table, Timestamp, row};

use super::signed;

pub static FOLLOWS: Table = Table {
    name: "follows",
    partition: &[Column::text("follower_id")],
    clustering: &[Column::text("target_id")],
    order: Order::Ascending,
    sections: &[Section::of::<FollowRow>("follow")],
    summary: FollowsSummary::COLUMNS,
};

row! {
    /// One follow as it stands, by the rules of identity, whose facts these are. A row is also there for a block that
    /// ended nothing.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowRow in 0 {
        pub following: bool,
        /// Since when, without a break; another `Followed` while it stands changes only the settings.
        pub follow_time: Timestamp,
        /// How far back before that posts belong in the feed.
        pub backfill_window_seconds: i64,
        pub shows_shares: bool,
        /// How many records of the target's log partition the decision had seen.
        pub seen_target_offset: i64,
        /// As in [`Edge`].
        pub ended_next: i64,
        /// Offset of the last `Followed`.
        pub follow_position: i64,
        /// Whether the follower blocks the target: a `Followed` behind the block, which had not seen it, begins nothing.
        pub blocking: bool,
        pub applied: AppliedIds,
    }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowsSummary in 0 {
        pub following_count: i64,
        pub has_followed: bool,
        /// Whether the reader ever muted anybody: a page of whoever never did asks for no mutes.
        pub has_muted: bool,
        /// No follow ever reached further back: where the reader's home feed ends.
        pub earliest: Timestamp,
    }
}

impl FollowRow {
    /// Whether there ever was a follow: a row that only a block made has none.
    pub fn has_been(&self) -> bool {
        // Any one of them may be 0: the first record of a log partition, an event without a time.
        self.following || self.follow_position != 0 || self.follow_time != Timestamp::default()
    }

    /// Posts older than this, microseconds since 1970, are not of this follow.
    pub fn since_us(&self) -> i64 {
        self.follow_time.0.saturating_sub(self.backfill_window_seconds.saturating_mul(1_000_000))
    }

    /// The row after the record; a late copy of a command changes nothing.
    pub(super) fn evolve(&mut self, change: &Change<'_>, record: &Record) {
        let Self { blocking, seen_target_offset, .. } = *self;
        let (ended_next, applied) = (&mut self.ended_next, &mut self.applied);
        match change.turn(Edge { blocking, seen_target_offset, ended_next, applied }) {
            // Of whoever is removed, or answered, the other side is told by a record of its own.
            Turn::Stays | Turn::Removes | Turn::Answers(_) | Turn::EndsRequest => {}
            Turn::Requests(event) => {
                self.following = false;
                self.seen_target_offset = signed(event.seen_target_offset);
            }
            Turn::Follows(event) => self.follow(event, record),
            Turn::EndsFollow => self.following = false,
            Turn::Blocks => {
                self.following = false;
                self.blocking = true;
            }
            Turn::Unblocks => self.blocking = false,
        }
    }

    fn follow(&mut self, event: &Followed, record: &Record) {
        if !self.following {
            self.following = true;
            self.follow_time = record.time;
            self.backfill_window_seconds = event.backfill_window_seconds.into();
        }
        self.shows_shares = event.shows_shares;
        self.seen_target_offset = signed(event.seen_target_offset);
        self.follow_position = signed(record.position.offset);
    }
}

/// The sights, with those of these private accounts veiled that the viewer does not follow: one read, if there are any.
pub async fn veiled(
    state: &State,
    viewer: &str,
    sights: Sights,
    mut private: BTreeSet<String>,
) -> Result<Sights, StoreError> {
    private.remove(viewer);
    if private.is_empty() {
        return Ok(sights);
    }
    if !viewer.is_empty() {
        let clusterings = private.iter().map(|account| vec![account.as_str().into()]);
        let rows = state.rows::<FollowRow>(&FOLLOWS, &Key::text(viewer), clusterings).await?;
        let mut follows = rows.iter().map(|row| row.as_ref().is_some_and(|found| found.row.following));
        private.retain(|_| !follows.next().unwrap_or_default());
    }
    Ok(sights.veiled(|account| private.contains(account)))
}

/// Folds follows by who follows.
pub struct Follows;

impl Fold for Follows {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&FOLLOWS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        if let Some(mute) = mute::Change::of(record) {
            return Some(Scope::new(&FOLLOWS, Key::text(mute.actor)));
        }
        let change = Change::of(record)?;
        Some(Scope::new(&FOLLOWS, Key::text(change.actor)).with::<FollowRow>([change.target.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if mute::Change::of(record).is_some() {
            let summary: FollowsSummary = rows.summary();
            return rows.set_summary(FollowsSummary { has_muted: true, ..summary });
        }
        let Some(change) = Change::of(record) else { return };
        let before = rows.get::<FollowRow>([change.target.into()]).unwrap_or_default();
        let mut row = before.clone();
        row.evolve(&change, record);
        if row.following != before.following {
            rows.set_summary(rows.summary::<FollowsSummary>().after(&row));
        }
        rows.put([change.target.into()], row);
    }
}

impl FollowsSummary {
    /// After a follow began, or ended.
    fn after(mut self, row: &FollowRow) -> Self {
        if !row.following {
            return Self { following_count: self.following_count - 1, ..self };
        }
        let since = Timestamp(row.since_us());
        self.earliest = if self.has_followed { self.earliest.min(since) } else { since };
        Self { following_count: self.following_count + 1, has_followed: true, ..self }
    }
}

/// What is known of a reader before a page of its home feed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The time before which nothing is in the feed, microseconds since 1970.
    pub earliest_us: i64,
    pub has_muted: bool,
}

/// How far the reader's home feed reaches; `None`: nothing ever is in it.
pub async fn reach(state: &State, reader: &str) -> Result<Option<Reach>, StoreError> {
    let owner = (topics::IDENTITY, reader);
    let summary = state.summary::<FollowsSummary>(&FOLLOWS, &Key::text(reader), owner).await?;
    let summary = summary.map(|found| found.row).filter(|summary| summary.has_followed);
    Ok(summary.map(|summary| Reach { earliest_us: summary.earliest.0, has_muted: summary.has_muted }))
}

/// The follows of these targets by the reader that stand now, by target.
pub async fn standing(
    state: &State,
    reader: &str,
    targets: &[&str],
) -> Result<BTreeMap<String, FollowRow>, StoreError> {
    let key = Key::text(reader);
    let mut standing = BTreeMap::new();
    for some in targets.chunks(MAX_GET_ROWS) {
        let rows = state.rows::<FollowRow>(&FOLLOWS, &key, some.iter().map(|&target| vec![target.into()])).await?;
        let found = some.iter().zip(rows).filter_map(|(&target, row)| Some((target.to_owned(), row?.row)));
        standing.extend(found.filter(|(_, row)| row.following));
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId};
    use kith_proto::identity::v1::identity_event::Event as Identity;
    use kith_proto::identity::v1::{Blocked, FollowCut, Unblocked, Unfollowed};
    use kith_proto::time;

    use super::*;

    const ADA: &str = "000000000000000000000000000000aa";
    const BOB: &str = "000000000000000000000000000000bb";

    fn record(offset: u64, event: Identity) -> Record {
        let partition = LogPartition { topic: topics::IDENTITY, index: 0 };
        let id = RecordId([u8::try_from(offset).unwrap(); 16]);
        Record::new(Position { partition, offset }, id, event)
    }

    fn followed(seconds: i64, seen_target_offset: u64) -> Identity {
        Identity::Followed(Followed {
            follower_id: ADA.into(),
            target_id: BOB.into(),
            shows_shares: seconds % 2 == 0,
            create_time: Some(time::of_us(seconds * 1_000_000)),
            seen_target_offset,
            backfill_window_seconds: 10,
            ..Followed::default()
        })
    }

    fn cut(block_offset: u64) -> Identity {
        let (follower_id, target_id) = (ADA.into(), BOB.into());
        Identity::FollowCut(FollowCut { follower_id, target_id, block_offset, create_time: None })
    }

    fn unfollowed() -> Identity {
        Identity::Unfollowed(Unfollowed { follower_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn blocked() -> Identity {
        Identity::Blocked(Blocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn unblocked() -> Identity {
        Identity::Unblocked(Unblocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn after(records: &[Record]) -> FollowRow {
        let mut row = FollowRow::default();
        for record in records {
            row.evolve(&Change::of(record).unwrap(), record);
        }
        row
    }

    #[test]
    fn a_follow_reaches_back_by_its_window_and_keeps_it_while_it_stands() {
        let first = record(1, followed(100, 0));
        let settings = record(2, followed(201, 0));
        let row = after(&[first.clone(), settings.clone()]);
        assert_eq!(
            (row.following, row.since_us(), row.shows_shares, row.follow_position),
            (true, 90_000_000, false, 2)
        );
        let again = after(&[first, record(3, unfollowed()), settings]);
        assert_eq!((again.following, again.since_us()), (true, 191_000_000));
    }

    #[test]
    fn a_cut_ends_only_what_had_not_seen_the_block() {
        let follow = |seen| record(1, followed(100, seen));
        assert!(!after(&[follow(7), record(2, cut(7))]).following);
        assert!(after(&[follow(8), record(2, cut(7))]).following);
        assert!(!after(&[follow(8), record(2, blocked())]).following);
    }

    #[test]
    fn a_late_copy_of_any_record_changes_nothing() {
        let (end, follow) = (record(1, unfollowed()), record(2, followed(100, 0)));
        assert!(after(&[end.clone(), follow.clone(), end]).following);
        let (block, unblock) = (record(1, blocked()), record(3, unblocked()));
        assert!(after(&[block.clone(), unblock, follow.clone(), block]).following);
        for end in [unfollowed(), cut(9), blocked()] {
            let end = record(1, end);
            assert!(!after(&[follow.clone(), end.clone(), follow.clone()]).following);
            assert_eq!(after(&[follow.clone(), follow.clone()]), after(std::slice::from_ref(&follow)));
        }
    }

    #[test]
    fn a_follow_behind_ones_own_block_begins_nothing() {
        let (block, follow, unblock) = (record(1, blocked()), record(2, followed(100, 0)), record(3, unblocked()));
        assert!(!after(&[block.clone(), follow.clone(), unblock.clone()]).following);
        assert!(after(&[block, unblock, follow]).following);
    }

    #[test]
    fn an_event_without_ids_or_about_oneself_concerns_no_follow() {
        let hostile = |follower: &str, target: &str| {
            let (follower_id, target_id) = (follower.to_owned(), target.to_owned());
            record(1, Identity::Unfollowed(Unfollowed { follower_id, target_id, create_time: None }))
        };
        for record in [hostile("", BOB), hostile(ADA, ""), hostile(ADA, ADA), hostile("ada", BOB)] {
            assert!(Change::of(&record).is_none());
        }
    }

    #[test]
    fn the_summary_keeps_the_count_and_the_furthest_reach() {
        let row = |following, seconds: i64| FollowRow {
            following,
            follow_time: Timestamp(seconds * 1_000_000),
            ..FollowRow::default()
        };
        let summary = FollowsSummary::default().after(&row(true, 50)).after(&row(true, 20)).after(&row(true, 90));
        let summary = summary.after(&row(false, 20));
        assert_eq!((summary.following_count, summary.earliest), (2, Timestamp(20_000_000)));
    }
}
