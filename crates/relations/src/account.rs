//! Who an account is: `accounts` (by id) and `handles` (by handle), from `AccountCreated`.

use kith_content::{Content, Opener};
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::RecordId;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Account, AccountContent, AccountCreated};
use kith_proto::{Event, time};
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

/// A handle is 3 to 30 ASCII characters; one in a record that is longer was not made by us.
const HANDLE_BYTES_MAX: usize = 30;

pub static ACCOUNTS: Table = Table {
    name: "accounts",
    partition: &[Column::text("account_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<AccountRow>("account")],
    summary: &[],
};

pub static HANDLES: Table = Table {
    name: "handles",
    partition: &[Column::text("handle")],
    clustering: &[Column::text("account_id")],
    order: Order::Ascending,
    sections: &[Section::of::<HandleRow>("handle")],
    summary: &[],
};

row! {
    /// An account. `intent_offset` is the position of the intent that made it, the highest applied.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct AccountRow in 0 {
        pub content: Content,
        pub create_time: Timestamp,
        pub intent_offset: i64,
    }
}
row! {
    /// That an account has the handle.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct HandleRow in 0 { pub held: bool }
}

impl AccountRow {
    /// What `AccountCreated` makes of a row that is not there yet.
    pub fn created(event: &AccountCreated, at: Timestamp) -> Self {
        Self {
            content: event.content.clone().unwrap_or_default(),
            create_time: at,
            intent_offset: i64::try_from(event.intent_offset).unwrap_or(i64::MAX),
        }
    }

    /// The account as callers see it.
    pub fn present(self, opener: &Opener, account_id: &str) -> Account {
        let AccountContent { handle, profile } = opener.open(&self.content);
        Account {
            account_id: account_id.to_owned(),
            handle,
            profile: Some(profile.unwrap_or_default()),
            create_time: Some(time::of_us(self.create_time.0)),
        }
    }
}

/// Folds accounts by id.
pub struct Accounts;

impl Fold for Accounts {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&ACCOUNTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = created(record)?;
        Some(Scope::new(&ACCOUNTS, Key::text(&event.account_id)).with::<AccountRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let (Some(event), None) = (created(record), rows.get::<AccountRow>([])) {
            rows.put([], AccountRow::created(event, record.time));
        }
    }
}

/// Folds which account has a handle.
pub struct Handles;

impl Fold for Handles {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&HANDLES]
    }

    /// One handle's accounts lie in several log partitions; each has a row of its own.
    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = created(record)?;
        Some(Scope::new(&HANDLES, Key::text(&event.handle_key)).with::<HandleRow>([event.account_id.as_str().into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let Some(event) = created(record) {
            rows.put([event.account_id.as_str().into()], HandleRow { held: true });
        }
    }
}

/// The accounts of these ids, in their order.
pub async fn account(state: &State, account_id: &str) -> Result<Option<AccountRow>, StoreError> {
    Ok(state.row::<AccountRow>(&ACCOUNTS, &Key::text(account_id), []).await?.map(|found| found.row))
}

/// The account that has this handle.
pub async fn by_handle(state: &State, handle: &str) -> Result<Option<String>, StoreError> {
    let range = kith_tables::RowRange::all::<HandleRow>();
    let found: Vec<Found<HandleRow>> = state.slice(&HANDLES, &Key::text(handle), range, 16).await?;
    Ok(found.iter().find(|found| found.row.held).map(|found| found.text(0).to_owned()))
}

/// A record whose ids can be no keys concerns nobody.
fn created(record: &Record) -> Option<&AccountCreated> {
    match &record.event {
        Event::Identity(Identity::AccountCreated(event)) => {
            let fits = event.handle_key.len() <= HANDLE_BYTES_MAX && RecordId::parse(&event.account_id).is_some();
            fits.then_some(event)
        }
        _ => None,
    }
}
