//! Reading accounts: hydrate, then the rules (sight) as of now.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kith_fold::{Found, State, WaitError};
use kith_log::{LogPartition, Position, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::{
    Account, AccountEntry, BatchGetAccountsRequest, BatchGetAccountsResponse, GetAccountRequest, GetAccountResponse,
    ResolveHandleRequest, ResolveHandleResponse, rpc,
};
use kith_relations::account::{ACCOUNTS, AccountRow, account, by_handle};
use kith_relations::sight::{Sights, Viewer};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::Reads;
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError};

use crate::IdentityService;
use crate::counts::{all_counted, counted};
use crate::handle::Handle;

/// Accounts read at once for one request.
const READS_IN_FLIGHT: usize = 16;

/// The RPCs that read accounts.
pub struct Accounts;

#[async_trait]
impl Reads<rpc::GetAccount> for Accounts {
    type Service = IdentityService;
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: GetAccountRequest) -> Result<String, Failure> {
        parse_id("account_id", &request.account_id)?;
        Ok(request.account_id)
    }

    async fn read(_: &IdentityService, seen: &Seen<'_>, account_id: String) -> Result<GetAccountResponse, Failure> {
        let account = Some(visible_counted(seen, account_id).await?);
        Ok(GetAccountResponse { account, ..GetAccountResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::BatchGetAccounts> for Accounts {
    type Service = IdentityService;
    type Wanted = Vec<String>;

    const IS_PUBLIC: bool = true;

    fn parse(request: BatchGetAccountsRequest) -> Result<Vec<String>, Failure> {
        parse_ids("account_ids", request.account_ids)
    }

    async fn read(
        _: &IdentityService,
        seen: &Seen<'_>,
        account_ids: Vec<String>,
    ) -> Result<BatchGetAccountsResponse, Failure> {
        let accounts = shown(seen, &account_ids).await?;
        let accounts = all_counted(&seen.state, accounts).await?;
        let entry = |(account_id, account)| AccountEntry { account_id, account };
        let entries = account_ids.into_iter().zip(accounts).map(entry).collect();
        Ok(BatchGetAccountsResponse { entries, ..BatchGetAccountsResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::ResolveHandle> for Accounts {
    type Service = IdentityService;
    type Wanted = Handle;

    const IS_PUBLIC: bool = true;

    fn parse(request: ResolveHandleRequest) -> Result<Handle, Failure> {
        Handle::parse("handle", &request.handle)
    }

    /// The account is what is shown: it must be there, and its own row says which handle it has.
    async fn read(_: &IdentityService, seen: &Seen<'_>, handle: Handle) -> Result<ResolveHandleResponse, Failure> {
        let account_id = by_handle(&seen.state, handle.as_str()).await?.ok_or_else(not_found)?;
        let account = visible_counted(seen, account_id).await?;
        let account = Some(account).filter(|account| account.handle == handle.as_str());
        let account = Some(account.ok_or_else(not_found)?);
        Ok(ResolveHandleResponse { account, ..ResolveHandleResponse::default() })
    }
}

/// Whether the viewer may see the account; one that blocks it looks as if it were not there.
pub async fn check_visible(seen: &Seen<'_>, account_id: &str) -> Result<(), Failure> {
    visible(seen, account_id.to_owned()).await.map(|_| ())
}

async fn visible(seen: &Seen<'_>, account_id: String) -> Result<Account, Failure> {
    let accounts = shown(seen, &[account_id]).await?;
    accounts.into_iter().flatten().next().ok_or_else(not_found)
}

/// An account that the viewer may see, with its counts.
async fn visible_counted(seen: &Seen<'_>, account_id: String) -> Result<Account, Failure> {
    Ok(counted(&seen.state, visible(seen, account_id).await?).await?)
}

/// These accounts as the viewer is shown them; aligned with the ids.
async fn shown(seen: &Seen<'_>, account_ids: &[String]) -> Result<Vec<Option<Account>>, StoreError> {
    let accounts = batch(&seen.state, account_ids).await?;
    let sights = sights(seen, account_ids, &accounts).await?;
    let opener = seen.opener();
    let present = |(account_id, row): (&String, Option<AccountRow>)| {
        let row = row.filter(|_| sights.of(account_id).shows_account());
        row.map(|row| row.present(&opener, account_id))
    };
    Ok(account_ids.iter().zip(accounts).map(present).collect())
}

/// How the viewer sees these accounts, whose rows say who of them is away.
pub async fn sights(
    seen: &Seen<'_>,
    account_ids: &[String],
    accounts: &[Option<AccountRow>],
) -> Result<Sights, StoreError> {
    let blocks = Viewer::new(&seen.state, &seen.viewer).blocks(account_ids.iter().map(String::as_str)).await?;
    let is_away = |row: &Option<AccountRow>| row.as_ref().is_some_and(|row| row.away);
    let away: BTreeSet<&str> =
        account_ids.iter().zip(accounts).filter(|(_, row)| is_away(row)).map(|(id, _)| &**id).collect();
    Ok(blocks.without(|account| away.contains(account)))
}

/// An account with the position of the fact that made it.
pub async fn found(state: &State, account_id: &str) -> Result<Option<Found<AccountRow>>, StoreError> {
    state.row::<AccountRow>(&ACCOUNTS, &Key::text(account_id), []).await
}

/// Waits until the account's row is so; gives it and the place of the fact that made it.
pub async fn until(
    seen: &Seen<'_>,
    account_id: &str,
    is_so: impl Fn(&AccountRow) -> bool,
) -> Result<(AccountRow, Position), WaitError> {
    let look = || async { Ok(found(&seen.state, account_id).await?.filter(|found| is_so(&found.row))) };
    let found = seen.state.until((topics::IDENTITY, account_id), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::IDENTITY, account_id, seen.state.partition_count());
    Ok((found.row, Position { partition, offset: found.position }))
}

/// The accounts of these ids, aligned with them.
pub async fn batch(state: &State, account_ids: &[String]) -> Result<Vec<Option<AccountRow>>, StoreError> {
    let reads: Vec<_> = account_ids.iter().map(|id| account(state, id).boxed()).collect();
    stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await
}

/// Checks a batch of ids.
pub fn parse_ids(field: &str, ids: Vec<String>) -> Result<Vec<String>, Failure> {
    if ids.len() > limits::BATCH_ITEMS {
        return Err(Failure::batch_too_long(field, ids.len()));
    }
    let mut numbered = ids.iter().enumerate();
    numbered.try_for_each(|(index, id)| parse_id(&format!("{field}[{index}]"), id).map(|_| ()))?;
    Ok(ids)
}

fn not_found() -> Failure {
    Failure::not_found(Reason::AccountNotFound, "account")
}
