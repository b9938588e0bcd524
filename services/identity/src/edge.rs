//! What one account is to another, as identity keeps it: follows it, blocks it. Pure: the row, and what a record makes
//! of it by the rules of [`kith_relations::edge`].

use kith_fold::{AppliedIds, Record};
use kith_proto::identity::v1::Followed;
use kith_relations::edge::{Change, Edge, Turn, cuts};
use kith_relations::signed;
use kith_tables::{Timestamp, row};

row! {
    /// What an actor is to a target. Every record that changes it has the actor's key, so it has one source wherever it
    /// is kept.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EdgeRow in 0 {
        pub following: bool,
        /// Since when the follow stands; 0 without one, as all that is said of a follow.
        pub follow_time: Timestamp,
        pub shows_shares: bool,
        pub notify: bool,
        pub backfill_window_seconds: i64,
        /// How much of the target's partition the follow's decision had seen.
        pub seen_target_offset: i64,
        /// Offset of the `Followed` that the follow stands by.
        pub follow_position: i64,
        pub blocking: bool,
        /// Since when the block stands, or the last one stood.
        pub block_time: Timestamp,
        /// One more than the offset of the last `Blocked`, standing or not; 0: never.
        pub block_next: i64,
        pub applied: AppliedIds,
    }
}

impl EdgeRow {
    /// The offset of the last block, standing or not.
    pub fn last_block_offset(&self) -> Option<u64> {
        u64::try_from(self.block_next).ok()?.checked_sub(1)
    }

    /// Whether the follow here cannot last, because the target, which is `theirs` to the actor, had blocked it unseen.
    pub fn is_cut_by(&self, theirs: &Self) -> bool {
        self.following && theirs.last_block_offset().is_some_and(|offset| cuts(offset, self.seen_target_offset))
    }

    /// The latest time that it carries.
    pub fn newest(&self) -> Timestamp {
        self.follow_time.max(self.block_time)
    }

    /// What a record about this actor and target makes of it.
    pub fn evolve(&mut self, change: &Change<'_>, record: &Record) {
        let edge =
            Edge { blocking: self.blocking, seen_target_offset: self.seen_target_offset, applied: &mut self.applied };
        match change.turn(edge, record.id) {
            Turn::Stays => {}
            Turn::Follows(followed) => self.follow(followed, record),
            Turn::EndsFollow => self.end_follow(),
            Turn::Blocks => self.block(record),
            Turn::Unblocks => self.blocking = false,
        }
    }

    /// A follow that stands keeps its beginning when its settings change.
    fn follow(&mut self, followed: &Followed, record: &Record) {
        if !self.following {
            self.follow_time = record.time;
            self.backfill_window_seconds = i64::from(followed.backfill_window_seconds);
        }
        self.following = true;
        self.shows_shares = followed.shows_shares;
        self.notify = followed.notify;
        self.seen_target_offset = signed(followed.seen_target_offset);
        self.follow_position = signed(record.position.offset);
    }

    fn block(&mut self, record: &Record) {
        self.end_follow();
        if !self.blocking {
            self.block_time = record.time;
        }
        self.blocking = true;
        self.block_next = signed(record.position.offset.saturating_add(1));
    }

    fn end_follow(&mut self) {
        *self = Self {
            blocking: self.blocking,
            block_time: self.block_time,
            block_next: self.block_next,
            applied: std::mem::take(&mut self.applied),
            ..Self::default()
        };
    }
}

/// `count`, when what it counts was there `before` and is there `after`.
pub fn recount(count: i64, before: bool, after: bool) -> i64 {
    count + i64::from(after) - i64::from(before)
}

#[cfg(test)]
#[path = "tests/edge.rs"]
mod tests;
