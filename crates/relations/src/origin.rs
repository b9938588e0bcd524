//! Where an account comes from: that it exists, and the identities of trusted issuers that are linked to it. From `AccountCreated`,
//! `IdentityLinked`, `IdentityUnlinked`, `AccountDeactivated` and `AccountReactivated`. Every group folds it, so that every service knows for which accounts a calling service
//! may act.

use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::Offset;
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_tables::{Column, Key, Order, RowRange, Section, StoreError, Table, Value, row};

use crate::{are_ids, away, revision};

/// Rows of one account that are looked through: the account's own, and identities that are, or ever were, linked to it.
const IDENTITIES_MAX: usize = 65;
/// Longer names would be no keys; one in a record that is longer was not made by us.
const ISSUER_BYTES_MAX: usize = 255;
const IDENTITY_KEY_CHARS: usize = 64;

pub static ORIGINS: Table = Table {
    name: "origins",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("issuer"), Column::text("identity_key")],
    order: Order::Ascending,
    sections: &[Section::of::<OriginRow>("origin")],
    summary: &[],
};

row! {
    /// Under no issuer: that the account exists, and whether it is there or away. Under an issuer: whether that identity of it is linked to the account.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct OriginRow in 0 {
        pub stands: bool,
        /// One past the offset of the last intent applied: a fact whose intent is below changes nothing.
        pub intent_next: i64,
    }
}

/// What a record says of an account.
enum Change<'a> {
    Created,
    Away(away::Change<'a>),
    Linked { issuer: &'a str, identity_key: &'a str, stands: bool, intent_offset: Offset },
}

/// Folds origins.
pub struct Origins;

impl Fold for Origins {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&ORIGINS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (account_id, change) = change(record)?;
        Some(Scope::new(&ORIGINS, Key::text(account_id)).with::<OriginRow>(change.place()))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, change)) = change(record) else { return };
        let known = rows.get::<OriginRow>(change.place()).unwrap_or_default();
        let now = match change {
            // A late copy brings nobody back.
            Change::Created if known != OriginRow::default() => return,
            Change::Created => OriginRow { stands: true, intent_next: 0 },
            Change::Away(change) if takes(&known, change.intent_offset) => {
                OriginRow { stands: !change.away, intent_next: revision::intent_after(change.intent_offset) }
            }
            Change::Away(_) => return,
            Change::Linked { stands, intent_offset, .. } if takes(&known, intent_offset) => {
                let intent_next = i64::try_from(intent_offset).map_or(i64::MAX, |offset| offset.saturating_add(1));
                OriginRow { stands, intent_next }
            }
            Change::Linked { .. } => return,
        };
        rows.put(change.place(), now);
    }
}

impl Presence {
    fn of(row: &OriginRow) -> Self {
        if row.stands { Self::Here } else { Self::Away }
    }
}

impl Change<'_> {
    fn place(&self) -> [Value; 2] {
        match self {
            Self::Created | Self::Away(_) => place("", ""),
            Self::Linked { issuer, identity_key, .. } => place(issuer, identity_key),
        }
    }
}

/// Where an account's row has that identity.
pub fn place(issuer: &str, identity_key: &str) -> [Value; 2] {
    [issuer.into(), identity_key.into()]
}

/// Whether a fact of the intent at that offset still changes the row.
pub fn takes(row: &OriginRow, intent_offset: Offset) -> bool {
    i64::try_from(intent_offset).is_ok_and(|offset| row.intent_next <= offset)
}

/// Whether issuer and identity can be in keys.
pub fn is_identity(issuer: &str, identity_key: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (1..=ISSUER_BYTES_MAX).contains(&issuer.len()) && identity_key.len() == IDENTITY_KEY_CHARS && is_hex(identity_key)
}

/// What a calling service is to know of an account before it acts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is no such account, or none of the issuer.
    None,
    Here,
    Away,
}

/// Whether there is such an account.
pub async fn presence(state: &State, account_id: &str) -> Result<Presence, StoreError> {
    let found = state.row::<OriginRow>(&ORIGINS, &Key::text(account_id), place("", "")).await?;
    Ok(found.map_or(Presence::None, |found| Presence::of(&found.row)))
}

/// Whether there is such an account and an identity of the issuer is linked to it. One read, as of the account alone.
pub async fn presence_of_issuer(state: &State, account_id: &str, issuer: &str) -> Result<Presence, StoreError> {
    let range = RowRange::all::<OriginRow>();
    let found: Vec<Found<OriginRow>> = state.slice(&ORIGINS, &Key::text(account_id), range, IDENTITIES_MAX).await?;
    let is_linked = found.iter().any(|found| found.text(0) == issuer && found.row.stands);
    let own = found.iter().find(|found| found.text(0).is_empty()).filter(|_| is_linked);
    Ok(own.map_or(Presence::None, |found| Presence::of(&found.row)))
}

/// The account's row of that identity.
pub async fn link(
    state: &State,
    account_id: &str,
    issuer: &str,
    identity_key: &str,
) -> Result<Option<Found<OriginRow>>, StoreError> {
    state.row::<OriginRow>(&ORIGINS, &Key::text(account_id), place(issuer, identity_key)).await
}

/// A record whose ids can be no keys concerns nobody.
fn change(record: &Record) -> Option<(&str, Change<'_>)> {
    let Event::Identity(event) = &record.event else { return None };
    let (account_id, change) = match event {
        Identity::AccountCreated(event) => (&event.account_id, Change::Created),
        Identity::AccountDeactivated(_) | Identity::AccountReactivated(_) => {
            let change = away::Change::of(record)?;
            return Some((change.account_id, Change::Away(change)));
        }
        Identity::IdentityLinked(event) => {
            let (issuer, identity_key) = (&*event.issuer, &*event.identity_key);
            let intent_offset = event.intent_offset;
            (&event.account_id, Change::Linked { issuer, identity_key, stands: true, intent_offset })
        }
        Identity::IdentityUnlinked(event) => {
            let (issuer, identity_key) = (&*event.issuer, &*event.identity_key);
            let intent_offset = event.intent_offset;
            (&event.account_id, Change::Linked { issuer, identity_key, stands: false, intent_offset })
        }
        _ => return None,
    };
    let fits = match change {
        Change::Created | Change::Away(_) => true,
        Change::Linked { issuer, identity_key, .. } => is_identity(issuer, identity_key),
    };
    (fits && are_ids(&[account_id])).then_some((&**account_id, change))
}
