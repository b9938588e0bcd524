//! Caches rows that are read by key repeatedly: those that commands decide on, and those on many pages. Absent rows are
//! cached too, and all rows of a small section, since reads of blocks ask for ever new pairs. Writes go through to the
//! cache, so that a table partition that changes often is not read each time. Where rows may be removed, a row that was
//! read and not there is read again once it is written: a removal may stand in its place, at a position that no read tells.
//!
//! Only over tables that report changes of a partition ([`Keyspace::version`]).

use std::sync::Arc;

use kith_tables::{
    Apply, Key, Keyspace, Row, RowKey, RowRange, SectionId, Slice, StoreError, Table, Value, Version, Write,
};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::CacheCounts;

/// Rows, with their keys, of one generation of a fold group: bytes.
const ROW_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Overhead per table partition and per row, estimated.
const PARTITION_BYTES: usize = 160;
const ROW_BYTES: usize = 160;
/// Only the initial capacity depends on it.
const PARTITIONS_GUESSED: usize = 8 * 1024;
/// Each shard has its part of the memory, and keeps no table partition that takes more: with one shard per core a part
/// could be too small.
const SHARDS: usize = 8;
/// A section with fewer rows is cached as a whole.
const WHOLE_ROWS: usize = 128;
/// Rows cached per table partition; one with more is cleared.
const PARTITION_ROWS: usize = 1_024;

type Place = (&'static str, Key);

pub(crate) struct RowCache {
    partitions: Cache<Place, Arc<Known>, Weigh>,
    counts: CacheCounts,
}

/// The rows read from a table partition at one version.
#[derive(Clone)]
struct Known {
    version: Version,
    /// In the order of their keys. Shared between the known rows before and after a read.
    rows: Vec<Arc<(RowKey, LastWrite)>>,
    whole: Whole,
    /// Bytes of the rows.
    bytes: usize,
}

/// What stands in a row's place: the row, its removal, or `None`: nothing that a read shows.
type LastWrite = Option<Write>;

/// Whether all rows of a section are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    NotTried,
    Of(SectionId),
    /// A section was tried and has too many.
    TooMany,
}

impl RowCache {
    pub(crate) fn new(counts: CacheCounts) -> Self {
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(PARTITIONS_GUESSED).weight_capacity(ROW_CACHE_BYTES);
        let partitions = match options.build() {
            Ok(options) => {
                Cache::with_options(options, Weigh, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Fails if a capacity is missing; both are set.
            Err(_) => Cache::with_weighter(PARTITIONS_GUESSED, ROW_CACHE_BYTES, Weigh),
        };
        Self { partitions, counts }
    }

    /// As [`Keyspace::get`] of `tables`.
    pub(crate) async fn get(
        &self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        keys: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        // Before the rows are read, so that a concurrent change is noticed.
        let Some(version) = tables.version(table, partition) else { return tables.get(table, partition, keys).await };
        let place = (table.name, partition.clone());
        let known = self.partitions.get(&place);
        let is_large = known.as_ref().is_some_and(|known| known.whole == Whole::TooMany);
        let known = known.filter(|known| known.version == version);
        if let Some(known) = known.as_ref().filter(|known| known.missing(keys).is_empty()) {
            self.counts.remembered.inc();
            return Ok(known.rows(keys));
        }
        self.counts.read.inc();
        let mut next = match known {
            Some(known) if known.rows.len() + keys.len() <= PARTITION_ROWS => Known::clone(&known),
            _ => Known::nothing(version, is_large),
        };
        if let Some(section) = one_section(table, keys).filter(|_| next.whole == Whole::NotTried) {
            next.read_section(tables, table, partition, section).await?;
        }
        let missing = next.missing(keys);
        if !missing.is_empty() {
            next.read(tables, table, partition, &missing).await?;
            // Rows of two versions are no consistent answer.
            if missing.len() < keys.len() && !tables.are_current(&[version]) {
                return tables.get(table, partition, keys).await;
            }
        }
        let rows = next.rows(keys);
        // Otherwise the cached rows may be newer by now.
        if tables.are_current(&[version]) {
            self.remember(place, next);
        }
        Ok(rows)
    }

    /// The rows known at the first version are known at the second, with the rows written between them. That holds only
    /// if nothing else was written: otherwise the second is never current.
    pub(crate) fn written(&self, (before, after): (Version, Version), write: Apply<'_>) {
        let place = (write.table.name, write.partition.clone());
        // A peek: a write is no reason to keep an entry.
        if let Some(known) = self.partitions.peek(&place).filter(|known| known.version == before) {
            let mut next = Known { version: after, ..Known::clone(&known) };
            write.writes.iter().for_each(|one| next.written(write.table, one));
            self.remember(place, next);
        }
    }

    fn remember(&self, place: Place, known: Known) {
        if known.rows.len() <= PARTITION_ROWS {
            self.partitions.insert(place, Arc::new(known));
        }
    }
}

/// The section of all `keys`, if it may have few rows. Of one whose rows go, all that are not there would have to be read
/// again.
fn one_section(table: &Table, keys: &[RowKey]) -> Option<SectionId> {
    let section = keys.first()?.section;
    let may_be_few = !table.clustering.is_empty() && section >= 0 && !table.is_removable(section);
    (may_be_few && keys.iter().all(|key| key.section == section)).then_some(section)
}

impl Known {
    fn nothing(version: Version, is_large: bool) -> Self {
        // It would be tried without success each time.
        let whole = if is_large { Whole::TooMany } else { Whole::NotTried };
        Self { version, rows: Vec::new(), whole, bytes: 0 }
    }

    /// Those of `keys` that are not cached.
    fn missing(&self, keys: &[RowKey]) -> Vec<RowKey> {
        let tells = |key: &&RowKey| self.whole == Whole::Of(key.section) || self.place(key).is_ok();
        keys.iter().filter(|key| !tells(key)).cloned().collect()
    }

    /// The rows of these keys; of those that are missing, none.
    fn rows(&self, keys: &[RowKey]) -> Vec<Option<Row>> {
        keys.iter().map(|key| self.place(key).ok().and_then(|at| self.rows[at].1.clone()?.into_row())).collect()
    }

    async fn read(
        &mut self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        keys: &[RowKey],
    ) -> Result<(), StoreError> {
        let rows = tables.get(table, partition, keys).await?;
        keys.iter().zip(rows).for_each(|(key, row)| self.learn(key.clone(), row.map(Write::from)));
        Ok(())
    }

    /// Caches the section if it has few rows.
    async fn read_section(
        &mut self,
        tables: &dyn Keyspace,
        table: &'static Table,
        partition: &Key,
        section: SectionId,
    ) -> Result<(), StoreError> {
        let range = RowRange { section, prefix: Vec::new(), after: None };
        let rows = tables.slice(table, partition, &Slice { range, limit: WHOLE_ROWS }).await?;
        self.whole = Whole::TooMany;
        if rows.len() < WHOLE_ROWS {
            self.whole = Whole::Of(section);
            rows.into_iter().for_each(|row| self.learn(row.key.clone(), Some(row.into())));
        }
        Ok(())
    }

    fn learn(&mut self, key: RowKey, last: LastWrite) {
        let row = Arc::new((key, last));
        self.bytes += size_of_row(&row);
        match self.place(&row.0) {
            Ok(at) => {
                self.bytes -= size_of_row(&self.rows[at]);
                self.rows[at] = row;
            }
            Err(at) => self.rows.insert(at, row),
        }
    }

    fn forget(&mut self, at: usize) {
        let gone = self.rows.remove(at);
        self.bytes -= size_of_row(&gone);
    }

    /// Puts what was written into the cache, if its key would be known. As in the tables, an older write loses.
    fn written(&mut self, table: &Table, write: &Write) {
        let stands = match self.place(&write.key) {
            Ok(at) => match &self.rows[at].1 {
                Some(known) => write.stands_over(known),
                None if table.is_removable(write.key.section) => return self.forget(at),
                None => true,
            },
            Err(_) => self.whole == Whole::Of(write.key.section),
        };
        if stands {
            self.learn(write.key.clone(), Some(write.clone()));
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
        (PARTITION_BYTES + size_bytes(key.0.iter()) + known.bytes) as u64
    }
}

fn size_of_row((key, last): &(RowKey, LastWrite)) -> usize {
    let columns = |write: &'_ Write| write.columns.as_ref().map_or(0, |columns| size_bytes(columns.iter()));
    let written = last.iter().map(|write| size_bytes(write.key.clustering.iter()) + columns(write)).sum::<usize>();
    ROW_BYTES + written + size_bytes(key.clustering.iter())
}

fn size_bytes<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    values.map(|value| size_of::<Value>() + value.size_bytes()).sum()
}

#[cfg(test)]
mod tests;
