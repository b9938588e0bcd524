//! What one account is to another, as identity keeps it: follows it or asks to, blocks it, has removed it from its followers or
//! answered it. Pure: the row, and what a record makes of it by the rules of [`kith_relations::edge`].

use kith_fold::{AppliedIds, Record, Rows};
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{FollowRequestAnswered, FollowRequested, Followed, SuggestionDismissed};
use kith_relations::edge::{Change, Edge, Turn, cuts};
use kith_relations::{are_ids, signed};
use kith_tables::{Timestamp, Value, row};

row! {
    /// What an actor is to a target. Every record that changes it has the actor's key, so it has one source wherever it
    /// is kept.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EdgeRow in 0 {
        pub following: bool,
        /// Since when the follow stands; 0 without one, as all that is said of a follow but its place in lists.
        pub follow_time: Timestamp,
        /// When the actor first followed the target: the follow's place in lists, whatever became of it since.
        pub first_follow_time: Timestamp,
        pub shows_shares: bool,
        pub notify: bool,
        pub backfill_window_seconds: i64,
        /// How much of the target's partition the decision of the follow, or of the request, had seen.
        pub seen_target_offset: i64,
        /// Offset of the `Followed` that the follow stands by.
        pub follow_position: i64,
        /// Whether the actor asks to follow, and does not; with settings as a follow has them.
        pub requested: bool,
        /// Since when, and the offset of the `FollowRequested` by which that began.
        pub request_time: Timestamp,
        pub request_position: i64,
        /// Offset of the last `FollowRequested`.
        pub asked_position: i64,
        /// As in [`Edge`].
        pub ended_next: i64,
        pub blocking: bool,
        /// Since when the block stands, or the last one stood.
        pub block_time: Timestamp,
        /// One more than the offset of the last record that cuts the target's follow, a block, standing or not, or a removal; 0:
        /// there never was one.
        pub cut_next: i64,
        /// When that was.
        pub cut_time: Timestamp,
        /// One more than the offset of the actor's last answer to the target, which asked to follow it; 0: there never was one.
        pub answer_next: i64,
        /// When that was, and whether it was a yes.
        pub answer_time: Timestamp,
        pub accepts: bool,
        /// Whether the target is not to be suggested to the actor, who declined it and has not followed it since.
        pub dismissed: bool,
        pub applied: AppliedIds,
    }
}
row! {
    /// The place of two accounts in a list of follows, under the time of the first: one place, so that whoever follows again and
    /// again is listed once, and fills nobody's list with what is over.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowedRow in 1 { pub following: bool, pub follow_time: Timestamp }
}
row! {
    /// A place in a list of requests to follow, under the time at which the request began: whether it still stands since then.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct RequestedRow in 2 { pub requested: bool }
}
row! {
    /// A place in an account's own list of blocks, under the time at which the block began: whether it still stands since then.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct BlockedRow in 3 { pub blocking: bool }
}

/// Where the row of the other account is: under time 0, where lists, which are by time, have none of theirs.
pub fn of_other(account_id: &str) -> [Value; 2] {
    [Timestamp::default().into(), account_id.into()]
}

impl EdgeRow {
    /// The offset of the last block, standing or not, or removal.
    pub fn last_cut_offset(&self) -> Option<u64> {
        u64::try_from(self.cut_next).ok()?.checked_sub(1)
    }

    /// The offset of the last answer.
    pub fn last_answer_offset(&self) -> Option<u64> {
        u64::try_from(self.answer_next).ok()?.checked_sub(1)
    }

    /// Whether the follow, or the request, here cannot last, because the target, which is `theirs` to the actor, had blocked or removed
    /// it unseen.
    pub fn is_cut_by(&self, theirs: &Self) -> bool {
        (self.following || self.requested)
            && theirs.last_cut_offset().is_some_and(|offset| cuts(offset, self.seen_target_offset))
    }

    /// Whether the request here is answered by the target, which is `theirs` to the actor: it is about to become a follow, or nothing.
    pub fn is_answered_by(&self, theirs: &Self) -> bool {
        self.requested && theirs.last_answer_offset().is_some_and(|offset| cuts(offset, self.seen_target_offset))
    }

    /// Offset of the record by which the follow, or the request, stands.
    pub fn begun_at(&self) -> i64 {
        if self.requested { self.asked_position } else { self.follow_position }
    }

    /// Whether the actor follows the target, which is `theirs` to it.
    pub fn follows(&self, theirs: &Self) -> bool {
        self.following && !self.is_cut_by(theirs)
    }

    /// Whether the actor's request to follow the target, which is `theirs` to it, waits for an answer.
    pub fn waits(&self, theirs: &Self) -> bool {
        self.requested && !self.is_cut_by(theirs) && !self.is_answered_by(theirs)
    }

    /// The latest time that it carries.
    pub fn newest(&self) -> Timestamp {
        self.follow_time.max(self.block_time).max(self.cut_time).max(self.request_time).max(self.answer_time)
    }

    /// What a record about this actor and target makes of it.
    pub fn evolve(&mut self, change: &Change<'_>, record: &Record) {
        let Self { blocking, seen_target_offset, .. } = *self;
        let (ended_next, applied) = (&mut self.ended_next, &mut self.applied);
        match change.turn(Edge { blocking, seen_target_offset, ended_next, applied }) {
            Turn::Stays => {}
            Turn::Follows(followed) => self.follow(followed, record),
            Turn::EndsFollow => self.end_follow(),
            Turn::Blocks => self.block(record),
            Turn::Unblocks => self.blocking = false,
            Turn::Removes => self.cut(record),
            Turn::Requests(requested) => self.request(requested, record),
            Turn::Answers(answered) => self.answer(answered, record),
            Turn::EndsRequest if self.requested => self.end_follow(),
            Turn::EndsRequest => {}
        }
    }

    /// What a record makes of it by which the actor declines the target. A late copy changes nothing.
    pub fn dismiss(&mut self, record: &Record) {
        self.dismissed |= self.applied.insert(record.id);
    }

    /// A follow that stands keeps its beginning when its settings change.
    fn follow(&mut self, followed: &Followed, record: &Record) {
        if self.first_follow_time == Timestamp::default() {
            self.first_follow_time = record.time;
        }
        if self.requested {
            self.end_follow();
        }
        if !self.following {
            self.follow_time = record.time;
            self.backfill_window_seconds = i64::from(followed.backfill_window_seconds);
        }
        self.following = true;
        self.dismissed = false;
        self.shows_shares = followed.shows_shares;
        self.notify = followed.notify;
        self.seen_target_offset = signed(followed.seen_target_offset);
        self.follow_position = signed(record.position.offset);
    }

    /// A request that stands keeps its beginning when its settings change. Who asks knows that a follow that is there still is over.
    fn request(&mut self, requested: &FollowRequested, record: &Record) {
        if self.following {
            self.end_follow();
        }
        if !self.requested {
            self.request_time = record.time;
            self.request_position = signed(record.position.offset);
        }
        self.requested = true;
        self.asked_position = signed(record.position.offset);
        self.shows_shares = requested.shows_shares;
        self.notify = requested.notify;
        self.backfill_window_seconds = i64::from(requested.backfill_window_seconds);
        self.seen_target_offset = signed(requested.seen_target_offset);
    }

    fn answer(&mut self, answered: &FollowRequestAnswered, record: &Record) {
        self.answer_next = signed(record.position.offset.saturating_add(1));
        self.answer_time = record.time;
        self.accepts = answered.accepted;
    }

    fn block(&mut self, record: &Record) {
        self.end_follow();
        if !self.blocking {
            self.block_time = record.time;
        }
        self.blocking = true;
        self.cut(record);
    }

    fn cut(&mut self, record: &Record) {
        self.cut_next = signed(record.position.offset.saturating_add(1));
        self.cut_time = record.time;
    }

    /// And the request.
    fn end_follow(&mut self) {
        *self = Self {
            blocking: self.blocking,
            block_time: self.block_time,
            first_follow_time: self.first_follow_time,
            ended_next: self.ended_next,
            cut_next: self.cut_next,
            cut_time: self.cut_time,
            answer_next: self.answer_next,
            answer_time: self.answer_time,
            accepts: self.accepts,
            dismissed: self.dismissed,
            applied: std::mem::take(&mut self.applied),
            ..Self::default()
        };
    }
}

/// Who declines whom, if the record is about a suggestion. What it names otherwise than by ids can be in no key.
pub fn declines(record: &Record) -> Option<(&str, &str)> {
    match &record.event {
        Event::Identity(Identity::SuggestionDismissed(SuggestionDismissed { account_id, target_id, .. })) => {
            (are_ids(&[account_id, target_id]) && account_id != target_id).then_some((account_id, target_id))
        }
        _ => None,
    }
}

/// Keeps the place of a follow in the list as the row that changed says.
pub fn relist_follow(rows: &mut Rows, (before, after): (&EdgeRow, &EdgeRow), account_id: &str) {
    let standing = |row: &EdgeRow| FollowedRow { following: row.following, follow_time: row.follow_time };
    if standing(before) != standing(after) {
        rows.put([after.first_follow_time.into(), account_id.into()], standing(after));
    }
}

/// Keeps a list of requests as the row that changed says: the place of one that is over, and that of one that began.
pub fn relist_request(rows: &mut Rows, (before, after): (&EdgeRow, &EdgeRow), account_id: &str) {
    let place = |row: &EdgeRow| [row.request_time.into(), account_id.into()];
    let moved = (before.requested, before.request_time) != (after.requested, after.request_time);
    if before.requested && moved {
        rows.put(place(before), RequestedRow { requested: false });
    }
    if after.requested && moved {
        rows.put(place(after), RequestedRow { requested: true });
    }
}

/// Keeps the list of blocks as the row that changed says: the place of a block that is over, and that of one that began.
pub fn relist_block(rows: &mut Rows, (before, after): (&EdgeRow, &EdgeRow), account_id: &str) {
    let place = |row: &EdgeRow| [row.block_time.into(), account_id.into()];
    let moved = (before.blocking, before.block_time) != (after.blocking, after.block_time);
    if before.blocking && moved {
        rows.put(place(before), BlockedRow { blocking: false });
    }
    if after.blocking && moved {
        rows.put(place(after), BlockedRow { blocking: true });
    }
}

/// `count`, when what it counts was there `before` and is there `after`.
pub fn recount(count: i64, before: bool, after: bool) -> i64 {
    count + i64::from(after) - i64::from(before)
}

#[cfg(test)]
#[path = "tests/edge.rs"]
mod tests;
