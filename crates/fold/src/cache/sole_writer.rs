//! Tables that other processes may write to, while this process is the sole writer: it folds every partition of the
//! group.
//!
//! Then all changes are made here and can be counted, so that reads can be cached until a change. It is correct also if
//! a process that was taken for dead still writes, or if we are that process:
//!
//! - No reader here can require another process's write before a watermark covers it. The watermark moves by our own
//!   folding, which finds the write (a record whose mark is passed, a spread withheld by another's row) and clears the
//!   cache, or by a watermark that others stored, which ends the state.
//! - So does every membership event of the group. The state starts again when every partition has found its place in
//!   the tables.
//! - It is a lease, renewed by checks of the tables that find no other process ahead.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kith_tables::{
    Apply, Changing, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, Version, Versions, Write,
};
use tokio::time::Instant;

use super::{CacheCounts, RowCache};

/// How long a check of the tables is valid. Shorter than a group takes to reassign a silent member's partitions (8 s).
const LEASE: Duration = Duration::from_secs(5);

pub(crate) struct SoleWriter {
    tables: Arc<dyn Keyspace>,
    versions: Versions,
    rows: Arc<RowCache>,
    is_sole: AtomicBool,
    started: Instant,
    /// When the last check began that found no process ahead, ms after the start.
    looked_ms: AtomicU64,
}

impl SoleWriter {
    pub(crate) fn new(tables: Arc<dyn Keyspace>, rows: CacheCounts) -> Self {
        let (is_sole, looked_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        let rows = Arc::new(RowCache::new(rows));
        Self { tables, versions: Versions::default(), rows, is_sole, started: Instant::now(), looked_ms }
    }

    /// The cached rows of the tables; writes go through to it.
    pub(crate) fn rows(&self) -> &Arc<RowCache> {
        &self.rows
    }

    /// From now on no other process folds.
    pub(crate) fn begin(&self) {
        self.looked(Instant::now());
        self.is_sole.store(true, Ordering::Release);
    }

    /// A check that began then has found no process ahead.
    pub(crate) fn looked(&self, began: Instant) {
        self.looked_ms.fetch_max(self.ms(began), Ordering::AcqRel);
    }

    fn is_sole(&self) -> bool {
        let looked_ms = self.looked_ms.load(Ordering::Acquire);
        let fresh = u128::from(self.ms(Instant::now()).saturating_sub(looked_ms)) < LEASE.as_millis();
        fresh && self.is_sole.load(Ordering::Acquire)
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Other processes may fold.
    pub(crate) fn end(&self) {
        self.is_sole.store(false, Ordering::Release);
        self.versions.all_changed();
    }

    /// There was a write that was not counted.
    pub(crate) fn forget(&self) {
        // The end of the state has cleared the cache.
        if self.is_sole.load(Ordering::Acquire) {
            self.versions.all_changed();
        }
    }

    fn changing(&self, table: &Table, partition: &Key) -> Changing<'_> {
        self.versions.changing(hash(table, partition))
    }

    /// `changing` is a write that has been made, but not ended.
    fn written(&self, changing: &Changing<'_>, write: Apply<'_>) {
        if let Some(versions) = changing.versions() {
            self.rows.written(versions, write);
        }
    }
}

fn hash(table: &Table, partition: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    (table.name, partition).hash(&mut hasher);
    hasher.finish()
}

#[async_trait]
impl Keyspace for SoleWriter {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.tables.get(table, key, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.tables.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        let changing = self.changing(table, partition);
        self.tables.apply(table, partition, writes).await?;
        self.written(&changing, Apply { table, partition, writes });
        Ok(())
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        let changing: Vec<_> = all.iter().map(|one| self.changing(one.table, one.partition)).collect();
        self.tables.apply_all(all).await?;
        changing.iter().zip(all).for_each(|(changing, &write)| self.written(changing, write));
        Ok(())
    }

    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        let version = self.versions.of(hash(table, partition));
        version.filter(|_| self.is_sole())
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.is_sole() && self.versions.are_current(versions)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.tables.scan(table, cursor).await
    }
}

#[cfg(test)]
mod tests {
    use kith_runtime::Runtime;

    use super::*;
    use crate::notes::{NOTES, keyspace, note};

    #[tokio::test(start_paused = true)]
    async fn a_version_ends_with_a_write_with_a_word_and_with_what_was_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
        let sole_writer = SoleWriter::new(tables, CacheCounts::default());
        let book = Key::text("a");
        assert!(sole_writer.version(&NOTES, &book).is_none(), "others may write");
        sole_writer.begin();
        let write = note(1, "x", 1);
        for together in [false, true] {
            let version = sole_writer.version(&NOTES, &book).unwrap();
            assert!(sole_writer.are_current(&[version]));
            let writes = std::slice::from_ref(&write);
            match together {
                true => sole_writer.apply_all(&[Apply { table: &NOTES, partition: &book, writes }]).await.unwrap(),
                false => sole_writer.apply(&NOTES, &book, writes).await.unwrap(),
            }
            assert!(!sole_writer.are_current(&[version]));
        }
        let version = sole_writer.version(&NOTES, &book).unwrap();
        sole_writer.forget();
        assert!(!sole_writer.are_current(&[version]));
        let version = sole_writer.version(&NOTES, &book).unwrap();
        sole_writer.end();
        assert!(!sole_writer.are_current(&[version]) && sole_writer.version(&NOTES, &book).is_none());
        sole_writer.begin();
        assert!(!sole_writer.are_current(&[version]), "others may have written meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_believed_no_longer_than_a_look_is_good_for() {
        let folder = tempfile::tempdir().unwrap();
        let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
        let sole_writer = SoleWriter::new(tables, CacheCounts::default());
        let is_known = || sole_writer.version(&NOTES, &Key::text("a")).is_some();
        sole_writer.begin();
        let version = sole_writer.version(&NOTES, &Key::text("a")).unwrap();
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        assert!(is_known());
        let began = Instant::now();
        tokio::time::advance(LEASE / 2).await;
        assert!(!is_known() && !sole_writer.are_current(&[version]));
        sole_writer.looked(began);
        assert!(is_known());
        tokio::time::advance(LEASE / 2).await;
        assert!(!is_known(), "counted from when the look began");
    }

    /// Tables whose writes never end.
    struct Stuck;

    #[async_trait]
    impl Keyspace for Stuck {
        async fn get(&self, _: &'static Table, _: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
            Ok(vec![None; rows.len()])
        }

        async fn slice(&self, _: &'static Table, _: &Key, _: &Slice) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }

        async fn apply(&self, _: &'static Table, _: &Key, _: &[Write]) -> Result<(), StoreError> {
            std::future::pending().await
        }

        async fn scan(&self, _: &'static Table, _: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
            Ok(ScanPage { rows: Vec::new(), next: None })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_given_up_in_the_middle_counts() {
        let (sole_writer, book) = (SoleWriter::new(Arc::new(Stuck), CacheCounts::default()), Key::text("a"));
        sole_writer.begin();
        let version = sole_writer.version(&NOTES, &book).unwrap();
        let mut write = Box::pin(sole_writer.apply(&NOTES, &book, &[]));
        assert!(futures::poll!(&mut write).is_pending());
        assert!(
            sole_writer.version(&NOTES, &book).is_none() && !sole_writer.are_current(&[version]),
            "it is under way"
        );
        drop(write);
        assert!(sole_writer.version(&NOTES, &book).is_some() && !sole_writer.are_current(&[version]));
    }
}
