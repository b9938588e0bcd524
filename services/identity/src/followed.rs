//! The accounts that an account followed last: for whoever looks at few of many.

use kith_fold::State;
use kith_tables::{Key, RowRange, StoreError};

use crate::edge::FollowedRow;
use crate::graph::EDGES;

/// Whom the account follows, the latest first, in the order of `ListFollowing`: those among its first `places` places, in one read. Where
/// follows are over there are fewer.
pub async fn newest(state: &State, account_id: &str, places: usize) -> Result<Vec<String>, StoreError> {
    let range = RowRange::all::<FollowedRow>();
    let found = state.slice::<FollowedRow>(&EDGES, &Key::text(account_id), range, places).await?;
    Ok(found.iter().filter(|found| found.row.following).map(|found| found.text(1).to_owned()).collect())
}
