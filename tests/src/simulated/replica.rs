//! One server's copy of the tables. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

use kith_tables::{Key, Order, RowKey, Slice, Table, Write};
use tokio::time::Instant;

/// Rows and removals.
pub(super) type Rows = BTreeMap<RowKey, Write>;
type Partitions = BTreeMap<Key, Rows>;

#[derive(Default)]
pub(super) struct Replica {
    keyspaces: BTreeMap<String, BTreeMap<&'static str, Partitions>>,
    /// What each row was before each write, for as long as it may be lost.
    journal: Option<Vec<Undo>>,
    pub down_until: Option<Instant>,
}

struct Undo {
    at: Instant,
    keyspace: String,
    table: &'static str,
    partition: Key,
    row: RowKey,
    before: Option<Write>,
}

impl Replica {
    /// `forgets`: whether [`Self::lose_since`] will be asked.
    pub fn new(forgets: bool) -> Self {
        Self { journal: forgets.then(Vec::new), ..Self::default() }
    }

    pub fn is_down(&self, now: Instant) -> bool {
        self.down_until.is_some_and(|until| now < until)
    }

    /// All writes, at once; each loses to a later one that is there.
    pub fn write(&mut self, keyspace: &str, table: &'static str, partition: &Key, writes: &[Write], now: Instant) {
        if !self.keyspaces.contains_key(keyspace) {
            self.keyspaces.insert(keyspace.to_owned(), BTreeMap::new());
        }
        let Some(tables) = self.keyspaces.get_mut(keyspace) else { return };
        let rows = tables.entry(table).or_default().entry(partition.clone()).or_default();
        for write in writes {
            let there = rows.get(&write.key);
            let after = there.map_or_else(|| write.clone(), |there| later(there, write));
            if there == Some(&after) {
                continue;
            }
            let before = rows.insert(write.key.clone(), after);
            if let Some(journal) = &mut self.journal {
                let (keyspace, partition, row) = (keyspace.to_owned(), partition.clone(), write.key.clone());
                journal.push(Undo { at: now, keyspace, table, partition, row, before });
            }
        }
    }

    pub fn rows(&self, keyspace: &str, table: &'static str, partition: &Key) -> Option<&Rows> {
        self.keyspaces.get(keyspace)?.get(table)?.get(partition)
    }

    pub fn table(&self, keyspace: &str, table: &'static str) -> Option<&Partitions> {
        self.keyspaces.get(keyspace)?.get(table)
    }

    pub fn drop_keyspace(&mut self, keyspace: &str) {
        self.keyspaces.remove(keyspace);
    }

    /// A crash that loses all writes since then, the newest first, so that a prefix is left. Returns the number of
    /// rows.
    pub fn lose_since(&mut self, since: Instant) -> usize {
        let mut lost = 0;
        while let Some(undo) = self.journal.as_mut().and_then(|journal| journal.pop_if(|undo| undo.at >= since)) {
            let tables = self.keyspaces.entry(undo.keyspace).or_default();
            let rows = tables.entry(undo.table).or_default().entry(undo.partition).or_default();
            match undo.before {
                Some(before) => _ = rows.insert(undo.row, before),
                None => _ = rows.remove(&undo.row),
            }
            lost += 1;
        }
        lost
    }
}

/// The result of two writes of one row, in either order: per cell the later one, at equal times a removal, or the larger.
/// Rows are written whole, so their cells share a time.
pub(super) fn later(one: &Write, other: &Write) -> Write {
    match (&one.columns, &other.columns) {
        (Some(columns), Some(others)) if one.position == other.position => {
            let cells = columns.iter().zip(others).map(|(a, b)| a.max(b).clone()).collect();
            Write { columns: Some(cells), ..one.clone() }
        }
        _ if other.stands_over(one) => other.clone(),
        _ => one.clone(),
    }
}

/// The same of whole table partitions.
pub(super) fn merged(all: &[Option<&Rows>]) -> Rows {
    let mut merged = Rows::new();
    for row in all.iter().copied().flatten().flat_map(BTreeMap::values) {
        let known = merged.get(&row.key).map_or_else(|| row.clone(), |known| later(known, row));
        merged.insert(row.key.clone(), known);
    }
    merged
}

/// Rows of a slice, in the table's order, and the removals between them.
pub(super) fn slice_of(rows: &Rows, table: &Table, slice: &Slice) -> Vec<Write> {
    let range = &slice.range;
    let first = RowKey { section: range.section, clustering: range.prefix.clone() };
    let all = rows.range((Bound::Included(first), Bound::Unbounded)).map(|(_, row)| row);
    let all = all.take_while(|row| row.key.section == range.section && row.key.clustering.starts_with(&range.prefix));
    let is_after = |row: &&Write| {
        let rest = &row.key.clustering[range.prefix.len()..];
        match (&range.after, table.order) {
            (None, _) => true,
            (Some(after), Order::Ascending) => rest[..after.len()] > after[..],
            (Some(after), Order::Descending) => rest[..after.len()] < after[..],
        }
    };
    let mut found: Vec<Write> = all.filter(is_after).cloned().collect();
    if table.order == Order::Descending {
        found.reverse();
    }
    let mut room = slice.limit;
    found.retain(|write| {
        let fits = room > 0;
        room = room.saturating_sub(usize::from(!write.is_removal()));
        fits
    });
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(n: i64, value: &str, position: u64) -> Write {
        let columns = Some(vec![value.into()]);
        Write { key: RowKey { section: 0, clustering: vec![n.into()] }, columns, position }
    }

    fn value(replica: &Replica, n: i64) -> Option<String> {
        let rows = replica.rows("k", "t", &Key::text("p"))?;
        let row = rows.get(&RowKey { section: 0, clustering: vec![n.into()] })?;
        Some(format!("{:?}@{}", row.columns.as_ref()?[0], row.position))
    }

    #[tokio::test(start_paused = true)]
    async fn the_later_write_stays_in_whatever_order_and_the_larger_of_one_time() {
        let (a, b, c) = (write(1, "a", 3), write(1, "b", 3), write(1, "c", 2));
        for order in [[&a, &b, &c], [&c, &b, &a], [&b, &c, &a]] {
            let mut replica = Replica::new(false);
            for write in order {
                replica.write("k", "t", &Key::text("p"), std::slice::from_ref(write), Instant::now());
            }
            assert_eq!(value(&replica, 1).as_deref(), Some("Text(\"b\")@3"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_hides_what_is_not_above_it_in_whatever_order() {
        let (row, gone) = (write(1, "a", 3), Write::removal(write(1, "", 0).key, 3));
        for (position, stands) in [(2, false), (3, false), (4, true)] {
            let row = Write { position, ..row.clone() };
            for order in [[&row, &gone], [&gone, &row]] {
                let mut replica = Replica::new(false);
                for write in order {
                    replica.write("k", "t", &Key::text("p"), std::slice::from_ref(write), Instant::now());
                }
                assert_eq!(value(&replica, 1).is_some(), stands, "{order:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_loses_what_was_written_last() {
        let mut replica = Replica::new(true);
        let mut at = |n, text, position| {
            replica.write("k", "t", &Key::text("p"), &[write(n, text, position)], Instant::now());
        };
        at(1, "kept", 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let since = Instant::now();
        at(1, "lost", 2);
        at(2, "lost", 3);
        assert_eq!(replica.lose_since(since), 2);
        assert_eq!((value(&replica, 1).as_deref(), value(&replica, 2)), (Some("Text(\"kept\")@1"), None));
    }
}
