//! Whether an account is there or away: deactivated by its owner, and brought back. The intents in the private topic say it, in the
//! same order as they say which sessions begin; of one that changes it the arbiter appends the fact.

mod back;

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{AWAY_EVENTS, Append, Contest, Found, Record, State, WaitError};
use kith_log::{Offset, Position, RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::AccountStateRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountDeactivated, AccountReactivated, DeactivateAccountResponse, rpc};
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_relations::are_ids;
use kith_service::call::Call;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{self, Settles, Verdict};
use kith_service::kit::Seen;
use kith_service::{Failure, ids};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, row};

use crate::session::command::load as load_sessions;
use crate::session::revoked::is_told_account;
use crate::{IdentityService, read};

pub use back::reactivate;

pub static PRESENCES: Table = Table {
    name: "presences",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: PresenceSummary::COLUMNS,
};

row! {
    /// The verdict on an intent. Its row's position is the intent's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        /// Whether it changed anything.
        pub won: bool,
        pub payload_digest: Bytes,
    }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PresenceSummary in 0 {
        pub away: bool,
        /// The offset of the intent that made it so, and 1; 0: none did.
        pub since_next: i64,
    }
}

/// Asks that an account be away, or there.
#[derive(Debug, Clone)]
pub struct Command {
    pub account_id: String,
    pub deactivates: bool,
}

/// What is known about an account that is to leave or to come back.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub exists: bool,
    pub away: bool,
    /// The verdict, if the same intent has been asked for before.
    pub claim: Option<ClaimRow>,
    /// Whether the version of the events is open that has it.
    pub is_open: bool,
}

/// Why an account neither leaves nor comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("account was not found")]
    NotFound,
    #[error("the request id was used for another request")]
    RequestIdReused,
    #[error("operators have not opened the version of the events that has accounts that are away")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
        }
    }
}

/// Whether accounts are there or away, and the RPCs that ask.
pub struct Presences;

impl Contest for Presences {
    type Intent = AccountStateRequested;
    type Summary = PresenceSummary;
    type Claim = ClaimRow;
    type Subject = AccountRow;

    const CLAIMS: &'static Table = &PRESENCES;
    const SUBJECTS: &'static Table = &ACCOUNTS;

    fn intent(record: &Record) -> Option<&AccountStateRequested> {
        match &record.event {
            Event::IdentityPrivate(Private::AccountStateRequested(event)) => {
                are_ids(&[&event.account_id]).then_some(event)
            }
            _ => None,
        }
    }

    fn contended(event: &AccountStateRequested) -> Key {
        Key::text(&event.account_id)
    }

    /// What is so already is not changed.
    fn judge(summary: &mut PresenceSummary, event: &AccountStateRequested, record: &Record) -> ClaimRow {
        let won = summary.away != event.deactivates;
        if won {
            let since_next = kith_relations::revision::intent_after(record.position.offset);
            *summary = PresenceSummary { away: event.deactivates, since_next };
        }
        ClaimRow { won, payload_digest: event.payload_digest.clone() }
    }

    fn fact(event: &AccountStateRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        claim.won.then(|| won(event, record))
    }

    fn is_due(account: Option<&AccountRow>, intent_offset: Offset) -> bool {
        // The intent had seen the account: a row that is not there is not there yet.
        account.is_none_or(|account| account.takes_away(intent_offset))
    }
}

/// The fact that follows from a won intent.
fn won(event: &AccountStateRequested, record: &Record) -> Append {
    let (account_id, intent_offset) = (event.account_id.clone(), record.position.offset);
    let at = Some(time::of_us(record.time.0));
    let (what, fact) = match event.deactivates {
        true => {
            let fact = AccountDeactivated { account_id, deactivate_time: at, intent_offset };
            (&b"AccountDeactivated"[..], Identity::AccountDeactivated(fact))
        }
        false => {
            let fact = AccountReactivated { account_id, reactivate_time: at, intent_offset };
            (&b"AccountReactivated"[..], Identity::AccountReactivated(fact))
        }
    };
    Append {
        topic: topics::IDENTITY,
        key: event.account_id.clone(),
        id: ids::item_id(record.id, what),
        event: fact.into(),
        cause: record.cause(),
    }
}

#[async_trait]
impl Noun for Presences {
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
        let key = Key::text(account_id);
        let claim = state.row::<ClaimRow>(&PRESENCES, &key, [asked.id.to_string().into()]);
        let (claim, summary, account) = try_join!(claim, summary(state, account_id), read::found(state, account_id))?;
        let newest = account.as_ref().map(|account| account.row.newest()).unwrap_or_default();
        let last = summary.row.since_next.checked_sub(1).and_then(|last| u64::try_from(last).ok());
        let rests_on = claim.as_ref().map(|claim| claim.position).or(last);
        let (claim, away) = (claim.map(|claim| claim.row), summary.row.away);
        let is_open = seen.events_open() >= AWAY_EVENTS;
        Ok(Standing::new(Before { exists: account.is_some(), away, claim, is_open }, rests_on).after(newest))
    }

    /// The intent; `None`: it is in the log already, or the account is so.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        match &before.claim {
            _ if !before.exists => Err(Rejection::NotFound),
            Some(claim) if claim.payload_digest[..] == asked.digest[..] => Ok(None),
            Some(_) => Err(Rejection::RequestIdReused),
            None if before.away == command.deactivates => Ok(None),
            None if !before.is_open => Err(Rejection::EventsNotOpen),
            None => Ok(Some(Private::AccountStateRequested(AccountStateRequested {
                account_id: command.account_id.clone(),
                deactivates: command.deactivates,
                request_time: Some(time::of_us(asked.at.0)),
                payload_digest: Bytes::copy_from_slice(&asked.digest),
                rules: 0,
            }))),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &Record) {}
}

/// Answers `DeactivateAccount`: a repeat comes also from a service whose account is away by now.
pub async fn deactivate(
    service: &IdentityService,
    call: Call<rpc::DeactivateAccount>,
) -> Result<DeactivateAccountResponse, Failure> {
    let kit = &service.shared.kit;
    let Call { asker, deadline, request } = call;
    let asked = Asked::of::<rpc::DeactivateAccount>(&asker, &request, kit)?;
    let seen = kit.see_for_absent(&asker, &kit.parse_tokens(&request.at_least)?, deadline).await?;
    let command = Command { account_id: asked.actor.clone(), deactivates: true };
    contest::enter::<Presences, rpc::DeactivateAccount>(&seen, asked, command).await
}

#[async_trait]
impl Settles<rpc::DeactivateAccount> for Presences {
    /// Waits until the account is away for everybody who brings the token, and until its ended sessions stand in the topic that
    /// processes follow.
    async fn settle(
        seen: &Seen<'_>,
        _: &Asked,
        command: &Command,
    ) -> Result<Verdict<DeactivateAccountResponse>, Unknown> {
        let account_id = &*command.account_id;
        let (_, place) = reached(seen, account_id).await?;
        let told = || async {
            let account = load_sessions(&seen.state, account_id, "").await?.before.account;
            Ok(is_told_account(&seen.state, account_id, &account).await?.then_some(()))
        };
        let revocations = (topics::REVOCATIONS, kith_service::auth::REVOCATIONS_KEY);
        seen.state.until(revocations, seen.deadline.at(), told).await?;
        Ok(Verdict::Won(DeactivateAccountResponse::default(), place.into()))
    }
}

/// Waits until the fact of the last intent that changed anything is folded; gives the account and the fact's place. A command that
/// finds another's change in effect is answered with that one's.
async fn reached(seen: &Seen<'_>, account_id: &str) -> Result<(AccountRow, Position), WaitError> {
    let since = summary(&seen.state, account_id).await?.row.since_next;
    read::until(seen, account_id, |account| account.away_intent_next >= since).await
}

/// What the intents so far come to.
async fn summary(state: &State, account_id: &str) -> Result<Found<PresenceSummary>, StoreError> {
    let owner = (topics::IDENTITY_PRIVATE, account_id);
    let found = state.summary::<PresenceSummary>(&PRESENCES, &Key::text(account_id), owner).await?;
    let none = Found { clustering: Vec::new(), position: 0, row: PresenceSummary::default() };
    Ok(found.unwrap_or(none))
}

/// The id of an account whose key a handler has.
fn account_id_of(text: &str) -> Result<RecordId, Failure> {
    RecordId::parse(text).ok_or_else(Failure::internal)
}

#[cfg(test)]
mod tests;
