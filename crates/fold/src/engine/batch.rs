use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use kith_log::{LogPartition, Offset, Record as RawRecord, RecordId};
use kith_tables::{Apply, Key, Keyspace, MAX_GET_ROWS, RowKey, Table, Timestamp};
use tracing::Span;

use super::context::Context;
use super::side_by_side::side_by_side;
use super::spread::Spreader;
use crate::cache::PartitionCache;
use crate::dead_letter::Poison;
use crate::rules::Decoded;
use crate::{Fold, FoldError, Record, Rows, trace};

/// The maximum of records folded together.
pub(crate) const BATCH_RECORDS: usize = 256;
/// The maximum of their bytes: their changes to one table partition must fit into one `apply`.
const BATCH_BYTES: usize = 1024 * 1024;
/// Table partitions loaded or written at once.
const SCOPES_IN_FLIGHT: usize = 64;
/// How often a load restarts because another writer moved the mark during it.
const LOAD_ATTEMPTS: usize = 5;

/// Records of one log partition that are folded together.
pub(crate) struct Batch {
    partition: LogPartition,
    records: Vec<Item>,
    last: Option<(Offset, RecordId)>,
    stopped_at: Option<String>,
}

/// Why a fold goes no further than the batch's record of that index.
pub(crate) struct Refused {
    pub at: usize,
    pub why: String,
}

enum Item {
    Event(Box<Record>, Span),
    Poison(Box<Poison>),
    /// A poison record that another service's group sets aside.
    Skipped,
}

/// The table partitions that a batch evolves.
pub(crate) struct Scopes {
    loaded: Vec<Loaded>,
    /// Fold, record and scope, in the order of the log.
    touches: Vec<(usize, usize, usize)>,
    /// How many of these were applied.
    applied: usize,
    /// Whether a record was already applied to its scope, by any earlier write.
    had_some: bool,
}

struct Loaded {
    table: &'static Table,
    partition: Key,
    rows: Rows,
}

/// Cuts records into micro-batches; one record may exceed the bytes.
pub(crate) fn batches(records: &[RawRecord]) -> Vec<&[RawRecord]> {
    let mut cut = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        bytes += record.held_bytes();
        if index > from && (bytes > BATCH_BYTES || index - from == BATCH_RECORDS) {
            cut.push(&records[from..index]);
            (from, bytes) = (index, record.held_bytes());
        }
    }
    cut.push(&records[from..]);
    cut.retain(|batch| !batch.is_empty());
    cut
}

impl Batch {
    /// Decodes up to the first record of an unknown type.
    pub(crate) fn decode(context: &Context, partition: LogPartition, raw: &[RawRecord]) -> Self {
        let mut batch = Self { partition, records: Vec::with_capacity(raw.len()), last: None, stopped_at: None };
        for record in raw {
            let item = match Decoded::of(record, context.group.reads) {
                Decoded::Event(mut event) => {
                    let span = trace::process_span(&mut event, &context.group);
                    Item::Event(event, span)
                }
                Decoded::Poison(reason) => {
                    tracing::error!(position = %record.position, %reason, "record cannot be decoded");
                    context.metrics.poisoned(&context.group, partition.topic);
                    match context.group.owns(partition.topic) {
                        true => Item::Poison(Box::new(Poison::new(record, &reason))),
                        false => Item::Skipped,
                    }
                }
                Decoded::Newer(why) => {
                    batch.stopped_at = Some(format!("{} {why}", record.position));
                    break;
                }
            };
            batch.records.push(item);
            batch.last = Some((record.position.offset, record.id().unwrap_or_default()));
        }
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The last record of the batch.
    pub(crate) fn last(&self) -> Option<(Offset, RecordId)> {
        self.last
    }

    /// The latest time of its records.
    pub(crate) fn newest(&self) -> Timestamp {
        let time = |item: &Item| match item {
            Item::Event(record, _) => record.time,
            Item::Poison(_) | Item::Skipped => Timestamp::default(),
        };
        self.records.iter().map(time).max().unwrap_or_default()
    }

    pub(crate) fn stopped_at(&self) -> Option<String> {
        self.stopped_at.clone()
    }

    /// Finds the scope of every record in every fold and loads what is not cached.
    pub(crate) async fn load(
        &self,
        keyspace: &dyn Keyspace,
        folds: &[Arc<dyn Fold>],
        cache: &mut PartitionCache,
    ) -> Result<Scopes, FoldError> {
        let mut wanted: Vec<(Loaded, BTreeSet<RowKey>)> = Vec::new();
        let mut index: BTreeMap<(&'static str, Key), usize> = BTreeMap::new();
        let mut touches = Vec::new();
        for (record_index, fold_index, record, fold) in self.pairs(folds) {
            let Some(scope) = fold.scope(record) else { continue };
            let at = *index.entry((scope.table.name, scope.partition.clone())).or_insert_with(|| {
                let rows = cache.take(scope.table, &scope.partition, self.partition.source());
                wanted.push((Loaded { table: scope.table, partition: scope.partition, rows }, BTreeSet::new()));
                wanted.len() - 1
            });
            wanted[at].1.extend(scope.rows);
            touches.push((fold_index, record_index, at));
        }
        let loads = wanted.into_iter().map(|(loaded, keys)| loaded.load(keyspace, keys).boxed()).collect();
        let loaded = side_by_side(loads, SCOPES_IN_FLIGHT).await?;
        Ok(Scopes { loaded, touches, applied: 0, had_some: false })
    }

    /// Evolves the scopes in log order, record by record, until all are applied, or the spreader, which gets the effects, is full: the
    /// next call goes on from there. `Err` if a fold must not apply a record here, or read a row that it must not read: then the
    /// scopes are worth nothing.
    pub(crate) fn apply(
        &self,
        folds: &[Arc<dyn Fold>],
        scopes: &mut Scopes,
        spreader: &mut Spreader<'_>,
    ) -> Result<(), Refused> {
        while let Some(&(fold, at, scope)) = scopes.touches.get(scopes.applied) {
            let is_next_record = scopes.applied > 0 && scopes.touches[scopes.applied - 1].1 != at;
            if is_next_record && spreader.is_full() {
                return Ok(());
            }
            scopes.applied += 1;
            let Item::Event(record, span) = &self.records[at] else { continue };
            let _entered = span.enter();
            let rows = &mut scopes.loaded[scope].rows;
            let applied = rows.apply_at(record.position.offset, |rows| folds[fold].apply(rows, record));
            scopes.had_some |= !applied;
            let effects = folds[fold].effects(rows, record);
            if let Some(fault) = rows.fault() {
                return Err(Refused { at, why: format!("{}: {fault}", record.position) });
            }
            spreader.take(effects);
        }
        Ok(())
    }

    /// The records that cannot be decoded, to be set aside.
    pub(crate) fn poison(&self) -> impl Iterator<Item = &Poison> + '_ {
        self.records.iter().filter_map(|item| match item {
            Item::Poison(poison) => Some(&**poison),
            Item::Event(..) | Item::Skipped => None,
        })
    }

    fn pairs<'a>(
        &'a self,
        folds: &'a [Arc<dyn Fold>],
    ) -> impl Iterator<Item = (usize, usize, &'a Record, &'a dyn Fold)> {
        self.records.iter().enumerate().flat_map(move |(r, item)| {
            let record = match item {
                Item::Event(record, _) => Some(&**record),
                Item::Poison(_) | Item::Skipped => None,
            };
            record
                .into_iter()
                .flat_map(move |record| folds.iter().enumerate().map(move |(f, fold)| (r, f, record, &**fold)))
        })
    }
}

impl Scopes {
    /// Writes every changed scope, each in one `apply` with its mark. `may_write` is called right before each round of
    /// writes: if a server has lost rows since they were loaded, a mark must not claim that they are there.
    pub(crate) async fn write(
        &mut self,
        keyspace: &dyn Keyspace,
        may_write: &(dyn Fn() -> Result<(), FoldError> + Sync),
    ) -> Result<(), FoldError> {
        let changed = self.loaded.iter_mut().map(|scope| (scope.table, &scope.partition, scope.rows.take_dirty()));
        let changed: Vec<_> = changed.filter(|(.., writes)| !writes.is_empty()).collect();
        for turn in changed.chunks(SCOPES_IN_FLIGHT) {
            let applies: Vec<_> =
                turn.iter().map(|&(table, partition, ref writes)| Apply { table, partition, writes }).collect();
            may_write()?;
            keyspace.apply_all(&applies).await?;
        }
        Ok(())
    }

    /// Whether all records were applied.
    pub(crate) fn are_applied(&self) -> bool {
        self.applied == self.touches.len()
    }

    pub(crate) fn had_some(&self) -> bool {
        self.had_some
    }

    /// Everything is written: the next batch may start from it.
    pub(crate) fn keep(self, cache: &mut PartitionCache) {
        for scope in self.loaded {
            cache.put(scope.table, scope.partition, scope.rows);
        }
    }
}

impl Loaded {
    /// Loads the rows of `keys`, with the mark, as one state of the table partition. If the mark differs from the known
    /// one, known rows are dropped: they must not be mixed with a late batch of a former owner.
    async fn load(mut self, keyspace: &dyn Keyspace, keys: BTreeSet<RowKey>) -> Result<Self, FoldError> {
        for _ in 0..LOAD_ATTEMPTS {
            if self.load_missing(keyspace, &keys).await? {
                return Ok(self);
            }
            self.rows.forget();
        }
        let what = format!("a partition of {} is being written by another process", self.table.name);
        Err(kith_tables::StoreError::Unavailable(what).into())
    }

    async fn load_missing(&mut self, keyspace: &dyn Keyspace, keys: &BTreeSet<RowKey>) -> Result<bool, FoldError> {
        let summary = self.rows.summary_key().clone();
        let unknown = keys.iter().filter(|key| !self.rows.knows(key)).cloned();
        let (lacking, missing): (Vec<_>, Vec<_>) = unknown.partition(|key| self.rows.lacks(key));
        lacking.into_iter().for_each(|key| self.rows.learn(key, None));
        let mut chunks: Vec<&[RowKey]> = missing.chunks(MAX_GET_ROWS - 1).collect();
        if chunks.is_empty() && !self.rows.knows(&summary) {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let ask: Vec<RowKey> = std::iter::once(&summary).chain(chunk).cloned().collect();
            let found = keyspace.get(self.table, &self.partition, &ask).await?;
            let known_mark = self.rows.knows(&summary).then(|| self.rows.mark());
            if known_mark.is_none() && found.first().is_some_and(Option::is_none) {
                // A torn batch left a row without its mark: its record is applied again.
                self.rows.begin(summary, keys.iter().cloned());
                return Ok(true);
            }
            ask.into_iter().zip(found).for_each(|(key, row)| self.rows.learn(key, row));
            if known_mark.is_some_and(|known| known != self.rows.mark()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
