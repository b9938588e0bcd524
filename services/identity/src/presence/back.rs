//! Coming back: by the password, or by a service that may act for the account. Nobody has a session while the account is away.

use async_trait::async_trait;
use kith_proto::identity::v1::{ReactivateAccountRequest, ReactivateAccountResponse, rpc};
use kith_service::Failure;
use kith_service::auth::{Asker, Caller};
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::deadline::Deadline;
use kith_service::ids::RequestId;
use kith_service::kit::Seen;

use super::{Command, Presences, account_id_of, reached};
use crate::IdentityService;
use crate::handle::Handle;
use crate::password::Password;
use crate::session::create::proven;

/// Answers `ReactivateAccount`.
pub async fn reactivate(
    service: &IdentityService,
    asker: Asker,
    mut request: ReactivateAccountRequest,
    deadline: Deadline,
) -> Result<ReactivateAccountResponse, Failure> {
    let kit = &service.shared.kit;
    let is_by_service = asker.principal().is_some() && asker.caller().is_ok();
    let password = std::mem::take(&mut request.password);
    let (asked, seen) = match is_by_service {
        true => {
            if !request.handle.is_empty() || !password.is_empty() {
                return Err(Failure::field_invalid("handle", "is for whoever is not named by a calling service"));
            }
            let asked = Asked::of::<rpc::ReactivateAccount>(&asker, &request, kit)?;
            (asked, kit.see_for_absent(&asker, &kit.parse_tokens(&request.at_least)?, deadline).await?)
        }
        false => {
            let asker = asker.without_account();
            RequestId::parse("request_id", &request.request_id, &kit.runtime)?;
            let token = kit.parse_tokens(&request.at_least)?;
            let (handle, password) = credentials(&request.handle, password)?;
            let seen = kit.see_for(&asker, &token, deadline).await?;
            let account_id = proven(service, &seen, &handle, password, &asker).await?.account_id;
            let owner = Asker::of(Caller::of(account_id_of(&account_id)?));
            let mut asked = Asked::of::<rpc::ReactivateAccount>(&owner, &request, kit)?;
            asked.id = asker.own(asked.id);
            (asked, seen)
        }
    };
    let command = Command { account_id: asked.actor.clone(), deactivates: false };
    contest::enter::<Presences, rpc::ReactivateAccount>(&seen, asked, command).await
}

/// Both are needed. What is wrong with one that is given is told before what is missing.
fn credentials(handle: &str, password: String) -> Result<(Handle, Password), Failure> {
    let handle = (!handle.is_empty()).then(|| Handle::parse("handle", handle)).transpose()?;
    let password = Password::given("password", password)?;
    Ok((handle.ok_or_else(|| Failure::field_missing("handle"))?, password))
}

#[async_trait]
impl Settles<rpc::ReactivateAccount> for Presences {
    async fn settle(
        seen: &Seen<'_>,
        _: &Asked,
        command: &Command,
    ) -> Result<Verdict<ReactivateAccountResponse>, Unknown> {
        let (account, place) = reached(seen, &command.account_id).await?;
        let account = Some(account.present(&seen.opener(), &command.account_id));
        Ok(Verdict::Won(ReactivateAccountResponse { account, ..ReactivateAccountResponse::default() }, place.into()))
    }
}
