//! Whom an account follows: `follows` (by who follows), from identity's facts. For groups that only ask whether one account
//! follows another.

use std::collections::BTreeSet;

use kith_fold::{AppliedIds, Fold, Record, Rows, Scope, State};
use kith_log::{LogPartition, Offset, topics};
use kith_tables::{Column, Key, Order, Section, StoreError, Table, row};

use crate::edge::{Change, Edge, Turn};
use crate::signed;

pub static FOLLOWS: Table = Table {
    name: "follows",
    partition: &[Column::text("follower_id")],
    clustering: &[Column::text("target_id")],
    order: Order::Ascending,
    sections: &[Section::of::<FollowRow>("follow")],
    summary: &[],
};

row! {
    /// Whether the follow stands. A row is also there for a block that ended nothing.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowRow in 0 {
        pub following: bool,
        /// How many records of the target's log partition the decision had seen.
        pub seen_target_offset: i64,
        /// As in [`Edge`].
        pub ended_next: i64,
        /// Whether the follower blocks the target.
        pub blocking: bool,
        pub applied: AppliedIds,
    }
}

/// Whether one account follows another, as of a place in the follower's log partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Following {
    pub stands: bool,
    /// The number of records in that partition that say so.
    pub seen_offset: Offset,
}

impl FollowRow {
    /// What the record makes of it; a late copy of a command changes nothing.
    fn evolve(&mut self, change: &Change<'_>) {
        let Self { blocking, seen_target_offset, .. } = *self;
        let (ended_next, applied) = (&mut self.ended_next, &mut self.applied);
        match change.turn(Edge { blocking, seen_target_offset, ended_next, applied }) {
            // Of whoever is removed, or answered, the other side is told by a record of its own.
            Turn::Stays | Turn::Removes | Turn::Answers(_) | Turn::EndsRequest => {}
            Turn::Requests(event) => {
                self.following = false;
                self.seen_target_offset = signed(event.seen_target_offset);
            }
            Turn::Follows(event) => {
                self.following = true;
                self.seen_target_offset = signed(event.seen_target_offset);
            }
            Turn::EndsFollow => self.following = false,
            Turn::Blocks => (self.following, self.blocking) = (false, true),
            Turn::Unblocks => self.blocking = false,
        }
    }
}

/// Folds follows by who follows.
pub struct Follows;

impl Fold for Follows {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&FOLLOWS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&FOLLOWS, Key::text(change.actor)).with::<FollowRow>([change.target.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let mut row = rows.get::<FollowRow>([change.target.into()]).unwrap_or_default();
        row.evolve(&change);
        rows.put([change.target.into()], row);
    }
}

/// Those of the accounts, at most 512, that `follower` follows: one read.
pub async fn among(state: &State, follower: &str, accounts: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
    let clusterings = accounts.iter().map(|account| vec![account.as_str().into()]);
    let rows = state.rows::<FollowRow>(&FOLLOWS, &Key::text(follower), clusterings).await?;
    let followed = accounts.iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(|found| found.row.following));
    Ok(followed.map(|(account, _)| account.clone()).collect())
}

/// Whether `follower` follows `target`. The watermark comes first: what is read after it includes at least that much, and all
/// that the partition says of the two up to their row's position is in the row.
pub async fn following(state: &State, follower: &str, target: &str) -> Result<Following, StoreError> {
    let partition = LogPartition::of_key(topics::IDENTITY, follower, state.partition_count());
    let watermark = state.watermarks().next_offset(partition);
    let found = state.row::<FollowRow>(&FOLLOWS, &Key::text(follower), [target.into()]).await?;
    let seen_offset = watermark.max(found.as_ref().map_or(0, |found| found.position + 1));
    Ok(Following { stands: found.is_some_and(|found| found.row.following), seen_offset })
}

#[cfg(test)]
mod tests {
    use kith_log::{Position, RecordId};
    use kith_proto::identity::v1::identity_event::Event as Identity;
    use kith_proto::identity::v1::{Blocked, FollowCut, Followed, Unblocked, Unfollowed};

    use super::*;

    const ADA: &str = "000000000000000000000000000000aa";
    const BOB: &str = "000000000000000000000000000000bb";

    fn record(offset: u64, event: Identity) -> Record {
        let partition = LogPartition { topic: topics::IDENTITY, index: 0 };
        Record::new(Position { partition, offset }, RecordId([u8::try_from(offset).unwrap(); 16]), event)
    }

    fn followed(seen_target_offset: u64) -> Identity {
        let (follower_id, target_id) = (ADA.into(), BOB.into());
        Identity::Followed(Followed { follower_id, target_id, seen_target_offset, ..Followed::default() })
    }

    fn unfollowed() -> Identity {
        Identity::Unfollowed(Unfollowed { follower_id: ADA.into(), target_id: BOB.into(), create_time: None })
    }

    fn cut(block_offset: u64) -> Identity {
        let (follower_id, target_id) = (ADA.into(), BOB.into());
        Identity::FollowCut(FollowCut { follower_id, target_id, block_offset, create_time: None })
    }

    fn following(records: &[Record]) -> bool {
        let mut row = FollowRow::default();
        records.iter().for_each(|record| row.evolve(&Change::of(record).unwrap()));
        row.following
    }

    #[test]
    fn a_follow_stands_until_something_ends_it_and_late_copies_bring_it_back_for_nobody() {
        let blocked = Identity::Blocked(Blocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None });
        let unblocked =
            Identity::Unblocked(Unblocked { actor_id: ADA.into(), target_id: BOB.into(), create_time: None });
        let follow = record(1, followed(4));
        assert!(following(std::slice::from_ref(&follow)));
        assert!(following(&[follow.clone(), record(2, cut(3))]), "it had seen the block");
        for end in [unfollowed(), cut(4), blocked.clone()] {
            assert!(!following(&[follow.clone(), record(2, end), follow.clone()]));
        }
        assert!(!following(&[record(2, blocked), follow, record(3, unblocked)]));
    }
}
