//! How many follow an account and how many it follows, as its lists have them: the summaries beside the lists' rows, which the
//! fold writes in one batch with them.

use futures::{StreamExt, TryStreamExt, stream, try_join};
use kith_fold::State;
use kith_log::topics;
use kith_proto::identity::v1::{Account, AccountCounts};
use kith_tables::{Key, StoreError};

use crate::followers::{FOLLOWERS, FollowersSummary};
use crate::graph::{EDGES, EdgesSummary};

/// Accounts counted at once for one request.
const COUNTS_IN_FLIGHT: usize = 16;

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

/// As [`counted`], for a batch; aligned with it. What is not shown is not counted.
pub async fn all_counted(state: &State, accounts: Vec<Option<Account>>) -> Result<Vec<Option<Account>>, StoreError> {
    let count = |account: Option<Account>| async move {
        match account {
            Some(account) => counted(state, account).await.map(Some),
            None => Ok(None),
        }
    };
    // Named, as a closure's future would be of one lifetime only.
    let counts: Vec<_> = accounts.into_iter().map(count).collect();
    stream::iter(counts).buffered(COUNTS_IN_FLIGHT).try_collect().await
}
