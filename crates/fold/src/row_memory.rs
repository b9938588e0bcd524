//! Rows that are asked for by key again and again are remembered while their table partition does not change: what a command
//! is decided on, and what stands on many pages. That there is no row is remembered too; of a small section all rows are, as
//! who has blocked whom is asked of ever new pairs.
//!
//! Only over tables that say when a partition changes ([`Keyspace::version`]).

use std::sync::Arc;

use kith_tables::{Key, Keyspace, Row, RowKey, RowRange, SectionId, Slice, StoreError, Table, Value, Version};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::memory::MemoryCounts;

/// Rows, with their keys, of one generation of one service: bytes.
const MEMORY_BYTES: u64 = 16 * 1024 * 1024;
/// What a table partition and a row take besides, about.
const PARTITION_BYTES: usize = 160;
const ROW_BYTES: usize = 160;
/// It decides only how much room is made at once.
const PARTITIONS_GUESSED: usize = 8 * 1024;
/// A section with fewer rows is remembered as a whole.
const WHOLE_ROWS: usize = 32;
/// Rows remembered of one table partition; one with more starts over.
const PARTITION_ROWS: usize = 64;

type Place = (&'static str, Key);

pub(crate) struct RowMemory {
    partitions: Cache<Place, Arc<Known>, Weigh>,
    counts: MemoryCounts,
}

/// What was read of a table partition in one of its states.
#[derive(Clone)]
struct Known {
    version: Version,
    /// In the order of their keys; `None`: there is none. Shared by what is known before and after one is read.
    rows: Vec<Arc<(RowKey, Option<Row>)>>,
    /// Of this section all there are.
    whole: Option<SectionId>,
}

impl RowMemory {
    pub(crate) fn new(counts: MemoryCounts) -> Self {
        Self { partitions: Cache::with_weighter(PARTITIONS_GUESSED, MEMORY_BYTES, Weigh), counts }
    }

    /// As [`Keyspace::get`] of `tables`.
    pub(crate) async fn get(
        &self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        keys: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        // Before the rows are read, so that a change meanwhile is noticed.
        let Some(version) = tables.version(table, partition) else { return tables.get(table, partition, keys).await };
        let place = (table.name, partition.clone());
        let known = self.partitions.get(&place);
        let is_seen = known.is_some();
        let known = known.filter(|known| known.version == version);
        if let Some(known) = known.as_ref().filter(|known| known.missing(keys).is_empty()) {
            self.counts.remembered.inc();
            return Ok(known.rows(keys));
        }
        self.counts.read.inc();
        let mut next = match known {
            Some(known) if known.rows.len() + keys.len() <= PARTITION_ROWS => Known::clone(&known),
            _ => Known { version, rows: Vec::new(), whole: None },
        };
        // One that has changed since it was seen may change often, and be read whole each time.
        if let Some(section) = one_section(table, keys).filter(|_| !is_seen) {
            next.read_section(tables, table, partition, section).await?;
        }
        let missing = next.missing(keys);
        if !missing.is_empty() {
            next.read(tables, table, partition, &missing).await?;
            // Rows of two states are no answer.
            if missing.len() < keys.len() && tables.version(table, partition) != Some(version) {
                return tables.get(table, partition, keys).await;
            }
        }
        let rows = next.rows(keys);
        if next.rows.len() <= PARTITION_ROWS {
            self.partitions.insert(place, Arc::new(next));
        }
        Ok(rows)
    }
}

/// The section that all of `keys` are of, where it may have few rows.
fn one_section(table: &Table, keys: &[RowKey]) -> Option<SectionId> {
    let section = keys.first()?.section;
    let few = !table.clustering.is_empty() && section >= 0 && keys.len() <= PARTITION_ROWS;
    (few && keys.iter().all(|key| key.section == section)).then_some(section)
}

impl Known {
    /// Those of `keys` that what is remembered does not tell of.
    fn missing(&self, keys: &[RowKey]) -> Vec<RowKey> {
        let tells = |key: &&RowKey| self.whole == Some(key.section) || self.place(key).is_ok();
        keys.iter().filter(|key| !tells(key)).cloned().collect()
    }

    /// The rows of these keys; of those that are missing, none.
    fn rows(&self, keys: &[RowKey]) -> Vec<Option<Row>> {
        keys.iter().map(|key| self.place(key).ok().and_then(|at| self.rows[at].1.clone())).collect()
    }

    async fn read(
        &mut self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        keys: &[RowKey],
    ) -> Result<(), StoreError> {
        let rows = tables.get(table, partition, keys).await?;
        keys.iter().zip(rows).for_each(|(key, row)| self.learn(key.clone(), row));
        Ok(())
    }

    /// Learns the section if it has few rows.
    async fn read_section(
        &mut self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        section: SectionId,
    ) -> Result<(), StoreError> {
        let range = RowRange { section, prefix: Vec::new(), after: None };
        let rows = tables.slice(table, partition, &Slice { range, limit: WHOLE_ROWS }).await?;
        if rows.len() < WHOLE_ROWS {
            self.whole = Some(section);
            rows.into_iter().for_each(|row| self.learn(row.key.clone(), Some(row)));
        }
        Ok(())
    }

    fn learn(&mut self, key: RowKey, row: Option<Row>) {
        let row = |key| Arc::new((key, row));
        match self.place(&key) {
            Ok(at) => self.rows[at] = row(key),
            Err(at) => self.rows.insert(at, row(key)),
        }
    }

    fn place(&self, key: &RowKey) -> Result<usize, usize> {
        self.rows.binary_search_by(|known| known.0.cmp(key))
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Place, Arc<Known>> for Weigh {
    fn weight(&self, (_, key): &Place, known: &Arc<Known>) -> u64 {
        let rows = known.rows.iter().map(|known| {
            let (key, row) = &**known;
            let values = row.iter().flat_map(|row| row.columns.iter().chain(&row.key.clustering));
            ROW_BYTES + size_bytes(values.chain(&key.clustering))
        });
        (PARTITION_BYTES + size_bytes(key.0.iter()) + rows.sum::<usize>()) as u64
    }
}

fn size_bytes<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    values.map(|value| size_of::<Value>() + value.size_bytes()).sum()
}

#[cfg(test)]
mod tests;
