//! Who an account is: `accounts` (by id) and `handles` (by handle), from `AccountCreated`, `ProfileUpdated`,
//! `HandleChanged`, `HandleLeft`, `AccountDeactivated` and `AccountReactivated`.

use kith_content::{Content, Opener};
use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_log::{Offset, RecordId};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    Account, AccountContent, AccountCreated, HandleChanged, HandleLeft, Profile, ProfileUpdated,
};
use kith_proto::{Event, time};
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

use crate::away::{self, AwayRow};
use crate::{are_ids, revision, signed};

/// A handle is 3 to 30 ASCII characters; one in a record that is longer was not made by us.
const HANDLE_BYTES_MAX: usize = 30;

/// Accounts that had one handle, one after the other, each for 30 days at the least: ten years of them.
const OWNERS_PER_HANDLE: usize = 128;

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
    /// An account. `intent_offset` is the position of the intent that made it.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct AccountRow in 0 {
        pub content: Content,
        pub create_time: Timestamp,
        pub intent_offset: i64,
        /// Its profile, once it had another one than the first.
        pub profile: Content,
        /// How often it had another one.
        pub updates: i64,
        /// The update whose intent comes next: one more than the offset of the last one applied.
        pub update_intent_next: i64,
        /// When it had its last other one.
        pub update_time: Timestamp,
        /// Whether it is away: nobody is to see it.
        pub away: bool,
        /// As `update_intent_next`, of the intents by which it is away, or back.
        pub away_intent_next: i64,
        /// The key of the handle that it has.
        pub handle_key: String,
        /// The key of the one that it was made with, once it had another.
        pub first_handle_key: String,
        /// Its handle, once it had another: an `AccountContent` without a profile.
        pub handle: Content,
        /// As `update_intent_next`, of the changes of its handle.
        pub handle_intent_next: i64,
        /// Whether it is private, as its profile says.
        pub private: bool,
    }
}
row! {
    /// Whether an account has the handle.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct HandleRow in 0 {
        pub held: bool,
        /// One more than the offset of the intent of the last change applied.
        pub intent_next: i64,
    }
}

impl AccountRow {
    /// What `AccountCreated` makes of a row that is not there yet.
    pub fn created(event: &AccountCreated, at: Timestamp) -> Self {
        Self {
            content: event.content.clone().unwrap_or_default(),
            create_time: at,
            intent_offset: signed(event.intent_offset),
            handle_key: event.handle_key.clone(),
            private: event.private,
            ..Self::default()
        }
    }

    /// Whether the change of its handle whose intent has that offset applies: only if it is later than the last one.
    pub fn takes_handle(&self, intent_offset: Offset) -> bool {
        revision::takes(self.handle_intent_next, intent_offset)
    }

    /// The key of the handle that it was made with.
    pub fn first_handle(&self) -> &str {
        if self.first_handle_key.is_empty() { &self.handle_key } else { &self.first_handle_key }
    }

    fn change_handle(&mut self, event: &HandleChanged) {
        if self.takes_handle(event.intent_offset) {
            let before = std::mem::replace(&mut self.handle_key, event.handle_key.clone());
            if self.first_handle_key.is_empty() {
                self.first_handle_key = before;
            }
            self.handle = event.content.clone().unwrap_or_default();
            self.handle_intent_next = revision::intent_after(event.intent_offset);
        }
    }

    /// Whether the update whose intent has that offset applies: only if it is later than the last one.
    pub fn takes_update(&self, intent_offset: Offset) -> bool {
        revision::takes(self.update_intent_next, intent_offset)
    }

    /// When the account last changed.
    pub fn newest(&self) -> Timestamp {
        self.create_time.max(self.update_time)
    }

    fn update(&mut self, event: &ProfileUpdated, at: Timestamp) {
        if self.takes_update(event.intent_offset) {
            self.profile = event.content.clone().unwrap_or_default();
            self.updates = i64::from(event.revision).saturating_sub(1);
            self.update_intent_next = revision::intent_after(event.intent_offset);
            self.update_time = at;
            self.private = event.private;
        }
    }

    /// Whether that it is away, or back, by the intent at that offset, applies: only if it is later than the last one.
    pub fn takes_away(&self, intent_offset: Offset) -> bool {
        revision::takes(self.away_intent_next, intent_offset)
    }

    fn leave_or_return(&mut self, change: &away::Change<'_>) {
        let known = AwayRow { away: self.away, intent_next: self.away_intent_next, ..AwayRow::default() };
        if let Some(AwayRow { away, intent_next, .. }) = known.after(change) {
            (self.away, self.away_intent_next) = (away, intent_next);
        }
    }

    /// The first profile is revision 1.
    pub fn profile_revision(&self) -> u32 {
        revision::after(self.updates)
    }

    /// The account as callers see it.
    pub fn present(self, opener: &Opener, account_id: &str) -> Account {
        let AccountContent { mut handle, profile } = opener.open(&self.content);
        if !self.first_handle_key.is_empty() {
            handle = opener.open::<AccountContent>(&self.handle).handle;
        }
        let profile_revision = self.profile_revision();
        let profile =
            if self.updates > 0 { opener.open::<Profile>(&self.profile) } else { profile.unwrap_or_default() };
        Account {
            account_id: account_id.to_owned(),
            handle,
            profile: Some(profile),
            create_time: Some(time::of_us(self.create_time.0)),
            profile_revision,
            counts: None,
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
        let change = away::Change::of(record).map(|change| change.account_id);
        let change = change.or_else(|| Some(&*changed(record)?.account_id));
        let account_id = match change.or_else(|| Some(&*updated(record)?.account_id)) {
            Some(account_id) => account_id,
            None => &created(record)?.account_id,
        };
        Some(Scope::new(&ACCOUNTS, Key::text(account_id)).with::<AccountRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let known = rows.get::<AccountRow>([]);
        if let (Some(event), None) = (created(record), &known) {
            rows.put([], AccountRow::created(event, record.time));
        }
        let Some(account) = known else { return };
        let mut after = account.clone();
        if let Some(event) = updated(record) {
            after.update(event, record.time);
        }
        if let Some(event) = changed(record) {
            after.change_handle(event);
        }
        if let Some(change) = away::Change::of(record) {
            after.leave_or_return(&change);
        }
        if after != account {
            rows.put([], after);
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
        let holding = Holding::of(record)?;
        Some(Scope::new(&HANDLES, Key::text(holding.handle)).with::<HandleRow>([holding.account_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(Holding { account_id, held, intent_offset, .. }) = Holding::of(record) else { return };
        let known = rows.get::<HandleRow>([account_id.into()]);
        let intent_next = intent_offset.map_or(0, revision::intent_after);
        let applies = match (&known, intent_offset) {
            (None, _) => true,
            (Some(row), Some(intent_offset)) => row.takes(intent_offset),
            (Some(_), None) => false,
        };
        if applies {
            rows.put([account_id.into()], HandleRow { held, intent_next });
        }
    }
}

impl HandleRow {
    /// Whether that the account has the handle, or has left it, by the intent at that offset, applies.
    pub fn takes(&self, intent_offset: Offset) -> bool {
        revision::takes(self.intent_next, intent_offset)
    }
}

/// That an account has a handle from a record on, or has it no more.
struct Holding<'a> {
    handle: &'a str,
    account_id: &'a str,
    held: bool,
    /// `None`: the account was made with it.
    intent_offset: Option<Offset>,
}

impl<'a> Holding<'a> {
    /// `None`: the record is about something else, or its ids can be no keys.
    fn of(record: &'a Record) -> Option<Self> {
        if let Some(AccountCreated { handle_key, account_id, .. }) = created(record) {
            return Some(Self { handle: handle_key, account_id, held: true, intent_offset: None });
        }
        if let Some(HandleChanged { handle_key, account_id, intent_offset, .. }) = changed(record) {
            return Some(Self { handle: handle_key, account_id, held: true, intent_offset: Some(*intent_offset) });
        }
        let Event::Identity(Identity::HandleLeft(event)) = &record.event else { return None };
        let HandleLeft { handle_key, account_id, intent_offset, .. } = event;
        let fits = handle_key.len() <= HANDLE_BYTES_MAX && are_ids(&[account_id]);
        fits.then_some(Self { handle: handle_key, account_id, held: false, intent_offset: Some(*intent_offset) })
    }
}

/// The accounts of these ids, in their order.
pub async fn account(state: &State, account_id: &str) -> Result<Option<AccountRow>, StoreError> {
    Ok(state.row::<AccountRow>(&ACCOUNTS, &Key::text(account_id), []).await?.map(|found| found.row))
}

/// The account that has this handle. For a moment two rows may say so: the account's own row says which handle it has.
pub async fn by_handle(state: &State, handle: &str) -> Result<Option<String>, StoreError> {
    let range = kith_tables::RowRange::all::<HandleRow>();
    let found: Vec<Found<HandleRow>> = state.slice(&HANDLES, &Key::text(handle), range, OWNERS_PER_HANDLE).await?;
    Ok(found.iter().find(|found| found.row.held).map(|found| found.text(0).to_owned()))
}

fn updated(record: &Record) -> Option<&ProfileUpdated> {
    match &record.event {
        Event::Identity(Identity::ProfileUpdated(event)) => are_ids(&[&event.account_id]).then_some(event),
        _ => None,
    }
}

fn changed(record: &Record) -> Option<&HandleChanged> {
    match &record.event {
        Event::Identity(Identity::HandleChanged(event)) => {
            let fits = event.handle_key.len() <= HANDLE_BYTES_MAX && are_ids(&[&event.account_id]);
            fits.then_some(event)
        }
        _ => None,
    }
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

#[cfg(test)]
mod tests;
