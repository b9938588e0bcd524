//! The tables as one process reaches them: through its gate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Write};

use super::Gate;

pub struct ProcessTables {
    pub inner: Arc<dyn TableStore>,
    pub gate: Arc<Gate>,
}

struct ProcessKeyspace {
    inner: Arc<dyn Keyspace>,
    gate: Arc<Gate>,
}

#[async_trait]
impl TableStore for ProcessTables {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        Ok(Arc::new(ProcessKeyspace { inner, gate: Arc::clone(&self.gate) }))
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.inner.drop_keyspace(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        self.inner.restart_margin()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.gate.pass().await;
        self.inner.check().await
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}

#[async_trait]
impl Keyspace for ProcessKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        self.gate.pass().await;
        let rows = self.inner.get(table, partition, rows).await;
        self.gate.pass().await;
        rows
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.gate.pass().await;
        let rows = self.inner.slice(table, partition, slice).await;
        self.gate.pass().await;
        rows
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.gate.pass().await;
        let applied = self.inner.apply(table, partition, writes).await;
        self.gate.pass().await;
        applied
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
