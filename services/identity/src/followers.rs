//! Who follows an account, by that account: the same edges, seen from the other end.
//!
//! All followers of an account are in one table partition, in which each has a row, and each follow that there ever was a place in
//! the list: it is not split, whatever their number (docs/limits.md says what that means).

use kith_fold::{Fold, Record, Rows, Scope};
use kith_relations::edge::Change;
use kith_tables::{Column, Key, Order, RowType, Section, Table, row};

use crate::edge::{EdgeRow, FollowedRow, RequestedRow, of_other, recount, relist_follow, relist_request};

/// Merged: each follower's row has the follower's log partition as its source.
pub static FOLLOWERS: Table = Table {
    name: "followers",
    partition: &[Column::text("target_id")],
    clustering: &[Column::timestamp("at"), Column::text("follower_id")],
    order: Order::Descending,
    sections: &[
        Section::of::<EdgeRow>("follower"),
        Section::of::<FollowedRow>("followed"),
        Section::of::<RequestedRow>("requested"),
    ],
    summary: FollowersSummary::COLUMNS,
};

row! {
    /// How many followers an account has among the accounts of one log partition.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowersSummary in 0 { pub follower_count: i64 }
}

/// Folds edges by target.
pub struct Followers;

impl Fold for Followers {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&FOLLOWERS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&FOLLOWERS, Key::text(change.target)).with::<EdgeRow>(of_other(change.actor)))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let before = rows.get::<EdgeRow>(of_other(change.actor)).unwrap_or_default();
        let mut after = before.clone();
        after.evolve(&change, record);
        if after == before {
            return;
        }
        let FollowersSummary { follower_count } = rows.summary();
        rows.set_summary(FollowersSummary {
            follower_count: recount(follower_count, before.following, after.following),
        });
        relist_follow(rows, (&before, &after), change.actor);
        relist_request(rows, (&before, &after), change.actor);
        rows.put(of_other(change.actor), after);
    }
}
