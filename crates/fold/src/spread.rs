use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use kith_tables::{Key, Keyspace, MAX_APPLY_ROWS, Row, RowKey, RowRange, Slice, Table, Value, Write};

use crate::fold::Then;
use crate::side_by_side::side_by_side;
use crate::{Append, Cause, Effect, FoldError, Publisher, Put};

/// Rows of the other side read at once.
const PAGE_ROWS: usize = 1_000;
/// Reads on their way at once.
const READS_IN_FLIGHT: usize = 16;
/// Table partitions written at once.
const WRITES_IN_FLIGHT: usize = 64;
/// Rows held before they are written.
const HELD_ROWS: usize = 4_096;
/// Appends held before they are made.
const HELD_APPENDS: usize = 1_024;

/// Carries out the effects of a batch of records: reads a page of each in turn, so that no wide one starves another,
/// and groups writes by table partition.
pub(crate) struct Spreader<'a> {
    keyspace: &'a dyn Keyspace,
    /// Who appends; nobody while the folds are catching up, or rebuild.
    publisher: Option<&'a Publisher>,
    puts: BTreeMap<(&'static str, Key), Target>,
    held_rows: usize,
    appends: Vec<Append>,
    reads: VecDeque<Read>,
    later: Vec<Effect>,
}

struct Target {
    table: &'static Table,
    writes: BTreeMap<RowKey, Write>,
}

enum Read {
    Some { table: &'static Table, partition: Key, rows: Vec<RowKey>, then: Then<[Option<Row>]> },
    Each { table: &'static Table, partition: Key, range: RowRange, then: Then<Row> },
}

impl<'a> Spreader<'a> {
    pub(crate) fn new(keyspace: &'a dyn Keyspace, publisher: Option<&'a Publisher>) -> Self {
        let (puts, appends, reads, later) = (BTreeMap::new(), Vec::new(), VecDeque::new(), Vec::new());
        Self { keyspace, publisher, puts, held_rows: 0, appends, reads, later }
    }

    /// Everything is durable when it returns.
    pub(crate) async fn run(mut self, effects: Vec<Effect>) -> Result<(), FoldError> {
        self.take(effects);
        loop {
            if self.held_rows >= HELD_ROWS || self.reads.is_empty() {
                self.write().await?;
            }
            if self.appends.len() >= HELD_APPENDS || self.reads.is_empty() {
                self.append().await?;
            }
            if !self.reads.is_empty() {
                self.read().await?;
            } else if self.later.is_empty() {
                return Ok(());
            } else {
                let later = std::mem::take(&mut self.later);
                self.take(later);
            }
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Put(put) => self.hold(put),
                Effect::Append(append) if self.publisher.is_some() => self.appends.push(*append),
                Effect::Append(_) => {}
                Effect::Read { table, partition, rows, then } => {
                    self.reads.push_back(Read::Some { table, partition, rows, then });
                }
                Effect::ForEach { table, partition, range, then } => {
                    self.reads.push_back(Read::Each { table, partition, range, then });
                }
                Effect::After(effects) => self.later.extend(effects),
            }
        }
    }

    /// Of two writes to one row the later position stays: it is what the row ends as.
    fn hold(&mut self, Put { table, partition, write }: Put) {
        let target = self.puts.entry((table.name, partition)).or_insert_with(|| Target { table, writes: BTreeMap::new() });
        let held = target.writes.get(&write.key).map(|held| held.position);
        if held.is_none_or(|held| held <= write.position) {
            self.held_rows += usize::from(held.is_none());
            target.writes.insert(write.key.clone(), write);
        }
    }

    async fn read(&mut self) -> Result<(), FoldError> {
        let turn: Vec<Read> = (0..READS_IN_FLIGHT).map_while(|_| self.reads.pop_front()).collect();
        let keyspace = self.keyspace;
        let pages = turn.into_iter().map(|read| page(keyspace, read).boxed()).collect();
        for (effects, rest) in side_by_side(pages, READS_IN_FLIGHT).await? {
            self.take(effects);
            self.reads.extend(rest);
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), FoldError> {
        let keyspace = self.keyspace;
        self.held_rows = 0;
        let targets = std::mem::take(&mut self.puts);
        let mut batches = Vec::new();
        for ((_, partition), target) in targets {
            let writes: Vec<Write> = target.writes.into_values().collect();
            for chunk in writes.chunks(MAX_APPLY_ROWS).map(<[Write]>::to_vec) {
                let partition = partition.clone();
                batches.push(async move { keyspace.apply(target.table, &partition, &chunk).await }.boxed());
            }
        }
        side_by_side(batches, WRITES_IN_FLIGHT).await?;
        Ok(())
    }

    /// Appends under one key one after the other, in the order of their causes; under different keys side by side.
    async fn append(&mut self) -> Result<(), FoldError> {
        let Some(publisher) = self.publisher else { return Ok(()) };
        let mut by_key: BTreeMap<(u16, String), Vec<Append>> = BTreeMap::new();
        for append in std::mem::take(&mut self.appends) {
            by_key.entry((append.topic.id, append.key.clone())).or_default().push(append);
        }
        let appends = by_key.into_values().map(|appends| append_all(publisher, appends).boxed()).collect();
        side_by_side(appends, WRITES_IN_FLIGHT).await?;
        Ok(())
    }
}

async fn append_all(publisher: &Publisher, appends: Vec<Append>) -> Result<(), FoldError> {
    for append in appends {
        let cause = Cause { causation: Some(append.causation), trace_parent: None };
        publisher.append(append.topic, &append.key, append.id, &append.event, &cause).await?;
    }
    Ok(())
}

type Page = (Vec<Effect>, Option<Read>);

async fn page(keyspace: &dyn Keyspace, read: Read) -> Result<Page, FoldError> {
    match read {
        Read::Some { table, partition, rows, then } => {
            let rows = keyspace.get(table, &partition, &rows).await?;
            Ok((then(&rows), None))
        }
        Read::Each { table, partition, range, then } => {
            let slice = Slice { range, limit: PAGE_ROWS };
            let rows = keyspace.slice(table, &partition, &slice).await?;
            let effects = rows.iter().flat_map(|row| then(row)).collect();
            let next = (rows.len() == PAGE_ROWS).then(|| rows.last().map(|row| after(&slice.range, row))).flatten();
            Ok((effects, next.map(|range| Read::Each { table, partition, range, then: Arc::clone(&then) })))
        }
    }
}

/// The range that goes on behind `row`.
fn after(range: &RowRange, row: &Row) -> RowRange {
    let rest: Vec<Value> = row.key.clustering[range.prefix.len()..].to_vec();
    RowRange { section: range.section, prefix: range.prefix.clone(), after: Some(rest) }
}
