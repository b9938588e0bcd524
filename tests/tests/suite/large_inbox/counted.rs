//! Tables that count how often one of them is read, and how many rows are written to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{Apply, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Version, Write};

pub struct Counted {
    inner: Arc<dyn TableStore>,
    table: &'static Table,
    reads: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
}

impl Counted {
    pub fn new(inner: Arc<dyn TableStore>, table: &'static Table) -> Arc<Self> {
        Arc::new(Self { inner, table, reads: Arc::default(), rows: Arc::default() })
    }

    /// Gets and slices since it was last asked.
    pub fn take(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// Rows written since it was last asked.
    pub fn take_rows(&self) -> usize {
        self.rows.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl TableStore for Counted {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        let (reads, rows) = (Arc::clone(&self.reads), Arc::clone(&self.rows));
        Ok(Arc::new(CountedKeyspace { inner, table: self.table, reads, rows }))
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

struct CountedKeyspace {
    inner: Arc<dyn Keyspace>,
    table: &'static Table,
    reads: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
}

impl CountedKeyspace {
    fn count(&self, table: &Table) {
        self.reads.fetch_add(usize::from(table.name == self.table.name), Ordering::Relaxed);
    }

    fn count_rows(&self, table: &Table, writes: &[Write]) {
        let rows = if table.name == self.table.name { writes.len() } else { 0 };
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

#[async_trait]
impl Keyspace for CountedKeyspace {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.count(table);
        self.inner.get(table, key, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.count(table);
        self.inner.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.count_rows(table, writes);
        self.inner.apply(table, partition, writes).await
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        all.iter().for_each(|apply| self.count_rows(apply.table, apply.writes));
        self.inner.apply_all(all).await
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
