//! Another password for an account, by a service that has proved the person otherwise: it ends all sessions.

use async_trait::async_trait;
use kith_proto::identity::v1::{ResetPasswordResponse, rpc};
use kith_service::Failure;
use kith_service::auth::Right;
use kith_service::call::Call;
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::kit::Seen;

use super::command::{Command, Wish, load};
use super::end::until_told;
use super::fold::Sessions;
use super::noted::{RESET, noted};
use crate::IdentityService;
use crate::password::Password;

/// Answers `ResetPassword`.
pub async fn reset(
    service: &IdentityService,
    call: Call<rpc::ResetPassword>,
) -> Result<ResetPasswordResponse, Failure> {
    let kit = &service.shared.kit;
    let Call { asker, deadline, mut request } = call;
    let new = Password::chosen("new_password", std::mem::take(&mut request.new_password))?;
    asker.as_service()?.may(Right::ResetPasswords)?;
    let asked = Asked::of::<rpc::ResetPassword>(&asker, &request, kit)?;
    let seen = kit.see_for(&asker, &kit.parse_tokens(&request.at_least)?, deadline).await?;
    let account = load(&seen.state, &asked.actor, "").await?.before.account;
    let is_repeat = account.applied.contains(asked.id);
    let password_hash = Some(service.shared.passwords.hash(new, (asker.origin(), deadline)).await?);
    let wish = Wish::ChangePassword { password_hash, password_set_at: None };
    let command = Command { account_id: asked.actor.clone(), session_id: String::new(), wish };
    let reset = contest::enter::<Sessions, rpc::ResetPassword>(&seen, asked, command);
    if is_repeat { reset.await } else { noted(&service.shared.security, RESET, &asker, reset).await }
}

#[async_trait]
impl Settles<rpc::ResetPassword> for Sessions {
    /// Nothing that comes before it in the log makes it lose.
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<ResetPasswordResponse>, Unknown> {
        let before = load(&seen.state, &command.account_id, &command.session_id).await?.before;
        if !before.account.applied.contains(asked.id) {
            return Err(Unknown::defect("a reset of a password was folded, and has no effect"));
        }
        until_told(seen, command).await?;
        Ok(Verdict::Won(ResetPasswordResponse::default(), Default::default()))
    }
}
