//! The log: the suite's only source of truth.
//!
//! Rules every adapter keeps, whatever else it does (the contract suite checks each):
//!
//! 1. A record whose `append` answered `Ok` is durable, and is read again by every later reader, also over kill -9.
//! 2. One log partition is totally ordered by offset; readers see its records in that order, without gaps.
//! 3. An `append` that failed with [`AppendError::Refused`] wrote nothing. After [`AppendError::Unknown`] the record may
//!    or may not be in the log, once or twice: the caller repeats it under the same id, and folds drop the copy.
//! 4. A member of a group receives its partitions as an assignment; the previous assignment is void at once. Two
//!    members may for a while both believe that they own one partition: a writer must not depend on being the sole one.
//! 5. A reader that does not read makes its adapter wait; memory stays within [`READ_AHEAD_BYTES`] per partition.
//!
//! Only this crate knows Kafka; only `embedded.rs` here knows how fjall is used as a log.

pub mod contract;
pub mod embedded;
pub mod kafka;
mod reading;
mod record;
mod topic;

use async_trait::async_trait;

pub use record::{Header, NewRecord, Record, RecordId, headers};
pub use topic::{LogPartition, Offset, PartitionIndex, Position, Topic, partition_of, topics};

/// A record's key, headers and value together, bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Headers of one record.
pub const MAX_HEADERS: usize = 64;
/// What one partition's reader may hold before its fold takes it, bytes (one record may exceed it).
pub const READ_AHEAD_BYTES: usize = 1024 * 1024;

/// What the log calls with the place of a record that it has taken.
pub type Note = Box<dyn FnOnce(Position) + Send + Sync>;

/// A log of topics with a fixed number of partitions each.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Partitions of every topic: chosen when the log was created, never changed.
    fn partition_count(&self) -> PartitionIndex;

    /// Creates the missing topics; leaves the others unchanged. `Err` when one exists with another contract.
    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError>;

    /// Whether the topics satisfy their contract; the answer names every difference.
    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError>;

    /// Appends to the partition that the key decides. Durable when it returns `Ok`.
    async fn append(&self, record: NewRecord) -> Result<Position, AppendError> {
        self.append_noted(record, Box::new(|_| ())).await
    }

    /// Appends, and calls `note` with the record's place once the record is durable. It does so before it answers this append, and
    /// before it answers any append through this adapter whose record is later in the partition. `note` runs in the log's own
    /// thread: it must be short and must not panic. The log does not call it for an append that fails, and may call it after the
    /// future was dropped.
    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError>;

    /// For each partition of `topic`, the offset of its next record.
    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError>;

    /// Reads one partition from `from` on, following the head, outside any group.
    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError>;

    /// Deletes what the log took of a topic that forgets ([`Topic::forgets`]) before that time, milliseconds since 1970; the last record
    /// of each partition stays. Where servers do so by themselves, nothing.
    async fn forget(&self, _topic: Topic, _before_ms: kith_runtime::UnixMillis) -> Result<(), LogError> {
        Ok(())
    }

    /// Joins a consumer group over `topics`.
    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError>;

    /// Accepts no more appends, waits until the accepted ones are durable or `within` has passed.
    async fn close(&self, within: std::time::Duration);
}

/// One process's membership of a consumer group. Dropping it leaves the group.
#[async_trait]
pub trait Membership: Send {
    /// Waits for the next assignment of the group: all partitions that this member owns from now on (none: all were
    /// revoked). The previous assignment is void, its readers end.
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError>;

    /// Starts reading the partitions of the last assignment, each from its offset. Each assignment must be answered by
    /// one call.
    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError>;

    /// Reports this member's progress to the group, for other programs that watch lag. We never read it back.
    async fn report(&self, next: &[(LogPartition, Offset)]);
}

/// One partition's records, in order, following the head.
pub struct RecordReader {
    pub partition: LogPartition,
    pub(crate) batches: tokio::sync::mpsc::Receiver<Result<Vec<Record>, LogError>>,
}

impl RecordReader {
    /// Records in the order of the log, at least one; `None` when the partition was revoked or the log closed.
    pub async fn next(&mut self) -> Option<Result<Vec<Record>, LogError>> {
        self.batches.recv().await
    }

    /// The available records, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Vec<Record>, LogError>> {
        self.batches.try_recv().ok()
    }

    /// A reader fed by `batches`: for adapters, also those of tests.
    pub fn new(partition: LogPartition, batches: tokio::sync::mpsc::Receiver<Result<Vec<Record>, LogError>>) -> Self {
        Self { partition, batches }
    }
}

/// Why an append did not answer with a position.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written and nothing will be.
    #[error("the log took nothing: {0}")]
    Refused(String),
    /// Too much is in flight already; nothing was written.
    #[error("the log's queue is full")]
    Full,
    /// The record may be in the log. Repeat it under the same id.
    #[error("the log did not answer whether the record is written: {0}")]
    Unknown(String),
}

/// Why a read, a check or a membership failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    #[error("the log does not answer: {0}")]
    Unavailable(String),
    /// A write to the disk failed, and no more are accepted until the process restarts and reads the disk back.
    #[error("the log takes no more records until a restart: {0}")]
    Broken(String),
    /// Another process owns the embedded log's folder; a process that was just killed still does for a moment.
    #[error("{0} is open in another process")]
    InUse(String),
    /// The offset is not in the log: it lost its tail, or its head was cut.
    #[error("{partition} holds offsets {first} to {next}, not {asked}")]
    OutOfRange { partition: LogPartition, asked: Offset, first: Offset, next: Offset },
    /// The topics do not satisfy their contract.
    #[error("the log differs from its contract: {0}")]
    Contract(String),
    #[error("the log is damaged: {0}")]
    Damaged(String),
    #[error("the log is closed")]
    Closed,
}
