//! Who has a handle: the first valid intent of it in the log, for ever. The winner's account is then a fact.

use bytes::Bytes;
use kith_content::Content;
use kith_fold::{Append, Contest, Found, Record, State};
use kith_log::{RecordId, topics};
use kith_proto::identity::private::v1::AccountRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::AccountCreated;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_service::ids;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, Value, row};

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
        pub content: Content,
        pub create_time: Timestamp,
        pub payload_digest: Bytes,
    }
}

/// Who gets a handle, and the RPC that asks.
pub struct Claims;

impl Contest for Claims {
    type Intent = AccountRequested;
    type Summary = ();
    type Claim = ClaimRow;
    type Subject = AccountRow;

    const CLAIMS: &'static Table = &CLAIMS;
    const SUBJECTS: &'static Table = &ACCOUNTS;

    fn intent(record: &Record) -> Option<&AccountRequested> {
        match &record.event {
            Event::IdentityPrivate(Private::AccountRequested(intent)) => {
                let valid =
                    Handle::normalised(&intent.handle_key).is_some() && RecordId::parse(&intent.account_id).is_some();
                valid.then_some(intent)
            }
            _ => None,
        }
    }

    fn contended(intent: &AccountRequested) -> Key {
        Key::text(&intent.handle_key)
    }

    /// The first one has the handle for ever.
    fn place(_: &Record) -> Vec<Value> {
        Vec::new()
    }

    fn judge((): &mut (), intent: &AccountRequested, record: &Record) -> ClaimRow {
        ClaimRow {
            account_id: intent.account_id.clone(),
            winning_event_id: record.id.to_string(),
            password_hash: intent.password_hash.clone(),
            content: intent.content.clone().unwrap_or_default(),
            create_time: record.time,
            payload_digest: intent.payload_digest.clone(),
        }
    }

    fn fact(intent: &AccountRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        let created = AccountCreated {
            account_id: claim.account_id.clone(),
            handle_key: intent.handle_key.clone(),
            content: Some(claim.content.clone()),
            create_time: Some(time::of_us(claim.create_time.0)),
            intent_offset: record.position.offset,
            issuer: intent.issuer.clone(),
            identity_key: intent.identity_key.clone(),
            private: intent.private,
        };
        Some(Append {
            topic: topics::IDENTITY,
            key: claim.account_id.clone(),
            id: ids::item_id(record.id, b"AccountCreated"),
            event: Identity::AccountCreated(created).into(),
            cause: record.cause(),
        })
    }

    fn is_due(account: Option<&AccountRow>, _: u64) -> bool {
        account.is_none()
    }
}

/// The claim on a handle, at the position of the intent that won it.
pub async fn claim(state: &State, handle: &Handle) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&CLAIMS, &Key::text(handle.as_str()), []).await
}
