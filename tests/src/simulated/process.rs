//! The tables as one process reaches them: through its gate, over connections that a server's crash ends. A call in
//! flight then fails, with an unknown outcome.

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
    store: Arc<dyn TableStore>,
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
        let (store, gate) = (Arc::clone(&self.inner), Arc::clone(&self.gate));
        Ok(Arc::new(ProcessKeyspace { store, inner, gate }))
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
        self.gate.pass().await;
        self.inner.check().await
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}

impl ProcessKeyspace {
    async fn over_one_connection<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let connection = self.store.reconnects();
        let lost = || (self.store.reconnects() != connection).then(|| StoreError::Unavailable("cut".to_owned()));
        self.gate.pass().await;
        if let Some(lost) = lost() {
            return Err(lost);
        }
        let answer = call.await;
        self.gate.pass().await;
        lost().map_or(answer, Err)
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
        self.over_one_connection(self.inner.get(table, partition, rows)).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.over_one_connection(self.inner.slice(table, partition, slice)).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.over_one_connection(self.inner.apply(table, partition, writes)).await
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}
