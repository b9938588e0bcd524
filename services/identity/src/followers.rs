//! Who follows an account, by that account: the same edges, seen from the other end.

use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_tables::{Column, Key, Order, RowRange, RowType, Section, StoreError, Table, row};

use crate::edge::{EdgeRow, ends, recount};

/// Merged: each follower's row has the follower's log partition as its source.
pub static FOLLOWERS: Table = Table {
    name: "followers",
    partition: &[Column::text("target_id")],
    clustering: &[Column::text("follower_id")],
    order: Order::Ascending,
    sections: &[Section::of::<EdgeRow>("follower")],
    summary: FollowersSummary::COLUMNS,
};

/// How often a page looks for more when rows stand for no follow.
const SLICES_PER_PAGE: usize = 8;

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
        let (_, actor, target) = ends(record)?;
        Some(Scope::new(&FOLLOWERS, Key::text(target)).with::<EdgeRow>([actor.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((event, actor, _)) = ends(record) else { return };
        let before = rows.get::<EdgeRow>([actor.into()]).unwrap_or_default();
        let mut after = before.clone();
        after.evolve(event, record.id, record.position.offset, record.time);
        if after == before {
            return;
        }
        let FollowersSummary { follower_count } = rows.summary();
        rows.set_summary(FollowersSummary {
            follower_count: recount(follower_count, before.following, after.following),
        });
        rows.put([actor.into()], after);
    }
}

/// Follows of one table partition, of [`FOLLOWERS`] or of edges, in the order of the other end's id.
pub struct FollowPage {
    pub follows: Vec<Found<EdgeRow>>,
    /// The id behind which the next page starts; `None`: there is no more.
    pub next: Option<String>,
}

/// Up to `size` follows behind the id `after`. Rows that stand for no follow are passed over, so many of them may make a
/// page short.
pub async fn page(
    state: &State,
    table: &'static Table,
    account_id: &str,
    after: Option<String>,
    size: usize,
) -> Result<FollowPage, StoreError> {
    let partition = Key::text(account_id);
    let (mut follows, mut next) = (Vec::with_capacity(size), after);
    for _ in 0..SLICES_PER_PAGE {
        let after = next.clone().map(|id| vec![id.into()]);
        let rows =
            state.slice::<EdgeRow>(table, &partition, RowRange { after, ..RowRange::all::<EdgeRow>() }, size + 1);
        let rows = rows.await?;
        let is_last = rows.len() <= size;
        for found in rows {
            let passed = found.text(0).to_owned();
            if found.row.following && follows.len() == size {
                return Ok(FollowPage { follows, next });
            }
            if found.row.following {
                follows.push(found);
            }
            next = Some(passed);
        }
        if is_last {
            return Ok(FollowPage { follows, next: None });
        }
    }
    Ok(FollowPage { follows, next })
}
