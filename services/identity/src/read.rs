//! Reading accounts: hydrate, then the rules (sight) as of now.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, try_join};
use kith_fold::{Found, State, WaitError};
use kith_log::{LogPartition, Position, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::{
    Account, AccountEntry, BatchGetAccountsRequest, BatchGetAccountsResponse, BatchGetRelationshipsRequest,
    BatchGetRelationshipsResponse, GetAccountRequest, GetAccountResponse, ResolveHandleRequest, ResolveHandleResponse,
    rpc,
};
use kith_relations::account::{ACCOUNTS, AccountRow, account, by_handle};
use kith_relations::away;
use kith_relations::sight::{Sights, Viewer};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::Reads;
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError};

use crate::IdentityService;
use crate::counts::counted;
use crate::handle::Handle;
use crate::pair::{Pair, pairs};

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
        let counted = shown(seen, &account_ids).await?.into_iter().map(|shown| async {
            match shown {
                Some(shown) => shown.counted(&seen.state).await.map(Some),
                None => Ok(None),
            }
        });
        // Named, as a closure's future would be of one lifetime only.
        let counted: Vec<_> = counted.collect();
        let accounts: Vec<Option<Account>> =
            stream::iter(counted).buffered(READS_IN_FLIGHT).try_collect().await.map_err(Failure::from)?;
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

#[async_trait]
impl Reads<rpc::BatchGetRelationships> for Accounts {
    type Service = IdentityService;
    type Wanted = Vec<String>;

    fn parse(request: BatchGetRelationshipsRequest) -> Result<Vec<String>, Failure> {
        parse_ids("target_ids", request.target_ids)
    }

    async fn read(
        _: &IdentityService,
        seen: &Seen<'_>,
        target_ids: Vec<String>,
    ) -> Result<BatchGetRelationshipsResponse, Failure> {
        let others: Vec<&str> = target_ids.iter().map(String::as_str).collect();
        let (pairs, apart) =
            try_join!(pairs(&seen.state, &seen.viewer, &others), away::among(&seen.state, others.iter().copied()))?;
        let now = seen.now();
        let one = |(pair, id): (&Pair, String)| pair.shown(apart.away.contains(&id), id, now);
        let relationships = pairs.iter().zip(target_ids).map(one).collect();
        Ok(BatchGetRelationshipsResponse { relationships, ..BatchGetRelationshipsResponse::default() })
    }
}

/// Whether the viewer may see the account's lists; one that blocks it looks as if it were not there.
pub async fn check_open(seen: &Seen<'_>, account_id: &str) -> Result<(), Failure> {
    match visible(seen, account_id.to_owned()).await? {
        Shown { is_open: true, .. } => Ok(()),
        Shown { is_open: false, .. } => Err(Failure::new(Reason::AccountPrivate, "the account is private")),
    }
}

/// An account as the viewer is shown it.
struct Shown {
    account: Account,
    /// Whether with its lists and their numbers: it is not private, or the viewer follows it.
    is_open: bool,
}

impl Shown {
    async fn counted(self, state: &State) -> Result<Account, StoreError> {
        if self.is_open { counted(state, self.account).await } else { Ok(self.account) }
    }
}

async fn visible(seen: &Seen<'_>, account_id: String) -> Result<Shown, Failure> {
    let accounts = shown(seen, &[account_id]).await?;
    accounts.into_iter().flatten().next().ok_or_else(not_found)
}

/// An account that the viewer may see, with its counts.
async fn visible_counted(seen: &Seen<'_>, account_id: String) -> Result<Account, Failure> {
    Ok(visible(seen, account_id).await?.counted(&seen.state).await?)
}

/// These accounts as the viewer is shown them; aligned with the ids.
async fn shown(seen: &Seen<'_>, account_ids: &[String]) -> Result<Vec<Option<Shown>>, StoreError> {
    let accounts = batch(&seen.state, account_ids).await?;
    let sights = sights(seen, account_ids, &accounts).await?;
    let veiled = veiled(seen, account_ids, &accounts).await?;
    let opener = seen.opener();
    let present = |(account_id, row): (&String, Option<AccountRow>)| {
        let row = row.filter(|_| sights.of(account_id).shows_account())?;
        Some(Shown { account: row.present(&opener, account_id), is_open: !veiled.contains(&**account_id) })
    };
    Ok(account_ids.iter().zip(accounts).map(present).collect())
}

/// Those of the accounts that are private, and that the viewer does not follow, and is not.
pub async fn veiled<'i>(
    seen: &Seen<'_>,
    account_ids: &'i [String],
    rows: &[Option<AccountRow>],
) -> Result<BTreeSet<&'i str>, StoreError> {
    let private = account_ids.iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(|row| row.private));
    let mut accounts: BTreeSet<&str> = private.map(|(id, _)| &**id).collect();
    accounts.remove(&*seen.viewer);
    if accounts.is_empty() || seen.viewer.is_empty() {
        return Ok(accounts);
    }
    let others: Vec<&str> = accounts.iter().copied().collect();
    let pairs = pairs(&seen.state, &seen.viewer, &others).await?;
    let follows = others.iter().zip(pairs).filter(|(_, pair)| pair.mine.follows(&pair.theirs));
    follows.for_each(|(other, _)| {
        accounts.remove(other);
    });
    Ok(accounts)
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
