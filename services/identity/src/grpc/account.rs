use kith_fold::{Found, State, Token};
use kith_log::{LogPartition, Position, topics};
use kith_proto::identity::v1::account_service_server::AccountService;
use kith_proto::identity::v1::{
    AccountEntry, BatchGetAccountsRequest, BatchGetAccountsResponse, CreateAccountRequest, CreateAccountResponse,
    GetAccountRequest, GetAccountResponse, ResolveHandleRequest, ResolveHandleResponse,
};
use kith_relations::account::by_handle;
use kith_service::Failure;
use kith_service::auth::caller;
use kith_service::deadline::{Deadline, deadline};
use kith_service::ids::{RequestId, parse_id};
use kith_service::kit::{Command, Seen};
use kith_tables::Timestamp;
use tonic::{Request, Response, Status, async_trait};

use super::{IdentityService, after_append, batch, store_after_append};
use crate::account::{self, NewAccount};
use crate::arbiter::{ClaimRow, claim};
use crate::handle::Handle;
use crate::password::Password;
use crate::relationship::pairs;

#[async_trait]
impl AccountService for IdentityService {
    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Result<Response<CreateAccountResponse>, Status> {
        let deadline = deadline(&request);
        let request = request.into_inner();
        let password = Password::chosen("password", request.password);
        let handle = Handle::parse("handle", &request.handle);
        let profile = account::parse_profile(request.profile);
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit().runtime);
        // A form is filled in once: all that is wrong with it is said at once.
        let ((handle, password), (profile, request_id)) =
            Failure::both(Failure::both(handle, password), Failure::both(profile, request_id))?;
        let account = NewAccount::new(handle, profile, &request_id);
        let seen = self.kit().see(&request.at_least, deadline).await?;
        Ok(Response::new(self.create(&seen, &account, password, deadline).await?))
    }

    async fn get_account(&self, request: Request<GetAccountRequest>) -> Result<Response<GetAccountResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let request = request.into_inner();
        parse_id("account_id", &request.account_id)?;
        let handle = async {
            let seen = self.kit().see(&request.at_least, deadline).await?;
            let as_of = seen.as_of();
            let entries = visible(&seen.state, &caller.account_id.to_string(), vec![request.account_id]).await?;
            let account = entries.into_iter().find_map(|entry| entry.account).ok_or_else(account::not_found)?;
            Ok(GetAccountResponse { account: Some(account), as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn batch_get_accounts(
        &self,
        request: Request<BatchGetAccountsRequest>,
    ) -> Result<Response<BatchGetAccountsResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let request = request.into_inner();
        parse_ids("account_ids", &request.account_ids)?;
        let handle = async {
            let seen = self.kit().see(&request.at_least, deadline).await?;
            let as_of = seen.as_of();
            let entries = visible(&seen.state, &caller.account_id.to_string(), request.account_ids).await?;
            Ok(BatchGetAccountsResponse { entries, as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn resolve_handle(
        &self,
        request: Request<ResolveHandleRequest>,
    ) -> Result<Response<ResolveHandleResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let request = request.into_inner();
        let handle = Handle::parse("handle", &request.handle)?;
        let answer = async {
            let seen = self.kit().see(&request.at_least, deadline).await?;
            let as_of = seen.as_of();
            // The handle's row and the account's come from one record; the account is what is shown, so it must be there.
            let account_id = by_handle(&seen.state, handle.as_str()).await.map_err(Failure::from)?;
            let entries =
                visible(&seen.state, &caller.account_id.to_string(), account_id.into_iter().collect()).await?;
            let account = entries.into_iter().find_map(|entry| entry.account).ok_or_else(account::not_found)?;
            Ok(ResolveHandleResponse { account: Some(account), as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(answer, |answer| answer.incomplete = true).await?))
    }
}

impl IdentityService {
    async fn create(
        &self,
        seen: &Seen<'_>,
        account: &NewAccount,
        password: Password,
        deadline: Deadline,
    ) -> Result<CreateAccountResponse, Failure> {
        // A claim stands for ever: who has lost already need not hash, nor write.
        if let Some(claim) = claim(&seen.state, &account.handle).await? {
            account.verdict(&claim.row)?;
            self.same_password(password, &claim.row, deadline).await?;
            return created(&seen.state, account, claim, deadline).await;
        }
        if self.shared.reserved_handles.contains(account.handle.as_str()) {
            return Err(account::handle_reserved());
        }
        let password_hash = self.shared.passwords.hash(password.clone(), deadline).await?;
        let own_hash = password_hash.clone();
        let event = account.requested(password_hash, Timestamp(self.kit().runtime.tick())).into();
        let key = account.handle.key();
        let intent = Command { topic: topics::IDENTITY_PRIVATE, key: &key, id: account.id, event };
        let intent: Token = seen.append(intent, deadline).await?.into();
        seen.state.at_least(&intent, deadline.at()).await.map_err(after_append)?;
        let claim = claim(&seen.state, &account.handle).await.map_err(store_after_append)?;
        let claim = claim.ok_or_else(|| {
            tracing::error!("an intent was folded, and nobody has its handle");
            Failure::internal()
        })?;
        account.verdict(&claim.row)?;
        if claim.row.password_hash != own_hash {
            // A copy of this request was first.
            self.same_password(password, &claim.row, deadline).await?;
        }
        created(&seen.state, account, claim, deadline).await
    }

    /// The digest of a request leaves the password out: a copy with another one is told by the hash that is stored.
    async fn same_password(&self, password: Password, claim: &ClaimRow, deadline: Deadline) -> Result<(), Failure> {
        let same = self.shared.passwords.verify(password, Some(&claim.password_hash), deadline).await?;
        if same { Ok(()) } else { Err(Failure::request_id_reused()) }
    }
}

/// Waits for the fact that the arbiter appends; the token covers the intent and the fact.
async fn created(
    state: &State,
    account: &NewAccount,
    claim: Found<ClaimRow>,
    deadline: Deadline,
) -> Result<CreateAccountResponse, Failure> {
    let account_id = account.id.to_string();
    let look = || account::found(state, &account_id);
    let fact = state.until((topics::IDENTITY, &account_id), deadline.at(), look).await.map_err(after_append)?;
    let of_key = |topic, key: &str| LogPartition::of_key(topic, key, state.partition_count());
    let mut token = Token::default();
    let private = of_key(topics::IDENTITY_PRIVATE, &account.handle.key());
    token.add(Position { partition: private, offset: claim.position });
    token.add(Position { partition: of_key(topics::IDENTITY, &account_id), offset: fact.position });
    let account = Some(fact.row.present(&account_id));
    Ok(CreateAccountResponse { account, consistency_token: token.encode() })
}

/// The accounts of these ids as `viewer` may see them: not those that block it. Aligned with the ids.
pub(super) async fn visible(
    state: &State,
    viewer: &str,
    account_ids: Vec<String>,
) -> Result<Vec<AccountEntry>, Failure> {
    let others: Vec<&str> = account_ids.iter().map(String::as_str).collect();
    let pairs = pairs(state, viewer, &others).await?;
    let accounts = account::batch(state, &account_ids).await?;
    let entry = |(account_id, (row, pair)): (String, (Option<_>, crate::relationship::Pair))| {
        let row: Option<kith_relations::account::AccountRow> = row;
        let account = row.filter(|_| !pair.theirs.blocking).map(|row| row.present(&account_id));
        AccountEntry { account_id, account }
    };
    Ok(account_ids.into_iter().zip(accounts.into_iter().zip(pairs)).map(entry).collect())
}

/// Checks a batch of ids.
pub(super) fn parse_ids(field: &str, ids: &[String]) -> Result<(), Failure> {
    batch(field, ids)?;
    ids.iter().enumerate().try_for_each(|(index, id)| parse_id(&format!("{field}[{index}]"), id).map(|_| ()))
}
