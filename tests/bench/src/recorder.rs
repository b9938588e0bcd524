//! Tables that note what is written to them and read from them: the same again, raw, is the ceiling.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kith_tables::{Apply, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Value, Write};

/// One call of a keyspace, in bytes.
#[derive(Debug, Clone)]
pub enum Noted {
    Write { partition: Vec<u8>, cells: Vec<(Vec<u8>, Bytes)> },
    Get { partition: Vec<u8>, keys: Vec<Vec<u8>> },
    Slice { partition: Vec<u8>, from: Vec<u8>, limit: usize },
}

/// What all keyspaces of a recorder share.
#[derive(Default)]
struct Notes {
    on: AtomicBool,
    calls: Mutex<Vec<Noted>>,
}

/// A store in front of another.
pub struct Recorder {
    inner: Arc<dyn TableStore>,
    notes: Arc<Notes>,
}

impl Recorder {
    pub fn before(inner: Arc<dyn TableStore>) -> Arc<Self> {
        Arc::new(Self { inner, notes: Arc::default() })
    }

    /// Notes from now on.
    pub fn start(&self) {
        self.notes.on.store(true, Ordering::Release);
    }

    /// What was noted since; notes no more.
    pub fn take(&self) -> Vec<Noted> {
        self.notes.on.store(false, Ordering::Release);
        std::mem::take(&mut *self.notes.calls())
    }
}

impl Notes {
    fn calls(&self) -> MutexGuard<'_, Vec<Noted>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, noted: impl FnOnce() -> Noted) {
        if self.on.load(Ordering::Acquire) {
            self.calls().push(noted());
        }
    }
}

#[async_trait]
impl TableStore for Recorder {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        self.inner.create(keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let inner = self.inner.open(keyspace, tables).await?;
        Ok(Arc::new(Recorded { inner, notes: Arc::clone(&self.notes), name: keyspace.to_owned() }))
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

struct Recorded {
    inner: Arc<dyn Keyspace>,
    notes: Arc<Notes>,
    name: String,
}

impl Recorded {
    fn place(&self, table: &Table, partition: &Key) -> Vec<u8> {
        let mut place = format!("{} {} ", self.name, table.name).into_bytes();
        put_all(&mut place, &partition.0);
        place
    }

    fn note_write(&self, Apply { table, partition, writes }: &Apply<'_>) {
        self.notes.note(|| {
            let cell = |write: &Write| {
                let mut value = write.position.to_be_bytes().to_vec();
                put_all(&mut value, write.columns.as_deref().unwrap_or_default());
                (place_in(write.key.section, &write.key.clustering), value.into())
            };
            Noted::Write { partition: self.place(table, partition), cells: writes.iter().map(cell).collect() }
        });
    }
}

#[async_trait]
impl Keyspace for Recorded {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        self.notes.note(|| {
            let keys = rows.iter().map(|key| place_in(key.section, &key.clustering)).collect();
            Noted::Get { partition: self.place(table, partition), keys }
        });
        self.inner.get(table, partition, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        let rows = self.inner.slice(table, partition, slice).await?;
        self.notes.note(|| {
            let from = place_in(slice.range.section, &slice.range.prefix);
            Noted::Slice { partition: self.place(table, partition), from, limit: rows.len().max(1) }
        });
        Ok(rows)
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.note_write(&Apply { table, partition, writes });
        self.inner.apply(table, partition, writes).await
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        all.iter().for_each(|one| self.note_write(one));
        self.inner.apply_all(all).await
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.inner.scan(table, cursor).await
    }
}

fn place_in(section: i32, clustering: &[Value]) -> Vec<u8> {
    let mut bytes = (section ^ i32::MIN).to_be_bytes().to_vec();
    put_all(&mut bytes, clustering);
    bytes
}

/// As many bytes as the values have, and a zero behind each.
fn put_all(bytes: &mut Vec<u8>, values: &[Value]) {
    for value in values {
        match value {
            Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Value::Blob(blob) => bytes.extend_from_slice(blob),
            Value::BigInt(number) => bytes.extend((number ^ i64::MIN).to_be_bytes()),
            Value::Timestamp(at) => bytes.extend((at.0 ^ i64::MIN).to_be_bytes()),
            Value::Bool(yes) => bytes.push(u8::from(*yes)),
        }
        bytes.push(0);
    }
}
