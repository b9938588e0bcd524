//! Where an account comes from: that it exists, from `AccountCreated`. Every group folds it, so that every service knows for which
//! accounts a calling service may act.

use kith_fold::{Fold, Found, Record, Rows, Scope, State};
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_tables::{Column, Key, Order, RowRange, Section, StoreError, Table, Value, row};

use crate::are_ids;

/// Identities of one issuer that one account can have.
const IDENTITIES_MAX: usize = 16;

pub static ORIGINS: Table = Table {
    name: "origins",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("issuer"), Column::text("identity_key")],
    order: Order::Ascending,
    sections: &[Section::of::<OriginRow>("origin")],
    summary: &[],
};

row! {
    /// Under no issuer: that the account exists. Under an issuer: whether an identity of it is linked to the account.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct OriginRow in 0 { pub stands: bool }
}

/// Folds origins.
pub struct Origins;

impl Fold for Origins {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&ORIGINS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let account_id = account(record)?;
        Some(Scope::new(&ORIGINS, Key::text(account_id)).with::<OriginRow>(existence()))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if account(record).is_some() {
            rows.put(existence(), OriginRow { stands: true });
        }
    }
}

/// Whether there is such an account.
pub async fn is_there(state: &State, account_id: &str) -> Result<bool, StoreError> {
    let found = state.row::<OriginRow>(&ORIGINS, &Key::text(account_id), existence()).await?;
    Ok(found.is_some_and(|found| found.row.stands))
}

/// Whether an identity of the issuer is linked to the account.
pub async fn is_of_issuer(state: &State, account_id: &str, issuer: &str) -> Result<bool, StoreError> {
    let range = RowRange { prefix: vec![issuer.into()], ..RowRange::all::<OriginRow>() };
    let found: Vec<Found<OriginRow>> = state.slice(&ORIGINS, &Key::text(account_id), range, IDENTITIES_MAX).await?;
    Ok(found.iter().any(|found| found.row.stands))
}

fn existence() -> [Value; 2] {
    ["".into(), "".into()]
}

/// A record whose id can be no key concerns nobody.
fn account(record: &Record) -> Option<&str> {
    match &record.event {
        Event::Identity(Identity::AccountCreated(event)) if are_ids(&[&event.account_id]) => Some(&event.account_id),
        _ => None,
    }
}
