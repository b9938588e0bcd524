//! Who has a handle: the first valid intent of it in the log, for ever. The winner's account is then a fact.

use std::sync::Arc;

use bytes::Bytes;
use kith_fold::{Append, Effect, Fold, Found, Record, Rows, Scope, State};
use kith_log::{RecordId, topics};
use kith_proto::identity::private::v1::AccountRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountCreated, Profile};
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_service::ids;
use kith_tables::{Column, Key, Order, Row, RowKey, Section, StoreError, Table, Timestamp, row};

use crate::handle::Handle;

pub static CLAIMS: Table = Table {
    name: "claims",
    partition: &[Column::text("handle")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: &[],
};

row! {
    /// The intent that won the handle; the row's position is that intent's.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        pub account_id: String,
        pub winning_event_id: String,
        pub password_hash: String,
        pub display_name: String,
        pub bio: String,
        pub create_time: Timestamp,
        pub payload_digest: Bytes,
    }
}

/// Folds who has a handle, and appends the account of the winner.
pub struct Claims;

impl Fold for Claims {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CLAIMS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let intent = valid(record)?;
        Some(Scope::new(&CLAIMS, Key::text(&intent.handle)).with::<ClaimRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let (Some(intent), None) = (valid(record), rows.get::<ClaimRow>([])) {
            rows.put([], ClaimRow::won(intent, record));
        }
    }

    /// Of two copies of the winning record only the first made the row.
    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let offset = record.position.offset;
        match (valid(record), rows.get::<ClaimRow>([])) {
            (Some(intent), Some(claim)) if rows.position::<ClaimRow>([]) == Some(offset) => {
                vec![create_account(claim, &intent.handle, record)]
            }
            _ => Vec::new(),
        }
    }

    fn appends(&self) -> bool {
        true
    }
}

impl ClaimRow {
    fn won(intent: &AccountRequested, record: &Record) -> Self {
        let Profile { display_name, bio } = intent.profile.clone().unwrap_or_default();
        Self {
            account_id: intent.account_id.clone(),
            winning_event_id: record.id.to_string(),
            password_hash: intent.password_hash.clone(),
            display_name,
            bio,
            create_time: record.time,
            payload_digest: intent.payload_digest.clone(),
        }
    }
}

/// The claim on a handle, at the position of the intent that won it.
pub async fn claim(state: &State, handle: &Handle) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&CLAIMS, &Key::text(handle.as_str()), []).await
}

/// An intent that can win. Others are as if they had not been made.
fn valid(record: &Record) -> Option<&AccountRequested> {
    match &record.event {
        Event::IdentityPrivate(Private::AccountRequested(intent)) => {
            let valid = Handle::normalised(&intent.handle).is_some() && RecordId::parse(&intent.account_id).is_some();
            valid.then_some(intent)
        }
        _ => None,
    }
}

/// Appends `AccountCreated` unless the account is there.
fn create_account(claim: ClaimRow, handle: &str, intent: &Record) -> Effect {
    let account_id = claim.account_id;
    let created = AccountCreated {
        account_id: account_id.clone(),
        handle: handle.to_owned(),
        profile: Some(Profile { display_name: claim.display_name, bio: claim.bio }),
        create_time: Some(time::of_us(claim.create_time.0)),
        intent_offset: intent.position.offset,
    };
    let append = Append {
        topic: topics::IDENTITY,
        key: account_id.clone(),
        id: ids::item_id(intent.id, b"AccountCreated"),
        event: Identity::AccountCreated(created).into(),
        cause: intent.cause(),
    };
    let then = move |found: &[Option<Row>]| match found.first() {
        Some(Some(_)) => Vec::new(),
        _ => vec![Effect::append(append.clone())],
    };
    let rows = vec![RowKey::of::<AccountRow>([])];
    Effect::Read { table: &ACCOUNTS, partition: Key::text(&account_id), rows, then: Arc::new(then) }
}
