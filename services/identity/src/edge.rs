//! What one account is to another: follows it, blocks it. Pure: the state, its rules, and what an event makes of it.

use kith_fold::{AppliedIds, Record};
use kith_log::{RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::v1::Followed;
use kith_proto::identity::v1::identity_event::Event as Identity;
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

/// The rule that settles a race of a follow with a block of the one followed: the follow is cut if and only if its
/// decision had not seen the block. Both sides of the process manager ask it, and so does what applies the cut.
pub fn cuts(block_offset: u64, seen_target_offset: u64) -> bool {
    seen_target_offset <= block_offset
}

impl EdgeRow {
    /// The offset of the last block, standing or not.
    pub fn last_block_offset(&self) -> Option<u64> {
        u64::try_from(self.block_next).ok()?.checked_sub(1)
    }

    /// Whether the follow here cannot last, because the target, which is `theirs` to the actor, had blocked it unseen.
    pub fn is_cut_by(&self, theirs: &Self) -> bool {
        let seen = u64::try_from(self.seen_target_offset).unwrap_or(0);
        self.following && theirs.last_block_offset().is_some_and(|offset| cuts(offset, seen))
    }

    /// What an event of this actor and target, recorded under `id` at `offset`, dated `at`, makes of it. A late copy of a command
    /// changes nothing.
    pub fn evolve(&mut self, event: &Identity, id: RecordId, offset: u64, at: Timestamp) {
        match event {
            Identity::AccountCreated(_) => {}
            // Needs no memory of its id: the rule says again what it said before.
            Identity::FollowCut(cut) => {
                if cuts(cut.block_offset, u64::try_from(self.seen_target_offset).unwrap_or(0)) {
                    self.end_follow();
                }
            }
            _ if !self.applied.insert(id) => {}
            // One's own block, ordered before it, stands against it.
            Identity::Followed(_) if self.blocking => {}
            Identity::Followed(followed) => self.follow(followed, offset, at),
            Identity::Unfollowed(_) => self.end_follow(),
            Identity::Blocked(_) => {
                self.end_follow();
                if !self.blocking {
                    self.block_time = at;
                }
                self.blocking = true;
                self.block_next = signed(offset.saturating_add(1));
            }
            Identity::Unblocked(_) => self.blocking = false,
        }
    }

    /// A follow that stands keeps its beginning when its settings change.
    fn follow(&mut self, followed: &Followed, offset: u64, at: Timestamp) {
        if !self.following {
            self.follow_time = at;
            self.backfill_window_seconds = i64::from(followed.backfill_window_seconds);
        }
        self.following = true;
        self.shows_shares = followed.shows_shares;
        self.notify = followed.notify;
        self.seen_target_offset = signed(followed.seen_target_offset);
        self.follow_position = signed(offset);
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

/// A record about an actor and a target, with both. Records that name no two accounts say nothing.
pub fn ends(record: &Record) -> Option<(&Identity, &str, &str)> {
    let Event::Identity(event) = &record.event else { return None };
    let (actor, target) = match event {
        Identity::AccountCreated(_) => return None,
        Identity::Followed(event) => (&event.follower_id, &event.target_id),
        Identity::Unfollowed(event) => (&event.follower_id, &event.target_id),
        Identity::FollowCut(event) => (&event.follower_id, &event.target_id),
        Identity::Blocked(event) => (&event.actor_id, &event.target_id),
        Identity::Unblocked(event) => (&event.actor_id, &event.target_id),
    };
    let named = RecordId::parse(actor).is_some() && RecordId::parse(target).is_some() && actor != target;
    (named && record.position.partition.topic == topics::IDENTITY).then_some((event, actor, target))
}

/// `count`, when what it counts was there `before` and is there `after`.
pub fn recount(count: i64, before: bool, after: bool) -> i64 {
    count + i64::from(after) - i64::from(before)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tests/edge.rs"]
mod tests;
