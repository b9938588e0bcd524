//! Asking for another handle.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{Found, HANDLE_EVENTS, State, WaitError};
use kith_log::{LogPartition, Position, RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::HandleChangeRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::{AccountContent, ChangeHandleRequest, ChangeHandleResponse, rpc};
use kith_proto::time;
use kith_relations::account::{AccountRow, HANDLES, HandleRow};
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::kit::Seen;
use kith_tables::{Key, StoreError};

use super::Changes;
use crate::arbiter::{OwnerSummary, owner};
use crate::change_row::{ANOTHER_UNDER_WAY, CHANGES, ChangeRow, ChangesSummary, TAKEN, TOO_OFTEN, WON};
use crate::counts::counted;
use crate::handle::{Barred, Handle, taken};
use crate::{IdentityService, read};

/// Asks for another handle.
#[derive(Debug, Clone)]
pub struct Command {
    pub account_id: String,
    pub handle: Handle,
    /// Why nobody gets it, if nobody does.
    pub barred: Option<Barred>,
}

/// What is known about a change that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub account: Option<AccountRow>,
    /// What came of it, if the same intent has been asked for before.
    pub change: Option<ChangeRow>,
    pub changes: ChangesSummary,
    /// Who has the handle that is asked for.
    pub owner: OwnerSummary,
    /// Whether the version of the events is open that has changes.
    pub is_open: bool,
}

/// Why a handle is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("account was not found")]
    NotFound,
    #[error("the request id was used for another handle")]
    RequestIdReused,
    #[error("operators have not opened the version of the events that has changes of handles")]
    EventsNotOpen,
    #[error("handle cannot be had")]
    Barred(Barred),
    #[error("handle is taken")]
    Taken,
    #[error("another change of the account's handle is under way")]
    UnderWay,
    #[error("the account has changed its handle too often")]
    TooOften { wait_us: i64 },
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
            Rejection::Barred(barred) => barred.into(),
            Rejection::Taken => taken(),
            Rejection::UnderWay => Self::new(Reason::HandleChangeUnderWay, rejection.to_string()),
            Rejection::TooOften { wait_us } => {
                let seconds = wait_us.div_euclid(1_000_000).saturating_add(1);
                Self::new(Reason::HandleChangedTooOften, rejection.to_string()).with("retry_after_seconds", seconds)
            }
        }
    }
}

#[async_trait]
impl Noun for Changes {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, account_id) = (&seen.state, &*command.account_id);
        let (change, changes, account, owner) = try_join!(
            change(state, account_id, asked.id),
            changes(state, account_id),
            read::found(state, account_id),
            owner(state, &command.handle)
        )?;
        let rests_on = change.as_ref().map(|found| found.position).or(changes.as_ref().map(|found| found.position));
        let newest = account.as_ref().map(|found| found.row.newest()).unwrap_or_default();
        let before = Before {
            account: account.map(|found| found.row),
            change: change.map(|found| found.row),
            changes: changes.map(|found| found.row).unwrap_or_default(),
            owner,
            is_open: seen.events_open() >= HANDLE_EVENTS,
        };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The intent; `None`: it is in the log already, or the account has the handle. Whether it wins, the log says; refused here is what
    /// would lose as far as is known.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        let (Before { account, change, changes, owner, is_open }, handle) = (before, &command.handle);
        let account = match (account, change) {
            (None, _) => return Err(Rejection::NotFound),
            (Some(_), Some(change)) if change.payload_digest[..] == asked.digest[..] => return Ok(None),
            (Some(_), Some(_)) => return Err(Rejection::RequestIdReused),
            (Some(account), None) => account,
        };
        if !changes.under_way.is_empty() {
            return Err(Rejection::UnderWay);
        }
        if account.handle_key == handle.as_str() {
            return Ok(None);
        }
        if !is_open {
            return Err(Rejection::EventsNotOpen);
        }
        if let Some(barred) = command.barred {
            return Err(Rejection::Barred(barred));
        }
        if let Some(wait_us) = changes.times.wait_us(asked.at) {
            return Err(Rejection::TooOften { wait_us });
        }
        if owner.account_id != command.account_id && !owner.is_free_for(&command.account_id, asked.at) {
            return Err(Rejection::Taken);
        }
        let content = AccountContent { handle: handle.as_str().to_owned(), profile: None };
        Ok(Some(Private::HandleChangeRequested(HandleChangeRequested {
            account_id: command.account_id.clone(),
            handle_key: handle.as_str().to_owned(),
            content: Some(asked.close(&content)),
            from_handle_key: account.handle_key.clone(),
            request_time: Some(time::of_us(asked.at.0)),
            payload_digest: Bytes::copy_from_slice(&asked.digest),
            rules: 0,
        })))
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &kith_fold::Record) {}
}

impl Contests<rpc::ChangeHandle> for Changes {
    fn parse(service: &IdentityService, asked: &Asked, request: ChangeHandleRequest) -> Result<Command, Failure> {
        let handle = Handle::parse("handle", &request.handle)?;
        let barred = service.shared.barred_handles.bars(&handle);
        Ok(Command { account_id: asked.actor.clone(), handle, barred })
    }
}

#[async_trait]
impl Settles<rpc::ChangeHandle> for Changes {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<ChangeHandleResponse>, Unknown> {
        let account_id = &*command.account_id;
        let Some(change) = ended(seen, account_id, asked.id).await? else {
            // The account had the handle already.
            return won(seen, account_id, 0).await;
        };
        Ok(match change.outcome {
            WON => {
                let mut verdict = won(seen, account_id, change.settle_next).await?;
                if let (Verdict::Won(_, token), true) = (&mut verdict, change.settle_next > 0) {
                    token.add(left(seen, account_id, &change).await?);
                }
                verdict
            }
            TAKEN => Verdict::Lost(Rejection::Taken.into()),
            ANOTHER_UNDER_WAY => Verdict::Lost(Rejection::UnderWay.into()),
            TOO_OFTEN => {
                let times = changes(&seen.state, account_id).await?.map(|found| found.row.times).unwrap_or_default();
                Verdict::Lost(Rejection::TooOften { wait_us: times.wait_us(asked.at).unwrap_or_default() }.into())
            }
            _ => return Err(Unknown::defect("a change of a handle has ended as none does")),
        })
    }
}

/// Waits until it is known what comes of the change; `None`: it is in no table, so none was asked for.
async fn ended(seen: &Seen<'_>, account_id: &str, id: RecordId) -> Result<Option<ChangeRow>, WaitError> {
    if change(&seen.state, account_id, id).await?.is_none() {
        return Ok(None);
    }
    let look = || async {
        let found = change(&seen.state, account_id, id).await?;
        Ok(found.filter(|found| !found.row.is_under_way()).map(|found| found.row))
    };
    Ok(Some(seen.state.until((topics::IDENTITY_PRIVATE, account_id), seen.deadline.at(), look).await?))
}

/// The account, once the fact of the change is folded.
async fn won(seen: &Seen<'_>, account_id: &str, settle_next: i64) -> Result<Verdict<ChangeHandleResponse>, Unknown> {
    let (account, place) = read::until(seen, account_id, |account| account.handle_intent_next >= settle_next).await?;
    let account = Some(counted(&seen.state, account.present(&seen.opener(), account_id)).await?);
    Ok(Verdict::Won(ChangeHandleResponse { account, ..ChangeHandleResponse::default() }, place.into()))
}

/// Waits until nobody finds the account by its former handle; gives the place of that fact.
async fn left(seen: &Seen<'_>, account_id: &str, change: &ChangeRow) -> Result<Position, WaitError> {
    let key = Key::text(&change.from_handle_key);
    let look = || async {
        let found = seen.state.row::<HandleRow>(&HANDLES, &key, [account_id.into()]).await?;
        Ok(found.filter(|found| found.row.intent_next >= change.settle_next))
    };
    let found = seen.state.until((topics::IDENTITY, account_id), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::IDENTITY, account_id, seen.state.partition_count());
    Ok(Position { partition, offset: found.position })
}

async fn change(state: &State, account_id: &str, intent: RecordId) -> Result<Option<Found<ChangeRow>>, StoreError> {
    state.row::<ChangeRow>(&CHANGES, &Key::text(account_id), [intent.to_string().into()]).await
}

async fn changes(state: &State, account_id: &str) -> Result<Option<Found<ChangesSummary>>, StoreError> {
    let owner = (topics::IDENTITY_PRIVATE, account_id);
    state.summary::<ChangesSummary>(&CHANGES, &Key::text(account_id), owner).await
}
