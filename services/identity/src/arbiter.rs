//! Who has a handle: as the intents about it say in their order. The account of one that is made with it is then a fact; of an account
//! that changes its handle, what came of the claim is told to the account's own partition, where the change goes on.

use bytes::Bytes;
use kith_content::Content;
use kith_fold::{Append, Effect, Fold, Found, Record, Rows, Scope, State};
use kith_log::{RecordId, topics};
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::private::v1::{AccountRequested, HandleChangeSettled, HandleClaimRequested, HandleReleased};
use kith_proto::identity::v1::AccountCreated;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_relations::revision::intent_after;
use kith_service::ids;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, Value, row};

use crate::change_row::{CHANGES, ChangeRow};
use crate::handle::Handle;

pub static CLAIMS: Table = Table {
    name: "claims",
    partition: &[Column::text("handle")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: OwnerSummary::COLUMNS,
};

row! {
    /// The verdict on an intent, or on a release. Its row's position is the record's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        /// Whether the account got the handle, or has given it up.
        pub won: bool,
        pub account_id: String,
        pub winning_event_id: String,
        /// Of an account that was made with the handle, as are the next ones.
        pub password_hash: String,
        pub content: Content,
        pub create_time: Timestamp,
        pub payload_digest: Bytes,
    }
}
row! {
    /// Who has the handle, after all verdicts.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct OwnerSummary in 0 {
        /// Empty: nobody.
        pub account_id: String,
        /// One more than the offset of the change, in the account's partition, by which it got the handle; 0: it was made with it.
        pub change_next: i64,
        /// Who has given it up last; empty: nobody.
        pub held_for: String,
        /// From when on others may have it.
        pub free_time: Timestamp,
    }
}

impl OwnerSummary {
    /// Whether the account could get the handle by a request of that time.
    pub fn is_free_for(&self, account_id: &str, at: Timestamp) -> bool {
        let is_held = !self.held_for.is_empty() && self.held_for != account_id && at < self.free_time;
        self.account_id.is_empty() && !is_held
    }

    fn create(&mut self, intent: &AccountRequested, record: &Record) -> ClaimRow {
        let (account_id, winning_event_id) = (intent.account_id.clone(), record.id.to_string());
        if !self.is_free_for(&account_id, record.time) {
            return ClaimRow { account_id, winning_event_id, ..ClaimRow::default() };
        }
        *self = Self { account_id: account_id.clone(), ..Self::default() };
        ClaimRow {
            won: true,
            account_id,
            winning_event_id,
            password_hash: intent.password_hash.clone(),
            content: intent.content.clone().unwrap_or_default(),
            create_time: record.time,
            payload_digest: intent.payload_digest.clone(),
        }
    }

    /// Who has the handle keeps it: its release by an earlier change may still be on its way.
    fn claim(&mut self, intent: &HandleClaimRequested, record: &Record) -> ClaimRow {
        let (account_id, winning_event_id) = (intent.account_id.clone(), record.id.to_string());
        let won = self.account_id == account_id || self.is_free_for(&account_id, record.time);
        if won {
            let change_next = intent_after(intent.change_offset);
            *self = Self { account_id: account_id.clone(), change_next, ..Self::default() };
        }
        ClaimRow { won, account_id, winning_event_id, ..ClaimRow::default() }
    }

    /// One that comes after the account got the handle anew ends nothing.
    fn release(&mut self, release: &HandleReleased, record: &Record) -> ClaimRow {
        let (account_id, winning_event_id) = (release.account_id.clone(), record.id.to_string());
        let won = self.account_id == account_id && self.change_next < intent_after(release.settle_offset);
        if won {
            let free_time = Timestamp(time::unix_us(release.free_time.as_ref()));
            *self = Self { held_for: account_id.clone(), free_time, ..Self::default() };
        }
        ClaimRow { won, account_id, winning_event_id, ..ClaimRow::default() }
    }
}

/// A record about who has a handle.
#[derive(Clone, Copy)]
enum Asks<'a> {
    Account(&'a AccountRequested),
    Change(&'a HandleClaimRequested),
    Release(&'a HandleReleased),
}

impl<'a> Asks<'a> {
    /// `None`: the record is about something else, or its ids can be no keys.
    fn of(record: &'a Record) -> Option<Self> {
        let Event::IdentityPrivate(event) = &record.event else { return None };
        let (asks, handle, ids) = match event {
            Private::AccountRequested(event) => (Self::Account(event), &event.handle_key, [&event.account_id; 2]),
            Private::HandleClaimRequested(event) => {
                (Self::Change(event), &event.handle_key, [&event.account_id, &event.change_id])
            }
            Private::HandleReleased(event) => (Self::Release(event), &event.handle_key, [&event.account_id; 2]),
            _ => return None,
        };
        let fits = Handle::normalised(handle).is_some() && ids.iter().all(|id| RecordId::parse(id).is_some());
        fits.then_some(asks)
    }

    fn handle(self) -> Key {
        Key::text(match self {
            Self::Account(event) => &event.handle_key,
            Self::Change(event) => &event.handle_key,
            Self::Release(event) => &event.handle_key,
        })
    }

    /// The row of the verdict. The intent of a new account has the account's id.
    fn place(self, record: &Record) -> [Value; 1] {
        match self {
            Self::Account(event) => [event.account_id.as_str().into()],
            Self::Change(_) | Self::Release(_) => [record.id.to_string().into()],
        }
    }
}

/// Who gets a handle, and the RPC that asks for an account with one.
pub struct Claims;

impl Fold for Claims {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CLAIMS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let asks = Asks::of(record)?;
        Some(Scope::new(&CLAIMS, asks.handle()).with::<ClaimRow>(asks.place(record)))
    }

    /// A late copy finds the verdict of the first.
    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(asks) = Asks::of(record) else { return };
        let place = asks.place(record);
        if rows.get::<ClaimRow>(place.clone()).is_some() {
            return;
        }
        let mut owner: OwnerSummary = rows.summary();
        let claim = match asks {
            Asks::Account(intent) => owner.create(intent, record),
            Asks::Change(intent) => owner.claim(intent, record),
            Asks::Release(release) => owner.release(release, record),
        };
        rows.put(place, claim);
        rows.set_summary(owner);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(asks) = Asks::of(record) else { return Vec::new() };
        let place = asks.place(record);
        let made_the_row = rows.position::<ClaimRow>(place.clone()) == Some(record.position.offset);
        let Some(claim) = rows.get::<ClaimRow>(place).filter(|_| made_the_row) else { return Vec::new() };
        let follows = match asks {
            Asks::Account(intent) => claim.won.then(|| created(intent, &claim, record)),
            Asks::Change(intent) => Some(settled(intent, claim.won, record)),
            Asks::Release(_) => None,
        };
        follows.into_iter().collect()
    }

    fn appends(&self) -> bool {
        true
    }
}

/// The account whose intent won.
fn created(intent: &AccountRequested, claim: &ClaimRow, record: &Record) -> Effect {
    let fact = AccountCreated {
        account_id: claim.account_id.clone(),
        handle_key: intent.handle_key.clone(),
        content: Some(claim.content.clone()),
        create_time: Some(time::of_us(claim.create_time.0)),
        intent_offset: record.position.offset,
        issuer: intent.issuer.clone(),
        identity_key: intent.identity_key.clone(),
        private: intent.private,
    };
    let append = Append {
        topic: topics::IDENTITY,
        key: claim.account_id.clone(),
        id: ids::item_id(record.id, b"AccountCreated"),
        event: Identity::AccountCreated(fact).into(),
        cause: record.cause(),
    };
    let partition = Key::text(&claim.account_id);
    Effect::append_if::<AccountRow>(append, (&ACCOUNTS, partition), [], |account| account.is_none())
}

/// What came of the claim of a change, for the account's partition.
fn settled(intent: &HandleClaimRequested, won: bool, record: &Record) -> Effect {
    let event = HandleChangeSettled {
        account_id: intent.account_id.clone(),
        change_id: intent.change_id.clone(),
        won,
        settle_time: Some(time::of_us(record.time.0)),
    };
    let append = Append {
        topic: topics::IDENTITY_PRIVATE,
        key: intent.account_id.clone(),
        id: ids::item_id(record.id, b"HandleChangeSettled"),
        event: Private::HandleChangeSettled(event).into(),
        cause: record.cause(),
    };
    let (partition, place) = (Key::text(&intent.account_id), [intent.change_id.as_str().into()]);
    let is_due = |change: Option<&ChangeRow>| change.is_none_or(ChangeRow::is_under_way);
    Effect::append_if::<ChangeRow>(append, (&CHANGES, partition), place, is_due)
}

/// The verdict on the intent of an account to be made with the handle, at the position of the intent.
pub async fn claim(state: &State, handle: &str, account_id: &str) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&CLAIMS, &Key::text(handle), [account_id.into()]).await
}

/// What the account was made by.
pub async fn made_by(state: &State, account_id: &str, account: &AccountRow) -> Result<Option<ClaimRow>, StoreError> {
    Ok(claim(state, account.first_handle(), account_id).await?.map(|found| found.row))
}

/// Who has the handle, as far as the claims on it say: the account's row may not say so yet.
pub async fn owner(state: &State, handle: &Handle) -> Result<OwnerSummary, StoreError> {
    let (key, place) = (handle.key(), Key::text(handle.as_str()));
    let found = state.summary::<OwnerSummary>(&CLAIMS, &place, (topics::IDENTITY_PRIVATE, &key)).await?;
    Ok(found.map(|found| found.row).unwrap_or_default())
}

#[cfg(test)]
mod tests;
