//! Embedded tables that several processes have open, as the tests play them: others read the watermarks.

use std::sync::Arc;
use std::time::Duration;

use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Keyspace, StoreError, Table, TableStore};
use tonic::async_trait;

pub struct Shared(pub Arc<EmbeddedTables>);

#[async_trait]
impl TableStore for Shared {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.0.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        self.0.open(keyspace, tables).await
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        self.0.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.0.drop_keyspace(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        self.0.restart_margin()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.check().await
    }

    fn reconnects(&self) -> u64 {
        self.0.reconnects()
    }
}
