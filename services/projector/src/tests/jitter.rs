//! A store that takes its time and sometimes fails, so that what meets in the tables meets in every order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Version, Write};

/// Wraps a store.
pub struct Jitter {
    inner: Arc<dyn TableStore>,
    chance: Arc<Chance>,
}

/// What happens to calls; the same for the same seed.
pub struct Chance {
    state: Mutex<u64>,
    /// Of a thousand calls so many fail.
    failing: u64,
    /// How often more: so that large batches get through in the end.
    failures_left: AtomicU64,
    restless: AtomicBool,
    /// Gets and slices by table.
    reads: Mutex<BTreeMap<&'static str, usize>>,
}

const FAILURES: u64 = 24;

impl Jitter {
    pub fn new(inner: Arc<dyn TableStore>, seed: u64) -> Self {
        let failing = [2, 30, 120][(seed % 3) as usize];
        let (state, failures_left) = (Mutex::new(seed), AtomicU64::new(FAILURES));
        let (restless, reads) = (AtomicBool::new(true), Mutex::default());
        let chance = Chance { state, failing, failures_left, restless, reads };
        Self { inner, chance: Arc::new(chance) }
    }

    /// From now on every call answers at once, and well.
    pub fn rest(&self) {
        self.chance.restless.store(false, Ordering::Relaxed);
    }

    /// How often each table was read since it was last asked.
    pub fn take_reads(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *self.chance.reads.lock().unwrap())
    }

    pub fn stir(&self) {
        self.chance.failures_left.store(FAILURES, Ordering::Relaxed);
        self.chance.restless.store(true, Ordering::Relaxed);
    }
}

impl Chance {
    fn count(&self, table: &'static Table) {
        *self.reads.lock().unwrap().entry(table.name).or_default() += 1;
    }

    /// Below `bound`.
    pub fn draw(&self, bound: u64) -> u64 {
        let mut state = self.state.lock().unwrap();
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % bound
    }

    async fn pause(&self) {
        if self.restless.load(Ordering::Relaxed) {
            let yields = if self.draw(16) == 0 { 60 } else { self.draw(6) };
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
        }
    }

    fn fails(&self) -> Result<(), StoreError> {
        let fails = self.restless.load(Ordering::Relaxed) && self.draw(1_000) < self.failing;
        let left = |left: u64| left.checked_sub(1);
        if fails && self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err(StoreError::Unavailable("by chance".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl TableStore for Jitter {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        Ok(Arc::new(JitterKeyspace { inner, chance: Arc::clone(&self.chance) }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        self.inner.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.inner.drop_keyspace(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        self.inner.restart_margin()
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

struct JitterKeyspace {
    inner: Arc<dyn Keyspace>,
    chance: Arc<Chance>,
}

#[async_trait]
impl Keyspace for JitterKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        self.chance.count(table);
        self.chance.pause().await;
        let rows = self.inner.get(table, partition, rows).await;
        self.chance.pause().await;
        self.chance.fails().and(rows)
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.chance.count(table);
        self.chance.pause().await;
        let rows = self.inner.slice(table, partition, slice).await;
        self.chance.pause().await;
        self.chance.fails().and(rows)
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.chance.pause().await;
        self.chance.fails()?;
        let applied = self.inner.apply(table, partition, writes).await;
        self.chance.pause().await;
        self.chance.fails().and(applied)
    }

    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        self.inner.version(table, partition)
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.inner.are_current(versions)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
