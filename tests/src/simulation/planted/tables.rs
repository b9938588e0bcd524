//! Defects of tables, and of how folds use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_identity::graph::EDGES;
use kith_messaging::INBOX;
use kith_projector::views::audience::FOLLOWERS;
use kith_projector::views::author_feed::AUTHOR_FEED;
use kith_projector::views::follows::FollowRow;
use kith_relations::account::ACCOUNTS;
use kith_relations::away::AWAY;
use kith_runtime::Runtime;
use kith_tables::{
    Key, Keyspace, MAX_SLICE_ROWS, Row, RowKey, RowRange, ScanPage, Slice, StoreError, Table, TableStore, Write,
};
use tokio::task::AbortHandle;

use super::{Planted, inbox, privacy};

const WATERMARKS: &str = "watermarks";
/// How long what was called durable is on its way.
const LATE: Duration = Duration::from_millis(150);
/// From the one read or write to the other that should have been first.
const BETWEEN: Duration = Duration::from_millis(250);

pub(super) fn wrap(defect: Planted, inner: Arc<dyn TableStore>, runtime: Runtime) -> Arc<dyn TableStore> {
    Arc::new(PlantedTables { defect, inner, runtime })
}

struct PlantedTables {
    defect: Planted,
    inner: Arc<dyn TableStore>,
    runtime: Runtime,
}

struct PlantedKeyspace {
    defect: Planted,
    inner: Arc<dyn Keyspace>,
    runtime: Runtime,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    summaries: BTreeMap<(&'static str, Key, RowKey), Row>,
    followers: BTreeMap<Key, Vec<Row>>,
    /// What was last read of each inbox's rows by place.
    hints: BTreeMap<Key, Vec<RowKey>>,
    late: Vec<AbortHandle>,
}

impl Drop for PlantedKeyspace {
    fn drop(&mut self) {
        self.memory().late.drain(..).for_each(|write| write.abort());
    }
}

#[async_trait]
impl TableStore for PlantedTables {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        let (defect, runtime, memory) = (self.defect, self.runtime.clone(), Mutex::default());
        Ok(Arc::new(PlantedKeyspace { defect, inner, runtime, memory }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        self.inner.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.inner.drop_keyspace(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        match self.defect {
            Planted::RestartAtWatermark => Duration::ZERO,
            _ => self.inner.restart_margin(),
        }
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}

impl PlantedKeyspace {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is read instead.
    fn distort(&self, table: &'static Table, partition: &Key, asked: &[RowKey], found: &mut [Option<Row>]) {
        let folds = asked.iter().any(|key| key.section < 0);
        match self.defect {
            Planted::CacheOverForeignMark => {
                for row in found.iter_mut().flatten().filter(|row| row.key.section < 0) {
                    let place = (table.name, partition.clone(), row.key.clone());
                    *row = self.memory().summaries.entry(place).or_insert_with(|| row.clone()).clone();
                }
            }
            Planted::WatermarkReadAhead if table.name == WATERMARKS && asked.len() == 2 => {
                found.iter_mut().flatten().for_each(|row| row.position += 1);
            }
            Planted::PlaceBelieved | Planted::PlaceOfNow if table.name == INBOX.name => {
                let hints = self.memory().hints.get(partition).cloned().unwrap_or_default();
                inbox::distort(self.defect, &hints, found);
            }
            Planted::AbsentShown if table.name == AWAY.name && !folds => found.fill(None),
            Planted::PrivateShown if table.name == AWAY.name && !folds => privacy::unveil(found),
            Planted::RequestOpens if table.name == EDGES.name && !folds => privacy::open(found),
            Planted::NoBlockFilter if table.name.starts_with("block") && !folds => found.fill(None),
            Planted::RebuildAppends if table.name == ACCOUNTS.name && !folds => found.fill(None),
            _ => {}
        }
    }

    /// What is written instead.
    async fn stamped(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Vec<Write> {
        let mut writes = writes.to_vec();
        match self.defect {
            Planted::WallClockWriteTime if ["reactions", "cards", "home"].contains(&table.name) => {
                let now = self.runtime.now_ms().unsigned_abs();
                writes.iter_mut().for_each(|write| write.position = now % 100_000);
            }
            Planted::CacheOverForeignMark => {
                for write in writes.iter().filter(|write| write.key.section < 0) {
                    let place = (table.name, partition.clone(), write.key.clone());
                    self.memory().summaries.extend(write.clone().into_row().map(|row| (place, row)));
                }
            }
            _ => {}
        }
        writes
    }

    fn write_late(&self, table: &'static Table, partition: &Key, mut writes: Vec<Write>) {
        let (inner, runtime, partition) = (Arc::clone(&self.inner), self.runtime.clone(), partition.clone());
        let as_newest = self.defect == Planted::ZombieWithoutTimestamp;
        let late = self.runtime.spawn(async move {
            runtime.sleep(LATE).await;
            if as_newest {
                stamp_as_newest(&*inner, table, &partition, &mut writes).await;
            }
            // Nobody is told.
            let _ = inner.apply(table, &partition, &writes).await;
        });
        let mut memory = self.memory();
        memory.late.retain(|write| !write.is_finished());
        memory.late.push(late.abort_handle());
    }

    async fn snapshot_of_followers(&self, author: &Key) -> Result<(), StoreError> {
        let slice = Slice { range: RowRange::all::<FollowRow>(), limit: MAX_SLICE_ROWS };
        let followers = self.inner.slice(&FOLLOWERS, author, &slice).await?;
        self.memory().followers.insert(author.clone(), followers);
        Ok(())
    }
}

async fn stamp_as_newest(inner: &dyn Keyspace, table: &'static Table, partition: &Key, writes: &mut [Write]) {
    let keys: Vec<RowKey> = writes.iter().map(|write| write.key.clone()).collect();
    let there = inner.get(table, partition, &keys).await.unwrap_or_default();
    for (write, there) in writes.iter_mut().zip(there) {
        write.position = there.map_or(write.position, |row| row.position.max(write.position));
    }
}

#[async_trait]
impl Keyspace for PlantedKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        let mut found = self.inner.get(table, partition, rows).await?;
        self.distort(table, partition, rows, &mut found);
        Ok(found)
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        if self.defect == Planted::FollowersBeforePost && table.name == FOLLOWERS.name {
            let before = self.memory().followers.remove(partition);
            if let Some(before) = before {
                return Ok(before);
            }
        }
        let mut found = self.inner.slice(table, partition, slice).await?;
        if self.defect == Planted::PageSkips && slice.range.after.is_some() && !found.is_empty() {
            found.remove(0);
        }
        if table.name == INBOX.name {
            let hints = found.iter().map(|row| row.key.clone()).collect();
            self.memory().hints.insert(partition.clone(), hints);
        }
        Ok(found)
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        let writes = self.stamped(table, partition, writes).await;
        match self.defect {
            Planted::WatermarkBeforeWrite if table.name != WATERMARKS => {
                self.write_late(table, partition, writes);
                Ok(())
            }
            // As a process that was frozen before the write.
            Planted::ZombieWithoutTimestamp if ["reactions", "shares", "edges"].contains(&table.name) => {
                self.inner.apply(table, partition, &writes).await?;
                self.write_late(table, partition, writes);
                Ok(())
            }
            Planted::HalfBatches => {
                let (marks, rows): (Vec<Write>, Vec<Write>) =
                    writes.into_iter().partition(|write| write.key.section < 0);
                self.inner.apply(table, partition, &marks).await?;
                self.runtime.sleep(Duration::from_millis(2)).await;
                self.inner.apply(table, partition, &rows).await
            }
            Planted::FollowersBeforePost if table.name == AUTHOR_FEED.name => {
                self.snapshot_of_followers(partition).await?;
                self.runtime.sleep(BETWEEN).await;
                self.inner.apply(table, partition, &writes).await
            }
            _ => self.inner.apply(table, partition, &writes).await,
        }
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
