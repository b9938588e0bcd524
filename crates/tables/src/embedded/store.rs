//! fjall, set up for little memory.
//!
//! We seal full memtables explicitly, not fjall: by itself (3.1) it sends its worker threads a request with every write
//! until one has done so. With one thread, which then queues the flush for itself, a queue full of such requests
//! deadlocks; with two, one spins while the other compacts, which doubled the processor time of a fold.
//! `rotate_memtable` and `sealed_memtable_count` are public but not in fjall's documentation: look here when its
//! version changes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fjall::{Database, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot, compaction::Leveled};
use kith_runtime::Runtime;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

use crate::StoreError;

/// What fjall keeps of its files in memory, for all keyspaces together.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Rows that are not in a file yet. Up to four times as much waits for the disk.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// What fjall's memtable needs for a row besides its bytes, roughly.
const MEMTABLE_ROW_BYTES: usize = 128;
/// Cached rows, so that a fold does not look up a row that it has just loaded again before the write, and a page read a
/// moment ago is not read from files: bytes, with the overhead of each.
const RECENT_BYTES: u64 = 16 * 1024 * 1024;
const RECENT_ROW_BYTES: usize = 96;
const RECENT_ROWS_GUESSED: usize = 64 * 1024;
/// A file of sorted rows: a compaction's memory per file grows with it.
const TABLE_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// fjall's minimum. On disk only; a start reads at most this much again.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
const FJALL_THREADS: usize = 1;
/// At four fjall puts the writing thread to sleep, which would be an async worker.
const FULL_MEMTABLES: usize = 3;
const ROOM_PAUSE: Duration = Duration::from_millis(2);
/// Then let fjall say what is wrong.
const ROOM_ATTEMPTS: u32 = 2_500;

/// All rows, in one fjall keyspace.
pub(super) struct Store {
    db: Database,
    rows: fjall::Keyspace,
    /// The rows looked up last, absent ones too, in their current state.
    recent: Cache<Box<[u8]>, Option<fjall::Slice>, Weigh>,
    unflushed_bytes: AtomicU64,
    /// Writers that wait for the disk continue in order of arrival.
    queue: Mutex<()>,
}

/// Writes that are applied all or nothing.
pub(super) struct Batch<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
    /// The cached state after the write.
    changed: Vec<(Vec<u8>, fjall::Slice)>,
    bytes: usize,
}

impl Store {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(FJALL_THREADS)
            .open()
            .map_err(failed)?;
        let files = std::sync::Arc::new(Leveled::default().with_table_target_size(TABLE_FILE_BYTES));
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(u64::MAX).compaction_strategy(files.clone());
        let rows = db.keyspace("rows", options).map_err(failed)?;
        let recent = Cache::with_weighter(RECENT_ROWS_GUESSED, RECENT_BYTES, Weigh);
        Ok(Self { db, rows, recent, unflushed_bytes: AtomicU64::new(0), queue: Mutex::new(()) })
    }

    /// The current row, also from a batch that is being committed.
    pub fn get(&self, key: &[u8]) -> Result<Option<fjall::Slice>, StoreError> {
        match self.recent.get(key) {
            Some(known) => Ok(known),
            None => self.rows.get(key).map_err(failed),
        }
    }

    /// The same, and caches it. The caller excludes writers of the key meanwhile.
    pub fn look_up(&self, key: Vec<u8>) -> Result<Option<fjall::Slice>, StoreError> {
        if let Some(known) = self.recent.get(&key[..]) {
            return Ok(known);
        }
        let found = self.rows.get(&key).map_err(failed)?;
        self.recent.insert(key.into(), found.clone());
        Ok(found)
    }

    /// One state: whole batches only.
    pub fn state(&self) -> State<'_> {
        State { store: self, snapshot: self.db.snapshot() }
    }

    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, batch: self.db.batch(), changed: Vec::new(), bytes: 0 }
    }

    /// Waits while the disk is behind.
    pub async fn room(&self, runtime: &Runtime) {
        if self.rows.sealed_memtable_count() < FULL_MEMTABLES {
            return;
        }
        let _turn = self.queue.lock().await;
        for _ in 0..ROOM_ATTEMPTS {
            // A simulation's clock must not depend on the disk's speed.
            if self.rows.sealed_memtable_count() < FULL_MEMTABLES || runtime.is_simulated() {
                return;
            }
            runtime.sleep(ROOM_PAUSE).await;
        }
    }

    /// Flushes fjall's buffered journal; refused after any failed write to disk.
    pub fn check(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::Buffer).map_err(failed)
    }

    /// The bytes of the first `limit` keys and values there, and the last of these keys if there may be more.
    pub fn measure(&self, range: Range, limit: usize) -> Result<(u64, Option<Vec<u8>>), StoreError> {
        let (mut bytes, mut rows, mut last) = (0, 0, None);
        for entry in self.state().range(range).take(limit) {
            let (key, value) = entry?;
            bytes += (key.len() + value.len()) as u64;
            (rows, last) = (rows + 1, Some(key));
        }
        Ok((bytes, last.filter(|_| rows == limit).map(|key| key.to_vec())))
    }

    /// Files of sorted rows.
    #[cfg(test)]
    pub fn files(&self) -> usize {
        self.rows.table_count()
    }

    fn written(&self, bytes: usize) -> Result<(), StoreError> {
        let unflushed = self.unflushed_bytes.fetch_add(bytes as u64, Ordering::AcqRel) + bytes as u64;
        // Of several writes that find the memtable full only one gets the number.
        if unflushed >= MEMTABLE_BYTES && self.unflushed_bytes.swap(0, Ordering::AcqRel) >= MEMTABLE_BYTES {
            self.rows.rotate_memtable().map_err(failed)?;
        }
        Ok(())
    }
}

impl Batch<'_> {
    pub fn insert(&mut self, key: Vec<u8>, value: impl Into<fjall::Slice>) {
        let value = value.into();
        self.bytes += key.len() + value.len() + MEMTABLE_ROW_BYTES;
        self.batch.insert(&self.store.rows, &key[..], value.clone());
        self.changed.push((key, value));
    }

    pub fn remove(&mut self, key: impl Into<fjall::Slice>) {
        let key = key.into();
        self.bytes += key.len() + MEMTABLE_ROW_BYTES;
        self.store.recent.remove(&key[..]);
        self.batch.remove(&self.store.rows, key);
    }

    /// The operating system has the write when it returns.
    pub fn commit(self) -> Result<(), StoreError> {
        // Of a batch that failed nothing is known: it is read again.
        let committed = self.batch.commit().map_err(failed);
        for (key, value) in self.changed {
            match committed {
                // Rows that were not looked up are not cached: most rows of a fan-out are not read soon.
                Ok(()) => _ = self.store.recent.replace(key.into(), Some(value), true),
                Err(_) => _ = self.store.recent.remove(&key[..]),
            }
        }
        committed?;
        self.store.written(self.bytes)
    }
}

/// Memory of a cached row, bytes, estimated.
#[derive(Clone)]
struct Weigh;

impl Weighter<Box<[u8]>, Option<fjall::Slice>> for Weigh {
    fn weight(&self, key: &Box<[u8]>, value: &Option<fjall::Slice>) -> u64 {
        (RECENT_ROW_BYTES + key.len() + value.as_ref().map_or(0, |value| value.len())) as u64
    }
}

pub(super) struct State<'a> {
    store: &'a Store,
    snapshot: Snapshot,
}

impl State<'_> {
    /// Keys and values, in the order of the keys.
    pub fn range(
        &self,
        range: Range,
    ) -> impl Iterator<Item = Result<(fjall::Slice, fjall::Slice), StoreError>> + use<> {
        self.snapshot.range(&self.store.rows, range).map(|entry| entry.into_inner().map_err(failed))
    }
}

/// From a key to a key.
pub(super) type Range = (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>);

fn failed(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(_) | fjall::Error::Locked => StoreError::Unavailable(error.to_string()),
        fjall::Error::Poisoned => StoreError::Broken("an earlier write to the disk failed".to_owned()),
        other => StoreError::Damaged(other.to_string()),
    }
}
