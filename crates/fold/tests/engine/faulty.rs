//! Tables that fail when they are told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Write};

/// What goes wrong.
#[derive(Default)]
pub struct Plan {
    fail_every: AtomicU64,
    applies: AtomicU64,
    stuck: Mutex<Option<&'static str>>,
    foreign: Mutex<Option<Foreign>>,
    forgets: AtomicBool,
    crashes: AtomicU64,
    gets: Mutex<BTreeMap<&'static str, u64>>,
}

/// A batch of another writer, which lands just before our next `get` of its table.
pub struct Foreign {
    pub table: &'static Table,
    pub partition: Key,
    pub writes: Vec<Write>,
}

impl Plan {
    /// Every `n`th `apply` answers with an error; every second of these has written all the same. 0: none.
    pub fn fail_every(&self, n: u64) {
        self.fail_every.store(n, Ordering::SeqCst);
    }

    /// No `apply` to that table ever answers, or writes.
    pub fn stick(&self, table: Option<&'static str>) {
        *self.stuck.lock().unwrap() = table;
    }

    /// What is applied from now on will be lost.
    pub fn forget(&self) {
        self.forgets.store(true, Ordering::SeqCst);
    }

    /// The server crashes, what it forgets is lost, and clients connect again.
    pub fn crash(&self) {
        self.forgets.store(false, Ordering::SeqCst);
        self.crashes.fetch_add(1, Ordering::SeqCst);
    }

    pub fn intrude(&self, foreign: Foreign) {
        *self.foreign.lock().unwrap() = Some(foreign);
    }

    pub fn intruded(&self) -> bool {
        self.foreign.lock().unwrap().is_none()
    }

    /// Reads of rows of that table by key.
    pub fn gets(&self, table: &'static str) -> u64 {
        self.gets.lock().unwrap().get(table).copied().unwrap_or_default()
    }
}

pub struct Faulty {
    pub inner: Arc<dyn TableStore>,
    pub plan: Arc<Plan>,
    pub margin: Duration,
}

struct FaultyKeyspace {
    inner: Arc<dyn Keyspace>,
    plan: Arc<Plan>,
}

#[async_trait]
impl TableStore for Faulty {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        Ok(Arc::new(FaultyKeyspace { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        self.inner.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.inner.drop_keyspace(keyspace).await
    }

    async fn size_bytes(&self, keyspace: &str) -> Result<Option<u64>, StoreError> {
        self.inner.size_bytes(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        self.margin
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects() + self.plan.crashes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Keyspace for FaultyKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        *self.plan.gets.lock().unwrap().entry(table.name).or_default() += 1;
        let foreign = self.plan.foreign.lock().unwrap().take_if(|foreign| foreign.table.name == table.name);
        if let Some(foreign) = foreign {
            self.inner.apply(foreign.table, &foreign.partition, &foreign.writes).await?;
        }
        self.inner.get(table, partition, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.inner.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        if *self.plan.stuck.lock().unwrap() == Some(table.name) {
            return std::future::pending().await;
        }
        if self.plan.forgets.load(Ordering::SeqCst) {
            return Ok(());
        }
        let every = self.plan.fail_every.load(Ordering::SeqCst);
        let count = self.plan.applies.fetch_add(1, Ordering::SeqCst) + 1;
        if every == 0 || !count.is_multiple_of(every) {
            return self.inner.apply(table, partition, writes).await;
        }
        if (count / every).is_multiple_of(2) {
            self.inner.apply(table, partition, writes).await?;
        }
        Err(StoreError::Unavailable("as planned".to_owned()))
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
