//! The records on disk. Everything here blocks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{folder, frame};
use crate::reading::Batch;
use crate::{LogError, LogPartition, Offset, PartitionIndex, Position, Record, Topic};

/// Records not yet in sorted files, bytes of memory. fjall frees them only when the next memtable is full, so that
/// twice as much is in memory.
const MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// Overhead per memtable entry beside its value, bytes, estimated: its node, its key, the allocator's share.
const MEMTABLE_ENTRY_BYTES: usize = 144;
/// Sorted files that may exist before they are merged. Readers at the head do not read them, and each contains all
/// partitions, so that every merge rewrites everything.
const UNMERGED_FILES: u8 = 8;
/// Blocks of sorted files kept in memory, bytes. Small: readers read a partition once, and the head is cached
/// separately.
const BLOCK_CACHE_BYTES: u64 = 1024 * 1024;
/// Flushing and merging run in the background and must not take cores from the folds.
const BACKGROUND_THREADS: usize = 1;

pub(super) struct Store {
    pub(super) records: Keyspace,
    /// Topic id u16 BE → name.
    topics: Keyspace,
    pub(super) database: Database,
    persist: PersistMode,
    /// In the memtable, so that we seal it: otherwise fjall 3.1 sends its one worker a request with every write, and a
    /// queue full of such requests deadlocks.
    unflushed_bytes: AtomicU64,
    #[cfg(test)]
    pub(super) fail_writes: std::sync::atomic::AtomicBool,
    /// Last, so that the folder is free only when the database is closed.
    _lock: std::fs::File,
}

/// Why a group of records was not written as asked.
pub(super) enum WriteError {
    /// None was written.
    Nothing(String),
    /// They may be found after a restart.
    Unknown(String),
}

impl Store {
    /// `durable`: whether a write waits for the disk. Not in a simulation: its disk never loses power.
    pub fn open(dir: &Path, partitions: PartitionIndex, durable: bool) -> Result<Self, LogError> {
        let lock = folder::take(dir, partitions)?;
        let failed = |error: fjall::Error| match error {
            fjall::Error::Io(error) => LogError::Unavailable(format!("{}: {error}", dir.display())),
            fjall::Error::Locked => LogError::Unavailable(format!("{} is locked", dir.display())),
            error => LogError::Damaged(format!("{}: {error}", dir.display())),
        };
        let database = Database::builder(dir.join(folder::STORE))
            .cache_size(BLOCK_CACHE_BYTES)
            .worker_threads(BACKGROUND_THREADS)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let merging = Arc::new(Leveled::default().with_l0_threshold(UNMERGED_FILES));
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(u64::MAX).compaction_strategy(merging.clone());
        let records = database.keyspace("records", options).map_err(failed)?;
        let topics = database.keyspace("topics", KeyspaceCreateOptions::default).map_err(failed)?;
        // The journal is one append-only file: only its data and length must be on the disk, and fdatasync writes both.
        // fjall itself fsyncs the file and its folder when it starts a new one.
        let persist = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let store = Self {
            records,
            topics,
            database,
            persist,
            unflushed_bytes: AtomicU64::new(0),
            #[cfg(test)]
            fail_writes: false.into(),
            _lock: lock,
        };
        Ok(store)
    }

    /// All existing topics: id and name.
    pub fn topics(&self) -> Result<Vec<(u16, String)>, LogError> {
        let mut found = Vec::new();
        for entry in self.topics.iter() {
            let (id, name) = entry.into_inner().map_err(unreadable)?;
            let id = id[..].try_into().map(u16::from_be_bytes);
            match (id, std::str::from_utf8(&name)) {
                (Ok(id), Ok(name)) => found.push((id, name.to_owned())),
                _ => return Err(LogError::Damaged("the list of topics".to_owned())),
            }
        }
        Ok(found)
    }

    pub fn add_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        let mut batch = self.database.batch().durability(Some(self.persist));
        for topic in topics {
            batch.insert(&self.topics, topic.id.to_be_bytes(), topic.name.as_bytes());
        }
        batch.commit().map_err(unreadable)
    }

    /// The offset after the last record of the partition.
    pub fn head(&self, partition: LogPartition) -> Result<Offset, LogError> {
        let all = frame::key(partition, 0)..=frame::key(partition, Offset::MAX);
        let Some(last) = self.records.range(all).next_back() else { return Ok(0) };
        let key = last.key().map_err(unreadable)?;
        match frame::offset_of(&key) {
            Some(offset) if offset < Offset::MAX => Ok(offset + 1),
            _ => Err(LogError::Damaged(format!("{partition}: the last key"))),
        }
    }

    /// Writes all or none; they are on the disk when it returns `Ok`.
    pub fn write(&self, records: &[(Position, Bytes)]) -> Result<(), WriteError> {
        #[cfg(test)]
        if self.fail_writes.load(Ordering::SeqCst) {
            return Err(WriteError::Unknown("the test's disk is broken".to_owned()));
        }
        // fjall's commit syncs before it changes the memtable: readers never see unsynced records.
        let mut batch = self.database.batch().durability(Some(self.persist));
        let mut bytes = 0;
        for (position, frame) in records {
            let key = frame::key(position.partition, position.offset);
            bytes += (frame.len() + MEMTABLE_ENTRY_BYTES) as u64;
            batch.insert(&self.records, key, &frame[..]);
        }
        batch.commit().map_err(|error| match error {
            fjall::Error::Poisoned => WriteError::Nothing("an earlier write failed".to_owned()),
            error => WriteError::Unknown(error.to_string()),
        })?;
        self.make_room(bytes);
        Ok(())
    }

    /// Seals a full memtable for the background writer. The records are durable either way.
    fn make_room(&self, bytes: u64) {
        let unflushed = self.unflushed_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let is_full = unflushed >= MEMTABLE_BYTES && self.unflushed_bytes.swap(0, Ordering::AcqRel) >= MEMTABLE_BYTES;
        if is_full && let Err(error) = self.records.rotate_memtable() {
            tracing::warn!(%error, "a full memtable stays in memory");
        }
    }

    /// Records from `from` on, before `head`, one batch of them. `OutOfRange` if those from there are forgotten.
    pub fn read(&self, partition: LogPartition, from: Offset, head: Offset) -> Result<Vec<Record>, LogError> {
        let mut batch = Batch::default();
        let mut expected = from;
        for entry in self.records.range(frame::key(partition, from)..frame::key(partition, head)) {
            let (key, value) = entry.into_inner().map_err(unreadable)?;
            let found = frame::offset_of(&key);
            if let Some(first) = found.filter(|first| *first > from && expected == from && partition.topic.forgets()) {
                return Err(LogError::OutOfRange { partition, asked: from, first, next: head });
            }
            if found != Some(expected) {
                break;
            }
            let position = Position { partition, offset: expected };
            let more = batch.push(frame::decode(position, Bytes::copy_from_slice(&value))?);
            expected += 1;
            if !more {
                return Ok(batch.records);
            }
        }
        if expected < head {
            return Err(LogError::Damaged(format!("{partition}@{expected} is missing")));
        }
        Ok(batch.records)
    }
}

pub(super) fn unreadable(error: fjall::Error) -> LogError {
    LogError::Damaged(error.to_string())
}
