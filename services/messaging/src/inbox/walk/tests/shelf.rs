use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, Write};

/// One inbox, with the port's rules for writes and removals.
#[derive(Default)]
pub struct Shelf {
    rows: Mutex<BTreeMap<RowKey, Write>>,
    /// Slices and gets so far.
    reads: Mutex<usize>,
}

impl Shelf {
    pub fn write(&self, write: Write) {
        let mut rows = self.rows.lock().unwrap();
        match rows.get(&write.key) {
            Some(there) if !write.stands_over(there) => {}
            _ => _ = rows.insert(write.key.clone(), write),
        }
    }

    /// The store has forgotten its removals.
    pub fn purge(&self) {
        self.rows.lock().unwrap().retain(|_, write| !write.is_removal());
    }

    pub fn rows(&self) -> Vec<Row> {
        self.rows.lock().unwrap().values().cloned().filter_map(Write::into_row).collect()
    }

    pub fn reads_since_last(&self) -> usize {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }
}

#[async_trait]
impl Keyspace for Shelf {
    async fn get(&self, _: &'static Table, _: &Key, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        *self.reads.lock().unwrap() += 1;
        let rows = self.rows.lock().unwrap();
        Ok(keys.iter().map(|key| rows.get(key).cloned().and_then(Write::into_row)).collect())
    }

    async fn slice(&self, _: &'static Table, _: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        *self.reads.lock().unwrap() += 1;
        let behind = |row: &Row| match &slice.range.after {
            Some(after) => row.key.clustering[..after.len()] < after[..],
            None => true,
        };
        let found = self.rows().into_iter().rev();
        Ok(found.filter(|row| row.key.section == slice.range.section && behind(row)).take(slice.limit).collect())
    }

    async fn apply(&self, _: &'static Table, _: &Key, writes: &[Write]) -> Result<(), StoreError> {
        writes.iter().cloned().for_each(|write| self.write(write));
        Ok(())
    }

    async fn scan(&self, _: &'static Table, _: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        Ok(ScanPage { rows: Vec::new(), next: None })
    }
}
