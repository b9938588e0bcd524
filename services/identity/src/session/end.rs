//! Ending sessions: one of an account's, or all others.

use async_trait::async_trait;
use kith_fold::{State, Token};
use kith_log::topics;
use kith_proto::identity::v1::{
    RevokeAllSessionsRequest, RevokeAllSessionsResponse, RevokeSessionRequest, RevokeSessionResponse, rpc,
};
use kith_service::Failure;
use kith_service::auth::REVOCATIONS_KEY;
use kith_service::call::Call;
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{self, Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::StoreError;

use super::command::{Command, Wish, load};
use super::fold::Sessions;
use super::revoked::{is_told_account, is_told_session};
use crate::IdentityService;

/// An end cannot lose; but as a contest it is answered only when every process can know of it.
impl Contests<rpc::RevokeSession> for Sessions {
    fn parse(_: &IdentityService, asked: &Asked, request: RevokeSessionRequest) -> Result<Command, Failure> {
        let session_id = parse_id("session_id", &request.session_id)?.to_string();
        Ok(Command { account_id: asked.actor.clone(), session_id, wish: Wish::End })
    }
}

#[async_trait]
impl Settles<rpc::RevokeSession> for Sessions {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<RevokeSessionResponse>, Unknown> {
        until_told(seen, command).await?;
        Ok(Verdict::Won(RevokeSessionResponse::default(), Token::default()))
    }
}

/// Answers `RevokeAllSessions`.
pub async fn all(
    service: &IdentityService,
    call: Call<rpc::RevokeAllSessions>,
) -> Result<RevokeAllSessionsResponse, Failure> {
    let kit = &service.shared.kit;
    let Call { asker, deadline, request } = call;
    let asked = Asked::of::<rpc::RevokeAllSessions>(&asker, &request, kit)?;
    let RevokeAllSessionsRequest { include_current, at_least, .. } = request;
    let kept = asker.caller()?.session.filter(|_| !include_current).map(|session| session.id.to_string());
    let (account_id, session_id) = (asked.actor.clone(), kept.unwrap_or_default());
    let seen = kit.see_for(&asker, &kit.parse_tokens(&at_least)?, deadline).await?;
    let command = Command { account_id, session_id, wish: Wish::EndOthers };
    contest::enter::<Sessions, rpc::RevokeAllSessions>(&seen, asked, command).await
}

#[async_trait]
impl Settles<rpc::RevokeAllSessions> for Sessions {
    async fn settle(
        seen: &Seen<'_>,
        _: &Asked,
        command: &Command,
    ) -> Result<Verdict<RevokeAllSessionsResponse>, Unknown> {
        until_told(seen, command).await?;
        Ok(Verdict::Won(RevokeAllSessionsResponse::default(), Token::default()))
    }
}

/// Waits until what is over by now stands in the topic that processes follow.
pub async fn until_told(seen: &Seen<'_>, command: &Command) -> Result<(), Unknown> {
    let look = || async { Ok(is_told(&seen.state, command).await?.then_some(())) };
    Ok(seen.state.until((topics::REVOCATIONS, REVOCATIONS_KEY), seen.deadline.at(), look).await?)
}

async fn is_told(state: &State, command: &Command) -> Result<bool, StoreError> {
    let Command { account_id, session_id, wish } = command;
    let before = load(state, account_id, session_id).await?.before;
    let ended_alone = before.session.as_ref().is_some_and(|session| session.end_time.0 != 0);
    match wish {
        Wish::End if ended_alone => is_told_session(state, account_id, session_id).await,
        _ => is_told_account(state, account_id, &before.account).await,
    }
}
