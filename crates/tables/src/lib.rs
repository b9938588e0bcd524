//! Tables: folds write them, queries read them. Disposable: a replay of the log rebuilds them.
//!
//! Rules every adapter keeps (the contract suite checks each):
//!
//! 1. A row is written whole. It carries the position (log offset) of the record that it comes from; a row at an older
//!    position than the existing one loses, one at the same position is the same row.
//! 2. All writes of one `apply` go into one table partition and are applied all or nothing.
//! 3. `get` sees one state of the table partition: never half of an `apply`.
//! 4. A slice walked by its cursor, while rows arrive, neither repeats a row nor skips one that existed at the start.
//! 5. After an error of `apply` the rows may or may not be written; applying them again is safe.
//! 6. A store with versions never reports one as current after an `apply` to its table partition has returned, or
//!    failed.
//! 7. A removal at a position hides each version of its row at or below it, also one that a late writer brings after
//!    it. A row above it stands, whichever comes first. A removed row is no row: no read, scan or digest shows it.
//! 8. A store forgets a removal in the end: a CQL server 10 days after it (`gc_grace_seconds`), the embedded one an hour
//!    after it or when it is opened again. A writer that is later than that brings the row back. So a removal clears
//!    space; who reads rows that may be removed checks them against a row that is not (ADR 20).
//! 9. Nothing else is deleted, and nothing expires.
//!
//! A table is declared once ([`Table`]); the declaration gives the CQL, the prepared statements and the embedded
//! encoding. Only this crate knows CQL drivers.

pub mod check;
mod column;
pub mod contract;
pub mod cql;
mod digest;
pub mod embedded;
mod row;
mod table;
mod value;
mod version;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

pub use column::Column;
pub use digest::{Digest, TableDigest, digest, digest_where};
pub use row::{Key, Row, RowKey, RowRange, RowType, SectionId, Slice, Write};
pub use table::{Order, Section, Table};
pub use value::{Cell, Kind, Timestamp, Value};
pub use version::{Changing, Version, Versions};

/// Rows one slice may ask for.
pub const MAX_SLICE_ROWS: usize = 1_000;
/// Rows one `get` may name.
pub const MAX_GET_ROWS: usize = 512;
/// Rows one `apply` may write and remove.
pub const MAX_APPLY_ROWS: usize = 1_024;
/// Bytes of keys and columns one `apply` may write: a CQL server takes no larger mutation than half a commit log segment.
pub const MAX_APPLY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the partition columns, and of the clustering columns, of one row.
pub const MAX_KEY_BYTES: usize = 8 * 1024;

/// Table partitions that one `apply_all` writes at once.
const APPLIES_IN_FLIGHT: usize = 64;

/// A server or a folder that holds keyspaces.
#[async_trait]
pub trait TableStore: Send + Sync + 'static {
    /// Creates the keyspace and its missing tables.
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError>;

    /// Opens a keyspace that `create` made. `Contract` when a table is missing or has other columns.
    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError>;

    /// Whether `create` has made the keyspace, whatever tables it has by now.
    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError>;

    /// Removes a keyspace with all its content; a missing one is fine.
    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError>;

    /// How much space the keyspace takes, roughly: of the embedded store the bytes of its rows' keys and values, which
    /// its files store closer; of a CQL server what it says of its files, over all copies, without what is not in a file yet.
    /// `None`: the store does not say, or has no such keyspace.
    async fn size_bytes(&self, keyspace: &str) -> Result<Option<u64>, StoreError> {
        let _ = keyspace;
        Ok(None)
    }

    /// How far before its stored watermark a fold restarts, because this store's server may have lost its last
    /// acknowledged writes. Zero for a store that loses rows and watermark together.
    fn restart_margin(&self) -> Duration;

    /// Whether other processes may have the same tables open.
    fn is_shared(&self) -> bool;

    /// Whether the store answers now.
    async fn check(&self) -> Result<(), StoreError>;

    /// Incremented when a lost connection is made again (and maybe at other times), before the new one is used for
    /// reads. When the number has changed, the server may have lost rows: what is cached of tables must be dropped.
    fn reconnects(&self) -> u64;
}

/// The tables of one generation of one fold group.
#[async_trait]
pub trait Keyspace: Send + Sync + 'static {
    /// The rows of these keys, in the requested order; `None` for an absent row. At most [`MAX_GET_ROWS`].
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError>;

    /// Up to `slice.limit` rows of one section, in the table's order. Fewer than asked: there are no more. At most
    /// [`MAX_SLICE_ROWS`].
    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError>;

    /// Writes and removes rows of one table partition, each at its position. At most [`MAX_APPLY_ROWS`], [`MAX_APPLY_BYTES`].
    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError>;

    /// Several `apply`s, concurrently, no row in two of them: after an error some may be written.
    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        // Named, as a closure's future would be of one lifetime only.
        let applies: Vec<_> = all.iter().map(|one| self.apply(one.table, one.partition, one.writes)).collect();
        stream::iter(applies).buffer_unordered(APPLIES_IN_FLIGHT).try_collect().await
    }

    /// The version of the table partition; to be read before its rows. `None`: it is being changed, or other processes
    /// may write to it unnoticed.
    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        let _ = (table, partition);
        None
    }

    /// Whether none of these table partitions has changed since. It may be false although none has.
    fn are_current(&self, versions: &[Version]) -> bool {
        versions.is_empty()
    }

    /// Every row of a table, unordered, one page at a time; continues at `cursor`. For digests and tools.
    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError>;
}

/// What one `apply` writes.
#[derive(Debug, Clone, Copy)]
pub struct Apply<'a> {
    pub table: &'static Table,
    pub partition: &'a Key,
    pub writes: &'a [Write],
}

/// Part of a whole table.
pub struct ScanPage {
    pub rows: Vec<(Key, Row)>,
    /// Where to continue; `None` at the end.
    pub next: Option<Vec<u8>>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the tables do not answer: {0}")]
    Unavailable(String),
    /// A write to the disk failed, and no more are accepted until the process restarts.
    #[error("the tables take no more writes until a restart: {0}")]
    Broken(String),
    /// Another process owns the embedded tables' folder; a process that was just killed still does for a moment.
    #[error("{0} is open in another process")]
    InUse(String),
    /// Keyspace or table missing or different from its declaration.
    #[error("the tables differ from their declaration: {0}")]
    Contract(String),
    #[error("the tables are damaged: {0}")]
    Damaged(String),
    /// More rows than one call may carry; nothing was done.
    #[error("{asked} rows in one call, {limit} are allowed")]
    TooMany { asked: usize, limit: usize },
    /// A longer key, or more bytes, than one call may carry; nothing was done.
    #[error("{bytes} bytes in one key or call, {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
}
