//! How many follow an account and how many it follows, as its lists have them: the summaries beside the lists' rows, which the
//! fold writes in one batch with them.

use futures::try_join;
use kith_fold::State;
use kith_log::topics;
use kith_proto::identity::v1::{Account, AccountCounts};
use kith_tables::{Key, StoreError};

use crate::followers::{FOLLOWERS, FollowersSummary};
use crate::graph::{EDGES, EdgesSummary};

/// The account with its counts: two reads.
pub async fn counted(state: &State, account: Account) -> Result<Account, StoreError> {
    let key = Key::text(&account.account_id);
    let following = state.summary::<EdgesSummary>(&EDGES, &key, (topics::IDENTITY, &account.account_id));
    // A row for each log partition that has followers: their sum is the count.
    let followers = state.summaries::<FollowersSummary>(&FOLLOWERS, &key, topics::IDENTITY);
    let (following, followers) = try_join!(following, followers)?;
    let unsigned = |count| u64::try_from(count).unwrap_or(0);
    let follower_count = followers.iter().map(|found| unsigned(found.row.follower_count)).sum();
    let following_count = following.map_or(0, |found| unsigned(found.row.following_count));
    Ok(Account { counts: Some(AccountCounts { follower_count, following_count }), ..account })
}
