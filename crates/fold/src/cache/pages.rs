//! Caches repeated answers, each with the versions of all table partitions that it was read from, and returns one while
//! none of them has changed. So no answer is older than the tables, and a cached answer after a wait for a token
//! includes it: a watermark moves only when all writes below it are counted.
//!
//! Only while no other process writes to the tables ([`super::SoleWriter`]); otherwise nothing is cached.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, Version, Write};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::CacheCounts;

/// Answers, with their keys and versions, of a fold group: bytes.
const PAGE_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Overhead per answer, estimated.
const ANSWER_BYTES: usize = 128;
/// Approximate bytes of a first page of fifty: only the initial capacity depends on it.
const ANSWERS_GUESSED: usize = 1_024;
/// An answer that was read from more table partitions than this takes too long to check.
const PARTITIONS_MAX: usize = 1_024;

/// Answers of one generation of a fold group.
pub(crate) struct PageCache {
    answers: Cache<Box<[u8]>, Arc<Answer>, Weigh>,
    counts: CacheCounts,
}

struct Answer {
    bytes: Bytes,
    read_from: Vec<Version>,
}

impl PageCache {
    pub(crate) fn new(counts: CacheCounts) -> Self {
        Self { answers: Cache::with_weighter(ANSWERS_GUESSED, PAGE_CACHE_BYTES, Weigh), counts }
    }

    /// The answer for `key`: cached, or made by `read` from the tables that it is given.
    pub(crate) async fn answer<E, F, Fut>(&self, tables: &Arc<dyn Keyspace>, key: &[u8], read: F) -> Result<Bytes, E>
    where
        F: FnOnce(Arc<dyn Keyspace>) -> Fut,
        Fut: Future<Output = Result<Bytes, E>>,
    {
        if let Some(known) = self.answers.get(key)
            && tables.are_current(&known.read_from)
        {
            self.counts.remembered.inc();
            return Ok(known.bytes.clone());
        }
        let noting = Arc::new(Noting { tables: Arc::clone(tables), read_from: Mutex::new(Some(Vec::new())) });
        let bytes = read(Arc::clone(&noting) as Arc<dyn Keyspace>).await?;
        self.counts.read.inc();
        if let Some(read_from) = noting.take() {
            self.answers.insert(key.into(), Arc::new(Answer { bytes: bytes.clone(), read_from }));
        }
        Ok(bytes)
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Box<[u8]>, Arc<Answer>> for Weigh {
    fn weight(&self, key: &Box<[u8]>, answer: &Arc<Answer>) -> u64 {
        (ANSWER_BYTES + key.len() + answer.bytes.len() + answer.read_from.len() * size_of::<Version>()) as u64
    }
}

/// Tables that record which of their partitions are read.
struct Noting {
    tables: Arc<dyn Keyspace>,
    /// `None`: some version is unknown.
    read_from: Mutex<Option<Vec<Version>>>,
}

impl Noting {
    /// Before the rows are read, so that a concurrent change is noticed.
    fn note(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        let version = self.tables.version(table, partition);
        let mut read_from = self.read_from.lock().unwrap_or_else(PoisonError::into_inner);
        *read_from = read_from.take().zip(version).map(|(mut all, version)| {
            all.push(version);
            all
        });
        read_from.take_if(|all| all.len() > PARTITIONS_MAX);
        version
    }

    fn take(&self) -> Option<Vec<Version>> {
        self.read_from.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Keyspace for Noting {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.note(table, key);
        self.tables.get(table, key, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.note(table, partition);
        self.tables.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.tables.apply(table, partition, writes).await
    }

    /// The caller reads the rows, or caches them.
    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        self.note(table, partition)
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.tables.are_current(versions)
    }

    /// Of no table partition: the answer is not cached.
    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.take();
        self.tables.scan(table, cursor).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use kith_runtime::Runtime;
    use kith_tables::RowRange;

    use super::*;
    use crate::notes::{NOTES, NoteRow, keyspace, note};

    struct Desk {
        tables: Arc<dyn Keyspace>,
        cache: PageCache,
        reads: AtomicU64,
        _folder: tempfile::TempDir,
    }

    impl Desk {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
            Self { tables, cache: PageCache::new(CacheCounts::default()), reads: AtomicU64::new(0), _folder: folder }
        }

        async fn write(&self, book: &str, text: &str, position: u64) {
            self.tables.apply(&NOTES, &Key::text(book), &[note(1, text, position)]).await.unwrap();
        }

        /// How many rows these books have, in one answer.
        async fn count(&self, books: &[&str]) -> u8 {
            let key = books.join(" ");
            let read = |tables: Arc<dyn Keyspace>| async move {
                self.reads.fetch_add(1, Ordering::Relaxed);
                let mut rows = 0;
                for &book in books {
                    let slice = Slice { range: RowRange::all::<NoteRow>(), limit: 10 };
                    rows += tables.slice(&NOTES, &Key::text(book), &slice).await?.len();
                }
                Ok::<_, StoreError>(Bytes::from(vec![rows as u8]))
            };
            self.cache.answer(&self.tables, key.as_bytes(), read).await.unwrap()[0]
        }

        fn reads(&self) -> u64 {
            self.reads.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_stands_until_a_partition_behind_it_changes() {
        let desk = Desk::new().await;
        desk.write("a", "x", 1).await;
        assert_eq!((desk.count(&["a", "b"]).await, desk.count(&["a", "b"]).await, desk.reads()), (1, 1, 1));
        desk.write("c", "x", 1).await;
        assert_eq!((desk.count(&["a", "b"]).await, desk.reads()), (1, 1), "it was not read from there");
        desk.write("b", "x", 1).await;
        assert_eq!((desk.count(&["a", "b"]).await, desk.reads()), (2, 2), "a partition that was empty counts too");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_an_answer_is_read_makes_it_old() {
        let desk = Desk::new().await;
        let read = |tables: Arc<dyn Keyspace>| {
            let desk = &desk;
            async move {
                let row = [RowKey::of::<NoteRow>([1.into()])];
                let before = tables.get(&NOTES, &Key::text("a"), &row).await?;
                desk.write("a", "x", 1).await;
                Ok::<_, StoreError>(Bytes::from(vec![u8::from(before[0].is_some())]))
            }
        };
        assert_eq!(desk.cache.answer(&desk.tables, b"a", read).await.unwrap()[0], 0);
        let again = |_| async { Ok::<_, StoreError>(Bytes::from_static(&[7])) };
        assert_eq!(desk.cache.answer(&desk.tables, b"a", again).await.unwrap()[0], 7, "asked anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_not_remembered() {
        let desk = Desk::new().await;
        let failing = |_| async { Err(StoreError::Unavailable("by chance".into())) };
        assert!(desk.cache.answer(&desk.tables, b"a", failing).await.is_err());
        let well = |_| async { Ok::<_, StoreError>(Bytes::from_static(b"well")) };
        assert_eq!(desk.cache.answer(&desk.tables, b"a", well).await.unwrap(), "well");
    }
}
