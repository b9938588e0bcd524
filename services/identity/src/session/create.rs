//! Beginning a session: by a handle and its password.

use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::{ClientClass, CreateSessionRequest, CreateSessionResponse, rpc};
use kith_service::Failure;
use kith_service::auth::{Asker, Caller};
use kith_service::command::{self, Asked};
use kith_service::deadline::Deadline;
use kith_service::ids::RequestId;
use kith_service::kit::Seen;
use kith_tables::Timestamp;

use super::command::{Command, Proof, Wish, all_of, load};
use super::fold::Sessions;
use super::{Account, Before};
use crate::arbiter::{ClaimRow, made_by, owner};
use crate::guesses::Target;
use crate::handle::Handle;
use crate::password::Password;
use crate::{IdentityService, read};

/// Answers `CreateSession`.
pub async fn create(
    service: &IdentityService,
    asker: Asker,
    mut request: CreateSessionRequest,
    deadline: Deadline,
) -> Result<CreateSessionResponse, Failure> {
    let (shared, asker) = (&service.shared, asker.without_account());
    let password = Password::given("password", std::mem::take(&mut request.password))?;
    let handle = Handle::parse("handle", &request.handle)?;
    if ClientClass::try_from(request.client).is_err() {
        return Err(Failure::field_invalid("client", "is none of those that there are"));
    }
    RequestId::parse("request_id", &request.request_id, &shared.kit.runtime)?;
    let seen = shared.kit.see_for(&asker, &shared.kit.parse_tokens(&request.at_least)?, deadline).await?;
    let Proven { account_id, account, stored } = proven(service, &seen, &handle, password.clone(), &asker).await?;
    if account.away {
        return Err(Failure::account_deactivated());
    }
    let turn = (asker.origin(), deadline);
    let rehashed = match shared.passwords.is_weaker(&stored) {
        true => shared.passwords.hash(password, turn).await?,
        false => String::new(),
    };
    let owner = Asker::of(Caller::of(parsed(&account_id)?));
    let mut asked = Asked::of::<rpc::CreateSession>(&owner, &request, &shared.kit)?;
    asked.id = asker.own(asked.id);
    let session_id = asked.id.to_string();
    let by = Proof::Password { set_at: account.password_set_at(), rehashed };
    let wish = Wish::Begin { client: request.client, by, principal: asker.principal_name() };
    let answer = |_: &_, asked: &Asked, command: Command, before: Before| answer(service, asked, command, &before);
    command::enter::<Sessions, _>(&seen, asked, Command { account_id, session_id, wish }, answer).await
}

/// An account that its password proved.
pub struct Proven {
    pub account_id: String,
    pub account: Account,
    /// The hash that was compared.
    pub stored: String,
}

/// The account of the handle, if the password is its; compared on tables that have everything that the log has of it. Fails
/// UNAUTHENTICATED, and RESOURCE_EXHAUSTED for whom has to wait for its wrong guesses.
pub async fn proven(
    service: &IdentityService,
    seen: &Seen<'_>,
    handle: &Handle,
    password: Password,
    asker: &Asker,
) -> Result<Proven, Failure> {
    let shared = &service.shared;
    let claim = claim_of_account(seen, handle).await?;
    // Also where there is no account: nobody learns from the time it takes whether there is one.
    let account_id = claim.as_ref().map_or_else(|| handle.key(), |claim| claim.account_id.clone());
    all_of(seen, &account_id).await?;
    let account = load(&seen.state, &account_id, "").await?.before.account;
    let stored = claim.as_ref().map(|claim| account.stored_hash(&claim.password_hash).to_owned());
    let compare = shared.passwords.verify(password, stored.as_deref(), (asker.origin(), seen.deadline));
    let owner = claim.as_ref().and_then(|claim| RecordId::parse(&claim.account_id));
    let target = Target { key: handle.key(), account_id: owner };
    let is_right = shared.guesses.is_right(target, asker.origin(), compare).await?;
    let stored = stored.filter(|_| is_right).ok_or_else(credentials_invalid)?;
    Ok(Proven { account_id, account, stored })
}

/// Begins a session of an account that an identity of a trusted issuer proved to this service; `id` is the session's.
pub async fn begin(
    service: &IdentityService,
    seen: &Seen<'_>,
    (account_id, principal): (&str, String),
    (id, digest): (RecordId, [u8; 32]),
) -> Result<CreateSessionResponse, Failure> {
    let wish = Wish::Begin { client: ClientClass::Unspecified.into(), by: Proof::Identity, principal };
    let asked = Asked { id, actor: account_id.to_owned(), digest, at: Timestamp::default() };
    let command = Command { account_id: account_id.to_owned(), session_id: id.to_string(), wish };
    let answer = |_: &_, asked: &Asked, command: Command, before: Before| answer(service, asked, command, &before);
    command::enter::<Sessions, _>(seen, asked, command, answer).await
}

/// A repeat gets the tokens of the session as it stands by now.
fn answer(
    service: &IdentityService,
    asked: &Asked,
    command: Command,
    before: &Before,
) -> Result<CreateSessionResponse, Failure> {
    let Command { account_id, session_id, .. } = command;
    let row = before.session.as_ref().ok_or_else(Failure::internal)?;
    if !before.began() {
        // The account left, or the password was changed, meanwhile.
        return Err(if before.account.away { Failure::account_deactivated() } else { credentials_invalid() });
    }
    if !before.stands(&session_id) || row.is_idle(asked.at) {
        return Err(Failure::session_ended());
    }
    let pair = service.shared.tokens.pair(&account_id, &session_id, row, row.used)?;
    Ok(CreateSessionResponse {
        access_token: pair.access_token,
        expire_time: pair.expire_time,
        account_id,
        refresh_token: pair.refresh_token,
        session_id,
        ..CreateSessionResponse::default()
    })
}

/// What the account was made by that has the handle now.
async fn claim_of_account(seen: &Seen<'_>, handle: &Handle) -> Result<Option<ClaimRow>, Failure> {
    let owner = owner(&seen.state, handle).await?;
    if owner.account_id.is_empty() {
        return Ok(None);
    }
    let account = read::found(&seen.state, &owner.account_id).await?;
    match account.filter(|account| account.row.handle_key == handle.as_str()) {
        Some(account) => Ok(made_by(&seen.state, &owner.account_id, &account.row).await?),
        None => Ok(None),
    }
}

fn parsed(account_id: &str) -> Result<RecordId, Failure> {
    RecordId::parse(account_id).ok_or_else(Failure::internal)
}

pub fn credentials_invalid() -> Failure {
    Failure::new(Reason::CredentialsInvalid, "no account has this handle and this password")
}
