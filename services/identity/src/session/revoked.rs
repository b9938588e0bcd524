//! What is told to every process of sessions that are over: the facts in `kith.revocations.v1`, and which of them are there.

use std::sync::Arc;

use kith_fold::{Append, Effect, Fold, Record, Rows, Scope, State};
use kith_log::{RecordId, topics};
use kith_proto::revocations::v1::revocation_event::Event as Revocation;
use kith_proto::revocations::v1::{AccountSessionsRevoked, SessionRevoked};
use kith_proto::{Event, time};
use kith_service::auth::REVOCATIONS_KEY;
use kith_service::ids;
use kith_tables::{Column, Key, Order, Row, RowKey, Section, StoreError, Table, Timestamp, row};

use super::{Account, number};

pub static REVOKED: Table = Table {
    name: "revoked_sessions",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("session_id")],
    order: Order::Ascending,
    sections: &[Section::of::<RevokedRow>("revoked")],
    summary: &[],
};

row! {
    /// That processes are told of a session, or, under no id, of the account's older ones.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct RevokedRow in 0 {
        /// Of the account's: those from before this place.
        pub before: i64,
    }
}

/// The session of rows that are about all of an account's.
const ALL: &str = "";

/// Folds what was told, by account.
pub struct Revoked;

impl Fold for Revoked {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&REVOKED]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (account_id, session_id, _) = told(record)?;
        Some(Scope::new(&REVOKED, Key::text(account_id)).with::<RevokedRow>([session_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, session_id, before)) = told(record) else { return };
        let known = rows.get::<RevokedRow>([session_id.into()]);
        if known.is_none_or(|known| known.before < before) {
            rows.put([session_id.into()], RevokedRow { before });
        }
    }
}

fn told(record: &Record) -> Option<(&str, &str, i64)> {
    match &record.event {
        Event::Revocations(Revocation::SessionRevoked(event)) => Some((&event.account_id, &event.session_id, 0)),
        Event::Revocations(Revocation::AccountSessionsRevoked(event)) => {
            Some((&event.account_id, ALL, number(event.before)))
        }
        _ => None,
    }
}

/// Tells of one session, unless that was done.
pub fn tell_session(account_id: &str, session_id: &str, at: Timestamp, record: &Record) -> Effect {
    let event = Revocation::SessionRevoked(SessionRevoked {
        session_id: session_id.to_owned(),
        account_id: account_id.to_owned(),
        revoke_time: Some(time::of_us(at.0)),
    });
    let id = ids::item_id(RecordId::parse(session_id).unwrap_or_default(), b"SessionRevoked");
    tell(account_id, session_id, 0, append(id, event, record))
}

/// Tells of all sessions that are over by now for being older than something, unless that was done: a function of the rows.
pub fn tell_account(account_id: &str, account: &Account, record: &Record) -> Option<Effect> {
    let before = u64::try_from(account.ended_before).ok().filter(|before| *before > 0)?;
    let event = Revocation::AccountSessionsRevoked(AccountSessionsRevoked {
        account_id: account_id.to_owned(),
        before,
        kept_session_id: account.kept_session_id.clone(),
        revoke_time: Some(time::of_us(record.time.0)),
    });
    let id = ids::item_id(RecordId::parse(account_id).unwrap_or_default(), &before.to_be_bytes());
    Some(tell(account_id, ALL, account.ended_before, append(id, event, record)))
}

fn append(id: RecordId, event: Revocation, record: &Record) -> Append {
    let key = REVOCATIONS_KEY.to_owned();
    Append { topic: topics::REVOCATIONS, key, id, event: event.into(), cause: record.cause() }
}

fn tell(account_id: &str, session_id: &str, before: i64, append: Append) -> Effect {
    let rows = vec![RowKey::of::<RevokedRow>([session_id.into()])];
    let then = move |found: &[Option<Row>]| {
        let known = found.first().and_then(Option::as_ref).and_then(Row::read::<RevokedRow>);
        let is_told = known.is_some_and(|known| known.before >= before);
        if is_told { Vec::new() } else { vec![Effect::append(append.clone())] }
    };
    Effect::Read { table: &REVOKED, partition: Key::text(account_id), rows, then: Arc::new(then) }
}

/// Whether processes are told that this session is over.
pub async fn is_told_session(state: &State, account_id: &str, session_id: &str) -> Result<bool, StoreError> {
    Ok(row(state, account_id, session_id).await?.is_some())
}

/// Whether processes are told of all that is over for being older than something.
pub async fn is_told_account(state: &State, account_id: &str, account: &Account) -> Result<bool, StoreError> {
    let before = row(state, account_id, ALL).await?.map_or(0, |row| row.before);
    Ok(before >= account.ended_before)
}

async fn row(state: &State, account_id: &str, session_id: &str) -> Result<Option<RevokedRow>, StoreError> {
    let found = state.row::<RevokedRow>(&REVOKED, &Key::text(account_id), [session_id.into()]).await?;
    Ok(found.map(|found| found.row))
}
