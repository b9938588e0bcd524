//! Embedded tables that several processes have open, as the tests play them: others read the watermarks. They count how often they
//! are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Apply, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Write};
use tonic::async_trait;

pub struct Shared {
    tables: Arc<EmbeddedTables>,
    slices: Arc<AtomicUsize>,
}

impl Shared {
    pub fn new(tables: Arc<EmbeddedTables>, slices: Arc<AtomicUsize>) -> Self {
        Self { tables, slices }
    }
}

#[async_trait]
impl TableStore for Shared {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.tables.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.tables.open(keyspace, tables).await?;
        Ok(Arc::new(Counted { inner, slices: Arc::clone(&self.slices) }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        self.tables.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.tables.drop_keyspace(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        self.tables.restart_margin()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.tables.check().await
    }

    fn reconnects(&self) -> u64 {
        self.tables.reconnects()
    }
}

/// What was asked of a keyspace by slices.
struct Counted {
    inner: Arc<dyn Keyspace>,
    slices: Arc<AtomicUsize>,
}

#[async_trait]
impl Keyspace for Counted {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        self.inner.get(table, partition, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.slices.fetch_add(1, Ordering::Relaxed);
        self.inner.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.inner.apply(table, partition, writes).await
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        self.inner.apply_all(all).await
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
