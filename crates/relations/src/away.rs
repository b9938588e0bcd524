//! Which accounts are away (deactivated, and not back) and which are private. From `AccountDeactivated`, `AccountReactivated`,
//! `AccountCreated` and `ProfileUpdated`.
//!
//! Most accounts never were either and have no row, and a page must not read a row for each account that it shows: the rows lie in few
//! table partitions, each of which is read once for all of its accounts.

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
pub const AWAY_BUCKETS: u8 = 16;

pub static AWAY: Table = Table {
    name: "away",
    partition: &[Column::text("bucket")],
    clustering: &[Column::text("account_id")],
    order: Order::Ascending,
    sections: &[Section::of::<AwayRow>("away")],
    summary: &[],
};

row! {
    /// Whether the account is away, and whether it is private; there is none for one that never was either.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct AwayRow in 0 {
        pub away: bool,
        /// One more than the offset of the intent of the last change of that applied.
        pub intent_next: i64,
        pub private: bool,
        /// The same, of its profile.
        pub profile_intent_next: i64,
    }
}

/// Those of some accounts that are not simply there for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart {
    pub away: BTreeSet<String>,
    pub private: BTreeSet<String>,
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
        revision::takes(self.intent_next, intent_offset).then(|| Self {
            away,
            intent_next: revision::intent_after(intent_offset),
            ..self.clone()
        })
    }

    /// The same of what a profile says.
    fn after_profile(&self, profile: &Privacy<'_>) -> Option<Self> {
        let Privacy { private, intent_offset, .. } = *profile;
        let profile_intent_next = match intent_offset {
            // The first profile: none came before it.
            None if self.profile_intent_next == 0 => 0,
            Some(offset) if revision::takes(self.profile_intent_next, offset) => revision::intent_after(offset),
            None | Some(_) => return None,
        };
        Some(Self { private, profile_intent_next, ..self.clone() })
    }
}

/// What a record says of an account's privacy.
#[derive(Debug, Clone, Copy)]
struct Privacy<'a> {
    account_id: &'a str,
    private: bool,
    /// `None`: it is that of its first profile.
    intent_offset: Option<Offset>,
}

impl<'a> Privacy<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let (account_id, private, intent_offset) = match &record.event {
            Event::Identity(Identity::AccountCreated(event)) if event.private => (&event.account_id, true, None),
            Event::Identity(Identity::ProfileUpdated(event)) => {
                (&event.account_id, event.private, Some(event.intent_offset))
            }
            _ => return None,
        };
        are_ids(&[account_id]).then_some(Self { account_id, private, intent_offset })
    }
}

/// Folds who is away, and who is private.
pub struct Away;

impl Fold for Away {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&AWAY]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let away = Change::of(record).map(|change| change.account_id);
        let account_id = away.or_else(|| Some(Privacy::of(record)?.account_id))?;
        Some(Scope::new(&AWAY, bucket(account_id)).with::<AwayRow>([account_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let Some(change) = Change::of(record) {
            let known = rows.get::<AwayRow>([change.account_id.into()]).unwrap_or_default();
            if let Some(after) = known.after(&change) {
                rows.put([change.account_id.into()], after);
            }
        }
        if let Some(profile) = Privacy::of(record) {
            let known = rows.get::<AwayRow>([profile.account_id.into()]);
            // One that never was private needs no row. What came before it is folded: only copies come late.
            if known.is_none() && !profile.private {
                return;
            }
            if let Some(after) = known.unwrap_or_default().after_profile(&profile) {
                rows.put([profile.account_id.into()], after);
            }
        }
    }
}

/// Those of the accounts that are away, and those that are private: a read for each table partition that they lie in, side by side.
pub async fn among<'i>(state: &State, accounts: impl IntoIterator<Item = &'i str>) -> Result<Apart, StoreError> {
    let mut buckets: BTreeMap<Key, BTreeSet<&str>> = BTreeMap::new();
    for account_id in accounts {
        buckets.entry(bucket(account_id)).or_default().insert(account_id);
    }
    let reads = buckets.iter().map(|(key, ids)| async move {
        let rows = state.rows::<AwayRow>(&AWAY, key, ids.iter().map(|&id| vec![id.into()])).await?;
        let found = ids.iter().zip(rows).filter_map(|(&id, found)| Some((id.to_owned(), found?.row)));
        Ok(found.collect::<Vec<_>>())
    });
    let mut apart = Apart::default();
    for (id, AwayRow { away, private, .. }) in try_join_all(reads).await?.into_iter().flatten() {
        if private {
            apart.private.insert(id.clone());
        }
        if away {
            apart.away.insert(id);
        }
    }
    Ok(apart)
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

    fn profile(private: bool, intent_offset: Option<u64>) -> Privacy<'static> {
        Privacy { account_id: ADA, private, intent_offset }
    }

    #[test]
    fn the_last_profile_says_whether_an_account_is_private() {
        let after = |profiles: &[(bool, Option<u64>)]| {
            profiles.iter().fold(AwayRow { away: true, ..AwayRow::default() }, |row, &(private, offset)| {
                row.after_profile(&profile(private, offset)).unwrap_or(row)
            })
        };
        assert!(after(&[(true, None)]).private && after(&[(true, None)]).away);
        assert!(!after(&[(true, None), (false, Some(0))]).private);
        assert!(!after(&[(true, None), (false, Some(0)), (true, None)]).private, "a late copy of the first");
        assert!(!after(&[(true, Some(3)), (false, Some(5)), (true, Some(3))]).private, "a late copy");
    }

    #[test]
    fn an_account_is_in_one_of_few_buckets_and_a_hostile_one_in_none() {
        let all: BTreeSet<Key> = (0..64u8).map(|n| bucket(&RecordId([n; 16]).to_string())).collect();
        assert_eq!(all.len(), usize::from(AWAY_BUCKETS));
        assert!(Change::of(&record("ADA", true, 0)).is_none());
    }
}
