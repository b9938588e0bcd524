//! Whom an account mutes: `mutes` (by who mutes), from `Muted` and `Unmuted`. For whoever mutes alone: nobody else is told, and
//! nothing that the muted account does is refused, so that [`sight`](crate::sight) knows nothing of it.
//!
//! That a mute has ended is said by no record: who reads compares its end with the time of the call. A fold never does.

use std::collections::BTreeMap;

use kith_fold::{AppliedIds, Fold, Found, Record, Rows, Scope, State};
use kith_log::Offset;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{MuteScopes, Muted};
use kith_proto::{Event, time};
use kith_tables::{Column, Key, MAX_GET_ROWS, Order, Section, StoreError, Table, Timestamp, Value, row};

use crate::are_ids;

pub static MUTES: Table = Table {
    name: "mutes",
    partition: &[Column::text("actor_id")],
    clustering: &[Column::timestamp("at"), Column::text("target_id")],
    order: Order::Descending,
    sections: &[Section::of::<MuteRow>("mute"), Section::of::<ListedRow>("listed")],
    summary: &[],
};

row! {
    /// What an account mutes of another, under time 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MuteRow in 0 {
        /// Whether there is a mute; also one that has ended by itself.
        pub muting: bool,
        /// When it was made as it is; also of the last one that was taken back.
        pub mute_time: Timestamp,
        /// From when on it is over; 0: until it is taken back.
        pub end_time: Timestamp,
        pub posts: bool,
        pub shares: bool,
        pub replies: bool,
        pub notifications: bool,
        pub conversations: bool,
        pub applied: AppliedIds,
    }
}
row! {
    /// A place in the list of mutes, under the mute's time: whether it is still that of the mute.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ListedRow in 1 { pub muting: bool }
}

/// What a record makes of an actor's mute of a target.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub actor: &'a str,
    pub target: &'a str,
    /// `None`: it is taken back.
    begins: Option<&'a Muted>,
}

impl<'a> Change<'a> {
    /// `None`: the record is about no mute, or its ids can be no keys.
    pub fn of(record: &'a Record) -> Option<Self> {
        let Event::Identity(event) = &record.event else { return None };
        let (actor, target, begins) = match event {
            Identity::Muted(event) => (&event.actor_id, &event.target_id, Some(event)),
            Identity::Unmuted(event) => (&event.actor_id, &event.target_id, None),
            _ => return None,
        };
        (are_ids(&[actor, target]) && actor != target).then_some(Self { actor, target, begins })
    }
}

/// Where the row of a target is.
pub fn of_target(target: &str) -> [Value; 2] {
    [Timestamp::default().into(), target.into()]
}

impl MuteRow {
    /// What the record makes of it; false: it was applied before, and nothing changed.
    pub fn evolve(&mut self, change: &Change<'_>, record: &Record) -> bool {
        if !self.applied.insert(record.id) {
            return false;
        }
        let applied = std::mem::take(&mut self.applied);
        *self = match change.begins {
            None => Self { mute_time: self.mute_time, applied, ..Self::default() },
            Some(event) => {
                let MuteScopes { posts, shares, replies, notifications, conversations } =
                    event.scopes.unwrap_or_default();
                let end_time = end_column(event.end_time.as_ref().map(|end| time::unix_us(Some(end))));
                let (muting, mute_time) = (true, record.time);
                Self { muting, mute_time, end_time, posts, shares, replies, notifications, conversations, applied }
            }
        };
        true
    }

    pub fn scopes(&self) -> MuteScopes {
        let Self { posts, shares, replies, notifications, conversations, .. } = *self;
        MuteScopes { posts, shares, replies, notifications, conversations }
    }

    /// From when on it is over, microseconds since 1970; `None`: until it is taken back, or there is none.
    pub fn ends_us(&self) -> Option<i64> {
        (self.muting && self.end_time != Timestamp::default()).then_some(self.end_time.0)
    }

    /// Whether there is a mute whose end has come.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_us().is_some_and(|end| end <= now.0)
    }

    /// Whether it mutes anything now.
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.muting && !self.has_ended(now)
    }
}

/// An end as its column has it: one at or before 1970 has come too.
pub fn end_column(end_us: Option<i64>) -> Timestamp {
    Timestamp(end_us.map_or(0, |end| end.max(1)))
}

/// Folds mutes by who mutes.
pub struct Mutes;

impl Fold for Mutes {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&MUTES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&MUTES, Key::text(change.actor)).with::<MuteRow>(of_target(change.target)))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let before = rows.get::<MuteRow>(of_target(change.target)).unwrap_or_default();
        let mut after = before.clone();
        if !after.evolve(&change, record) {
            return;
        }
        let place = |row: &MuteRow| [row.mute_time.into(), change.target.into()];
        if before.muting {
            rows.put(place(&before), ListedRow { muting: false });
        }
        if after.muting {
            rows.put(place(&after), ListedRow { muting: true });
        }
        rows.put(of_target(change.target), after);
    }
}

/// What one viewer mutes of the accounts that were asked for, as of a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Muting {
    now: Timestamp,
    rows: BTreeMap<String, (MuteRow, Offset)>,
}

impl Muting {
    /// One read for up to 512 accounts.
    pub async fn read(
        state: &State,
        viewer: &str,
        accounts: impl IntoIterator<Item = &str>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let others: std::collections::BTreeSet<&str> = accounts.into_iter().filter(|&id| id != viewer).collect();
        let (others, key) = (Vec::from_iter(others), Key::text(viewer));
        let mut rows = BTreeMap::new();
        for some in others.chunks(MAX_GET_ROWS) {
            let found = state.rows::<MuteRow>(&MUTES, &key, some.iter().map(|&id| of_target(id).to_vec())).await?;
            let found = some.iter().zip(found).filter_map(|(&id, row)| Some((id, row?)));
            let muting = found.filter(|(_, found)| found.row.muting);
            rows.extend(muting.map(|(id, Found { row, position, .. })| (id.to_owned(), (row, position))));
        }
        Ok(Self { now, rows })
    }

    /// Where the log has the mute of the account that keeps its posts away now, to cite it: an offset under the viewer's key.
    pub fn posts_of(&self, account: &str) -> Option<Offset> {
        self.in_effect(account, |row| row.posts)
    }

    /// The same, for what the account shares.
    pub fn shares_of(&self, account: &str) -> Option<Offset> {
        self.in_effect(account, |row| row.shares)
    }

    /// From when until when, microseconds since 1970, what this says stays as it is while no record comes: from the last end that
    /// has come to the next one.
    pub fn stands(&self) -> std::ops::Range<i64> {
        let ends = || self.rows.values().filter_map(|(row, _)| row.ends_us());
        let last = ends().filter(|&end| end <= self.now.0).max();
        let next = ends().filter(|&end| end > self.now.0).min();
        last.unwrap_or(i64::MIN)..next.unwrap_or(i64::MAX)
    }

    fn in_effect(&self, account: &str, is_muted: impl Fn(&MuteRow) -> bool) -> Option<Offset> {
        let (row, position) = self.rows.get(account)?;
        (row.is_in_effect(self.now) && is_muted(row)).then_some(*position)
    }
}

#[cfg(test)]
#[path = "mute/tests.rs"]
mod tests;
