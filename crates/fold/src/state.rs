use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use kith_log::{LogPartition, PartitionIndex, Topic};
use kith_tables::{
    Key, Keyspace, MAX_GET_ROWS, Row, RowKey, RowRange, RowType, Slice, StoreError, Table, Timestamp, Value,
};
use tokio::time::Instant;

use crate::cache::{PageCache, RowCache};
use crate::positions::Standing;
use crate::{Standstill, Token, WaitError, Watermarks};

/// The tables of a group as queries and commands read them.
#[derive(Clone)]
pub struct State {
    pub(crate) keyspace: Arc<dyn Keyspace>,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) partition_count: PartitionIndex,
    pub(crate) page_cache: Arc<PageCache>,
    pub(crate) row_cache: Option<Arc<RowCache>>,
}

impl State {
    pub fn partition_count(&self) -> PartitionIndex {
        self.partition_count
    }

    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// The tables themselves, without a cache.
    pub fn keyspace(&self) -> &Arc<dyn Keyspace> {
        &self.keyspace
    }

    /// Waits until the tables include what `token` names.
    pub async fn at_least(&self, token: &Token, until: Instant) -> Result<(), WaitError> {
        self.watermarks.wait(token.positions(), until).await
    }

    /// Whether the group's folds stand still, so that the tables may lack old records. As known to this process: a
    /// pause from `kith.ops.v1`, a stopped partition from its own folds or from the rows that other processes store,
    /// which are read every 500 ms. Cheap: it reads neither log nor tables.
    ///
    /// Rows that were read before this call may be older than its answer: call it before and after.
    pub fn standstill(&self) -> Option<Standstill> {
        if self.standing.is_paused() {
            return Some(Standstill::Paused);
        }
        let stopped = self.watermarks.first_stopped();
        let stopped = stopped.map(|(partition, reason)| Standstill::Stopped { partition, reason });
        stopped.or_else(|| self.standing.is_catching_up().then_some(Standstill::CatchingUp))
    }

    /// The positions that a read made now includes at least.
    pub fn as_of(&self) -> Token {
        self.watermarks.known().collect::<Token>().at(self.watermarks.latest())
    }

    /// The answer of `read`, which must be a function of the tables and of `key` alone. It is cached while no table
    /// partition that it read has changed. Only while no other process writes to the tables; otherwise it always reads.
    pub async fn remembered<E, F, Fut>(&self, key: &[u8], read: F) -> Result<Bytes, E>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<Bytes, E>>,
    {
        let read = |keyspace| read(Self { keyspace, ..self.clone() });
        self.page_cache.answer(&self.keyspace, key, read).await
    }

    /// Rows of one table partition by their keys, in the order asked; `None` where there is none.
    pub async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        keys: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        match &self.row_cache {
            Some(memory) => memory.get(&*self.keyspace, table, partition, keys).await,
            None => self.keyspace.get(table, partition, keys).await,
        }
    }

    /// The row of type `R` at that place.
    pub async fn row<R: RowType>(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Found<R>>, StoreError> {
        let rows = self.get(table, partition, &[RowKey::of::<R>(clustering)]).await?;
        rows.into_iter().next().flatten().map(found).transpose()
    }

    /// Several rows of one table partition, in the order asked.
    pub async fn rows<R: RowType>(
        &self,
        table: &'static Table,
        partition: &Key,
        clusterings: impl IntoIterator<Item = Vec<Value>>,
    ) -> Result<Vec<Option<Found<R>>>, StoreError> {
        let keys: Vec<RowKey> = clusterings.into_iter().map(RowKey::of::<R>).collect();
        let rows = self.get(table, partition, &keys).await?;
        rows.into_iter().map(|row| row.map(found).transpose()).collect()
    }

    /// Consecutive rows of type `R`.
    pub async fn slice<R: RowType>(
        &self,
        table: &'static Table,
        partition: &Key,
        range: RowRange,
        limit: usize,
    ) -> Result<Vec<Found<R>>, StoreError> {
        let rows = self.keyspace.slice(table, partition, &Slice { range, limit }).await?;
        rows.into_iter().map(found).collect()
    }

    /// The existing summary rows of the partitions of `topic` in this table partition: a read for every 512 partitions.
    pub async fn summaries<S: RowType>(
        &self,
        table: &'static Table,
        partition: &Key,
        topic: Topic,
    ) -> Result<Vec<Found<S>>, StoreError> {
        let sources = (0..self.partition_count).map(|index| LogPartition { topic, index }.source());
        let keys: Vec<RowKey> = sources.map(|source| table.summary_key(source)).collect();
        let mut found = Vec::new();
        for some in keys.chunks(MAX_GET_ROWS) {
            let rows = self.get(table, partition, some).await?;
            found.extend(rows.into_iter().flatten());
        }
        found.into_iter().map(found_summary).collect()
    }

    /// The summary row of a table partition that one log partition owns: that of `key` in `topic`.
    pub async fn summary<S: RowType>(
        &self,
        table: &'static Table,
        partition: &Key,
        (topic, key): (Topic, &str),
    ) -> Result<Option<Found<S>>, StoreError> {
        let source = LogPartition::of_key(topic, key, self.partition_count).source();
        let rows = self.get(table, partition, &[table.summary_key(source)]).await?;
        rows.into_iter().next().flatten().map(found_summary).transpose()
    }

    /// Calls `look` again whenever the partition of `key` in `topic` has been folded further, until it finds something
    /// or the deadline passes: for effects in another partition.
    pub async fn until<T, F, Fut>(&self, (topic, key): (Topic, &str), until: Instant, look: F) -> Result<T, WaitError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<T>, StoreError>>,
    {
        let partition = LogPartition::of_key(topic, key, self.partition_count);
        let mut polls = 0;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if let Some(reason) = self.watermarks.stopped(partition) {
                return Err(WaitError::Stopped { partition, reason });
            }
            if Instant::now() >= until {
                let next = self.watermarks.next_offset(partition);
                return Err(WaitError::Behind { wanted: kith_log::Position { partition, offset: next }, next });
            }
            self.watermarks.changed(partition, polls).await;
            polls += 1;
        }
    }
}

/// A row with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<R> {
    pub clustering: Vec<Value>,
    /// Offset of the record that wrote it, in the log partition that owns the row.
    pub position: u64,
    pub row: R,
}

impl<R> Found<R> {
    /// The text of clustering column `index`; empty when it is not text.
    pub fn text(&self, index: usize) -> &str {
        match self.clustering.get(index) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The time of clustering column `index`; 0 when it is no time.
    pub fn time(&self, index: usize) -> Timestamp {
        match self.clustering.get(index) {
            Some(Value::Timestamp(time)) => *time,
            _ => Timestamp::default(),
        }
    }
}

fn found<R: RowType>(row: Row) -> Result<Found<R>, StoreError> {
    let typed = R::from_columns(row.columns).ok_or_else(|| damaged(&row.key))?;
    Ok(Found { clustering: row.key.clustering, position: row.position, row: typed })
}

fn found_summary<S: RowType>(mut row: Row) -> Result<Found<S>, StoreError> {
    if row.columns.is_empty() {
        return Err(damaged(&row.key));
    }
    row.columns.remove(0);
    found(row)
}

fn damaged(key: &RowKey) -> StoreError {
    StoreError::Damaged(format!("a row of section {} does not read as its type", key.section))
}
