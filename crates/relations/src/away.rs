//! Which accounts are away: deactivated, and not back. From `AccountDeactivated` and `AccountReactivated`.
//!
//! Accounts were hardly ever away, so the table is nearly empty, and a page must not read a row for each account that it shows: the
//! rows lie in few table partitions, each of which is read once for all of its accounts.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use kith_fold::{Fold, Record, Rows, Scope, State};
use kith_log::Offset;
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, row};

use crate::{are_ids, revision};

/// The table partitions of `away`, by the account's id: as many reads at most ask for any number of accounts. For 100,000 rows in each,
/// the most that a table partition should have.
pub const AWAY_BUCKETS: u8 = 4;

pub static AWAY: Table = Table {
    name: "away",
    partition: &[Column::text("bucket")],
    clustering: &[Column::text("account_id")],
    order: Order::Ascending,
    sections: &[Section::of::<AwayRow>("away")],
    summary: &[],
};

row! {
    /// Whether the account is away; there is none for one that never was.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct AwayRow in 0 {
        pub away: bool,
        /// One more than the offset of the intent of the last change applied.
        pub intent_next: i64,
    }
}

/// What a record says of an account: that it is away, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    pub account_id: &'a str,
    pub away: bool,
    pub intent_offset: Offset,
}

impl<'a> Change<'a> {
    /// `None`: the record is about something else, or its id can be no key.
    pub fn of(record: &'a Record) -> Option<Self> {
        let (account_id, away, intent_offset) = match &record.event {
            Event::Identity(Identity::AccountDeactivated(event)) => (&event.account_id, true, event.intent_offset),
            Event::Identity(Identity::AccountReactivated(event)) => (&event.account_id, false, event.intent_offset),
            _ => return None,
        };
        are_ids(&[account_id]).then_some(Self { account_id, away, intent_offset })
    }
}

impl AwayRow {
    /// The row after the change; `None`: a later one came before.
    pub fn after(&self, change: &Change<'_>) -> Option<Self> {
        let Change { away, intent_offset, .. } = *change;
        revision::takes(self.intent_next, intent_offset)
            .then(|| Self { away, intent_next: revision::intent_after(intent_offset) })
    }
}

/// Folds who is away.
pub struct Away;

impl Fold for Away {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&AWAY]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let Change { account_id, .. } = Change::of(record)?;
        Some(Scope::new(&AWAY, bucket(account_id)).with::<AwayRow>([account_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let known = rows.get::<AwayRow>([change.account_id.into()]).unwrap_or_default();
        if let Some(after) = known.after(&change) {
            rows.put([change.account_id.into()], after);
        }
    }
}

/// Those of the accounts that are away: a read for each table partition that they lie in, side by side.
pub async fn among<'i>(
    state: &State,
    accounts: impl IntoIterator<Item = &'i str>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut buckets: BTreeMap<Key, BTreeSet<&str>> = BTreeMap::new();
    for account_id in accounts {
        buckets.entry(bucket(account_id)).or_default().insert(account_id);
    }
    let reads = buckets.iter().map(|(key, ids)| async move {
        let rows = state.rows::<AwayRow>(&AWAY, key, ids.iter().map(|&id| vec![id.into()])).await?;
        let away = ids.iter().zip(rows).filter(|(_, found)| found.as_ref().is_some_and(|found| found.row.away));
        Ok(away.map(|(&id, _)| id.to_owned()).collect::<Vec<_>>())
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// The table partition of an account's row. Ids are hashes: their last digit spreads them evenly.
fn bucket(account_id: &str) -> Key {
    let digit = account_id.bytes().last().unwrap_or_default();
    let number = char::from(digit).to_digit(16).unwrap_or_default() % u32::from(AWAY_BUCKETS);
    Key::text(&number.to_string())
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId, topics};
    use kith_proto::identity::v1::{AccountDeactivated, AccountReactivated};

    use super::*;

    const ADA: &str = "000000000000000000000000000000aa";

    fn record(account_id: &str, away: bool, intent_offset: u64) -> Record {
        let account_id = account_id.to_owned();
        let event = match away {
            true => Identity::AccountDeactivated(AccountDeactivated {
                account_id,
                intent_offset,
                ..AccountDeactivated::default()
            }),
            false => Identity::AccountReactivated(AccountReactivated {
                account_id,
                intent_offset,
                ..AccountReactivated::default()
            }),
        };
        let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset: 9 };
        Record::new(position, RecordId([1; 16]), event)
    }

    #[test]
    fn the_last_intent_stands_whichever_fact_comes_last() {
        let after = |facts: &[(bool, u64)]| {
            facts.iter().fold(AwayRow::default(), |row, &(away, intent_offset)| {
                let record = record(ADA, away, intent_offset);
                let change = Change::of(&record).unwrap();
                row.after(&change).unwrap_or(row)
            })
        };
        assert!(after(&[(true, 0)]).away);
        assert!(!after(&[(true, 4), (false, 7)]).away);
        assert!(!after(&[(true, 4), (false, 7), (true, 4)]).away, "a late copy");
        assert!(after(&[(true, 4), (false, 7), (true, 8)]).away);
    }

    #[test]
    fn an_account_is_in_one_of_few_buckets_and_a_hostile_one_in_none() {
        let all: BTreeSet<Key> = (0..64u8).map(|n| bucket(&RecordId([n; 16]).to_string())).collect();
        assert_eq!(all.len(), usize::from(AWAY_BUCKETS));
        assert!(Change::of(&record("ADA", true, 0)).is_none());
    }
}
