//! Accounts that are made with an identity of a trusted issuer: the intent that links it follows the account's fact.

use std::sync::Arc;

use kith_fold::{Append, Effect, Fold, Record, Rows, Scope};
use kith_log::{Position, RecordId, topics};
use kith_proto::identity::private::v1::IdentityRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::AccountCreated;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::{Event, time};
use kith_relations::are_ids;
use kith_relations::origin;
use kith_service::command::Unknown;
use kith_service::ids;
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, Row, RowKey, Section, Table, row};

use crate::link::{Account, IDENTITIES, VerdictRow, verdict};

/// Accounts that were made with an identity.
pub static SIGN_UPS: Table = Table {
    name: "sign_ups",
    partition: &[Column::text("account_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<SignUpRow>("sign_up")],
    summary: &[],
};

row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct SignUpRow in 0 { pub made: bool }
}

/// Folds accounts that are made with an identity, and has each linked: the intent follows the account's fact.
pub struct SignUps;

impl Fold for SignUps {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SIGN_UPS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = sign_up(record)?;
        Some(Scope::new(&SIGN_UPS, Key::text(&event.account_id)).with::<SignUpRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if sign_up(record).is_some() && rows.get::<SignUpRow>([]).is_none() {
            rows.put([], SignUpRow { made: true });
        }
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(event) = sign_up(record) else { return Vec::new() };
        if rows.position::<SignUpRow>([]) != Some(record.position.offset) {
            return Vec::new();
        }
        let intent = linking(event, record);
        let partition = Key::text(&event.identity_key);
        let rows = vec![RowKey::of::<VerdictRow>([intent.id.to_string().into()])];
        let then = move |found: &[Option<Row>]| match found {
            // Judged already: the intent is in the log.
            [Some(_)] => Vec::new(),
            _ => vec![Effect::append(intent.clone())],
        };
        vec![Effect::Read { table: &IDENTITIES, partition, rows, then: Arc::new(then) }]
    }

    fn appends(&self) -> bool {
        true
    }
}

fn sign_up(record: &Record) -> Option<&AccountCreated> {
    match &record.event {
        Event::Identity(Identity::AccountCreated(event)) => {
            let fits = are_ids(&[&event.account_id]) && origin::is_identity(&event.issuer, &event.identity_key);
            fits.then_some(event)
        }
        _ => None,
    }
}

/// The intent that links a new account's identity.
fn linking(event: &AccountCreated, record: &Record) -> Append {
    let intent = IdentityRequested {
        account_id: event.account_id.clone(),
        issuer: event.issuer.clone(),
        identity_key: event.identity_key.clone(),
        create_time: Some(time::of_us(record.time.0)),
        ..IdentityRequested::default()
    };
    Append {
        topic: topics::IDENTITY_PRIVATE,
        key: event.identity_key.clone(),
        id: linking_id(record.id),
        event: Private::IdentityRequested(intent).into(),
        cause: record.cause(),
    }
}

/// Of the intent that links the identity of an account, by the id of the account's fact.
fn linking_id(created: RecordId) -> RecordId {
    ids::item_id(created, b"IdentityRequested")
}

/// Waits until the identity of a new account is judged, whose intent `winning_event_id` won the handle; gives the place of the
/// link. `None`: another account has the identity.
pub async fn signed_up(
    seen: &Seen<'_>,
    account_id: &str,
    winning_event_id: &str,
    (issuer, identity_key): (&str, &str),
) -> Result<Option<Position>, Unknown> {
    let won =
        RecordId::parse(winning_event_id).ok_or_else(|| Unknown::defect("a claim without the intent that won"))?;
    let intent = linking_id(ids::item_id(won, b"AccountCreated"));
    let look = || verdict(&seen.state, identity_key, intent);
    let place = (topics::IDENTITY_PRIVATE, identity_key);
    let found = seen.state.until(place, seen.deadline.at(), look).await?;
    if !found.row.won {
        return Ok(None);
    }
    Ok(Some(Account { id: account_id, issuer, identity_key }.reached(seen, found.position).await?))
}
