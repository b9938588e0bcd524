//! Another password, which ends all other sessions.

use async_trait::async_trait;
use kith_fold::Token;
use kith_log::RecordId;
use kith_proto::identity::v1::{ChangePasswordRequest, ChangePasswordResponse, rpc};
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::call::Call;
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::kit::Seen;

use super::Account;
use super::command::{Command, Wish, all_of, load};
use super::create::credentials_invalid;
use super::end::until_told;
use super::fold::Sessions;
use super::noted::{CHANGED, noted};
use crate::arbiter::made_by;
use crate::guesses::Target;
use crate::password::Password;
use crate::{IdentityService, read};

/// Answers `ChangePassword`.
pub async fn change(
    service: &IdentityService,
    call: Call<rpc::ChangePassword>,
) -> Result<ChangePasswordResponse, Failure> {
    let kit = &service.shared.kit;
    let Call { asker, deadline, mut request } = call;
    let given = Passwords::parse(&mut request)?;
    let asked = Asked::of::<rpc::ChangePassword>(&asker, &request, kit)?;
    let seen = kit.see_for(&asker, &kit.parse_tokens(&request.at_least)?, deadline).await?;
    let session_id = asker.caller()?.session.map(|session| session.id.to_string()).unwrap_or_default();
    all_of(&seen, &asked.actor).await?;
    let account = load(&seen.state, &asked.actor, &session_id).await?.before.account;
    let password_hash = match account.applied.contains(asked.id) {
        // A repeat compares nothing: it would tell whether a password fits.
        true => None,
        false => Some(given.hashed(service, &seen, &account, &asker).await?),
    };
    let is_repeat = password_hash.is_none();
    let wish = Wish::ChangePassword { password_hash, password_set_at: Some(account.password_set_at()) };
    let command = Command { account_id: asked.actor.clone(), session_id, wish };
    let change = contest::enter::<Sessions, rpc::ChangePassword>(&seen, asked, command);
    if is_repeat { change.await } else { noted(&service.shared.security, CHANGED, &asker, change).await }
}

struct Passwords {
    current: Password,
    new: Password,
}

impl Passwords {
    fn parse(request: &mut ChangePasswordRequest) -> Result<Self, Failure> {
        let current = Password::given("current_password", std::mem::take(&mut request.current_password));
        let new = Password::chosen("new_password", std::mem::take(&mut request.new_password));
        let (current, new) = Failure::both(current, new)?;
        Ok(Self { current, new })
    }

    /// The new one's hash, if the current one is the account's.
    async fn hashed(
        self,
        service: &IdentityService,
        seen: &Seen<'_>,
        account: &Account,
        asker: &Asker,
    ) -> Result<String, Failure> {
        // Hashes are shared out by address: one that has many accounts gets no more of them.
        let (passwords, turn) = (&service.shared.passwords, (asker.origin(), seen.deadline));
        let first = first_hash(seen).await?;
        let stored = first.as_deref().map(|first| account.stored_hash(first));
        let compare = passwords.verify(self.current, stored, turn);
        let target = Target { key: seen.viewer.clone(), account_id: RecordId::parse(&seen.viewer) };
        if !service.shared.guesses.is_right(target, asker.source(), compare).await? {
            return Err(credentials_invalid());
        }
        passwords.hash(self.new, turn).await
    }
}

/// The hash that the caller's account was created with.
async fn first_hash(seen: &Seen<'_>) -> Result<Option<String>, Failure> {
    let Some(found) = read::found(&seen.state, &seen.viewer).await? else { return Ok(None) };
    Ok(made_by(&seen.state, &seen.viewer, &found.row).await?.map(|claim| claim.password_hash))
}

impl Account {
    /// `first`: the hash that the account was created with.
    pub fn stored_hash<'a>(&'a self, first: &'a str) -> &'a str {
        if self.password_hash.is_empty() { first } else { &self.password_hash }
    }
}

#[async_trait]
impl Settles<rpc::ChangePassword> for Sessions {
    /// Lost if a change of the password, or an end of the session that asked, came before it in the log.
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<ChangePasswordResponse>, Unknown> {
        let before = load(&seen.state, &command.account_id, &command.session_id).await?.before;
        if !before.account.applied.contains(asked.id) {
            let is_over = !command.session_id.is_empty() && !before.stands(&command.session_id);
            return Ok(Verdict::Lost(if is_over { Failure::session_ended() } else { credentials_invalid() }));
        }
        until_told(seen, command).await?;
        Ok(Verdict::Won(ChangePasswordResponse::default(), Token::default()))
    }
}
