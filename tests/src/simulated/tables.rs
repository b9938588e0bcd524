use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{
    Key, Keyspace, MAX_APPLY_ROWS, MAX_GET_ROWS, Order, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore,
    Write,
};

type Rows = BTreeMap<RowKey, Row>;
type Partitions = BTreeMap<(&'static str, Key), Rows>;

/// Tables in memory: later positions win, row by row.
#[derive(Default)]
pub struct SimulatedTables {
    keyspaces: Mutex<BTreeMap<String, Arc<SimulatedKeyspace>>>,
}

#[derive(Default)]
struct SimulatedKeyspace {
    partitions: Mutex<Partitions>,
}

impl SimulatedTables {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
}

#[async_trait]
impl TableStore for SimulatedTables {
    async fn create(&self, keyspace: &str, _tables: &[&'static Table]) -> Result<(), StoreError> {
        self.keyspaces.lock().unwrap_or_else(PoisonError::into_inner).entry(keyspace.to_owned()).or_default();
        Ok(())
    }

    async fn open(&self, keyspace: &str, _tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let keyspaces = self.keyspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || StoreError::Contract(format!("keyspace {keyspace} is missing"));
        Ok(Arc::clone(keyspaces.get(keyspace).ok_or_else(missing)?) as Arc<dyn Keyspace>)
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.keyspaces.lock().unwrap_or_else(PoisonError::into_inner).remove(keyspace);
        Ok(())
    }

    fn restart_margin(&self) -> Duration {
        Duration::ZERO
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reconnects(&self) -> u64 {
        0
    }
}

#[async_trait]
impl Keyspace for SimulatedKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        bounded(rows.len(), MAX_GET_ROWS)?;
        tokio::task::yield_now().await;
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let found = partitions.get(&(table.name, partition.clone()));
        Ok(rows.iter().map(|key| found?.get(key).cloned()).collect())
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        bounded(slice.limit, kith_tables::MAX_SLICE_ROWS)?;
        tokio::task::yield_now().await;
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = partitions.get(&(table.name, partition.clone())) else { return Ok(Vec::new()) };
        let first = RowKey { section: slice.range.section, clustering: slice.range.prefix.clone() };
        let all = rows.range((Bound::Included(first), Bound::Unbounded)).map(|(_, row)| row);
        let all = all.take_while(|row| {
            row.key.section == slice.range.section && row.key.clustering.starts_with(&slice.range.prefix)
        });
        let rest = |row: &Row| row.key.clustering[slice.range.prefix.len()..].to_vec();
        let is_after = |row: &Row| match (&slice.range.after, table.order) {
            (None, _) => true,
            (Some(after), Order::Ascending) => rest(row)[..after.len()] > after[..],
            (Some(after), Order::Descending) => rest(row)[..after.len()] < after[..],
        };
        let mut found: Vec<Row> = all.filter(|row| is_after(row)).cloned().collect();
        if table.order == Order::Descending {
            found.reverse();
        }
        found.truncate(slice.limit);
        Ok(found)
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        bounded(writes.len(), MAX_APPLY_ROWS)?;
        tokio::task::yield_now().await;
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = partitions.entry((table.name, partition.clone())).or_default();
        for write in writes {
            if rows.get(&write.key).is_none_or(|there| there.position <= write.position) {
                rows.insert(write.key.clone(), write.clone());
            }
        }
        Ok(())
    }

    async fn scan(&self, table: &'static Table, _cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let of_table = partitions.iter().filter(|((name, _), _)| *name == table.name);
        let rows = of_table.flat_map(|((_, key), rows)| rows.values().map(|row| (key.clone(), row.clone()))).collect();
        Ok(ScanPage { rows, next: None })
    }
}

fn bounded(asked: usize, limit: usize) -> Result<(), StoreError> {
    if asked > limit { Err(StoreError::TooMany { asked, limit }) } else { Ok(()) }
}
