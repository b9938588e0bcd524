//! Keeping a session up: an access token for a refresh token.

use std::sync::atomic::{AtomicBool, Ordering};

use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::identity::private::v1::SessionEnd;
use kith_proto::identity::v1::{RefreshSessionRequest, RefreshSessionResponse, rpc};
use kith_proto::rpc::Rpc;
use kith_proto::security::v1::SecurityKind;
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::command::{self, Asked};
use kith_service::deadline::Deadline;
use kith_service::ids;
use kith_service::security::Happened;
use kith_tables::Timestamp;

use super::Before;
use super::command::{Command, Turn, Wish, turn};
use super::fold::Sessions;
use super::refresh_token::{RefreshToken, check_form, invalid};
use crate::IdentityService;

/// Answers `RefreshSession`.
pub async fn refresh(
    service: &IdentityService,
    asker: Asker,
    request: RefreshSessionRequest,
    deadline: Deadline,
) -> Result<RefreshSessionResponse, Failure> {
    let kit = &service.shared.kit;
    check_form("refresh_token", &request.refresh_token)?;
    let seen = kit.see_for(&asker, &kit.parse_tokens(&request.at_least)?, deadline).await?;
    let refused = || Happened::new(SecurityKind::LoginRefused, "refresh-token").from(asker.origin());
    let token = service.shared.tokens.read_refresh(&request.refresh_token).inspect_err(|_| service.note(refused()))?;
    let RefreshToken { account_id, session_id, made_at, number } = token;
    let account_id = account_id.to_string();
    // The session was answered, so it is in the log.
    let partition = LogPartition::of_key(topics::IDENTITY_PRIVATE, &account_id, seen.state.partition_count());
    seen.state.at_least(&Position { partition, offset: made_at }.into(), deadline.at()).await?;
    let use_of = [rpc::RefreshSession::NAME.as_bytes(), &number.to_be_bytes()].concat();
    let asked = Asked {
        id: ids::item_id(session_id, &use_of),
        actor: account_id.clone(),
        digest: ids::payload_digest(&[&number.to_be_bytes()]),
        at: Timestamp::default(),
    };
    let rotates_us = service.shared.refresh_token_rotates_us;
    let command =
        Command { account_id, session_id: session_id.to_string(), wish: Wish::Refresh { number, rotates_us } };
    let overtaken = AtomicBool::new(false);
    let answer = |_: &_, asked: &Asked, command: Command, before: Before| {
        note_reuse(service, &asker, asked, &before);
        answer(service, (number, &overtaken), asked, command, &before)
    };
    let first = command::enter::<Sessions, _>(&seen, asked.clone(), command.clone(), answer).await;
    if !overtaken.load(Ordering::Relaxed) {
        return first;
    }
    // On tables that know of the successor's use this one ends the session.
    command::enter::<Sessions, _>(&seen, asked, command, answer).await
}

/// Where this use ended the session. A later one of the same session finds its end, and is none.
fn note_reuse(service: &IdentityService, asker: &Asker, asked: &Asked, before: &Before) {
    let Some(account_id) = RecordId::parse(&asked.actor).filter(|_| was_reused(before, asked.at)) else { return };
    tracing::info!("a refresh token was used after its successor: its session is over");
    let reused = Happened::new(SecurityKind::TokenReused, "refresh-token").about(account_id);
    service.note(reused.from(asker.origin()));
}

/// Whether a use at that time ended the session. Each use is later than what it finds.
pub(super) fn was_reused(before: &Before, at: Timestamp) -> bool {
    let ended = before.session.as_ref().filter(|row| row.end == i64::from(i32::from(SessionEnd::TokenReused)));
    ended.is_some_and(|row| row.end_time == at)
}

/// By the session as it is with this use.
fn answer(
    service: &IdentityService,
    (number, overtaken): (u32, &AtomicBool),
    asked: &Asked,
    command: Command,
    before: &Before,
) -> Result<RefreshSessionResponse, Failure> {
    let Command { account_id, session_id, .. } = command;
    let row = before.session.as_ref().filter(|_| before.began()).ok_or_else(invalid)?;
    if !before.stands(&session_id) || row.is_idle(asked.at) {
        return Err(Failure::session_ended());
    }
    let next = match turn(row, number, service.shared.refresh_token_rotates_us, asked.at) {
        Turn::Stays => row.used,
        Turn::Next => row.used + 1,
        // It would be current by now.
        Turn::First | Turn::Unknown => return Err(invalid()),
        // Its successor was used while this one was decided.
        Turn::Reused => {
            overtaken.store(true, Ordering::Relaxed);
            return Err(Failure::session_ended());
        }
    };
    let pair = service.shared.tokens.pair(&account_id, &session_id, row, next)?;
    Ok(RefreshSessionResponse {
        access_token: pair.access_token,
        expire_time: pair.expire_time,
        account_id,
        refresh_token: pair.refresh_token,
        session_id,
        ..RefreshSessionResponse::default()
    })
}
