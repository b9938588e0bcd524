//! A log that counts how many reads of it are begun at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kith_log::{
    AppendError, EventLog, LogError, LogPartition, Membership, NewRecord, Note, Offset, PartitionIndex, Position,
    RecordReader, Topic,
};

/// Wraps a log. Folds join it as members: what is counted are the reads outside of any group.
pub struct Counted {
    inner: Arc<dyn EventLog>,
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl Counted {
    pub fn new(inner: Arc<dyn EventLog>) -> Self {
        Self { inner, now: AtomicUsize::new(0), most: AtomicUsize::new(0), all: AtomicUsize::new(0) }
    }

    /// All since the last time that it was asked, and the most that there were at a time.
    pub fn take(&self) -> (usize, usize) {
        (self.all.swap(0, Ordering::Relaxed), self.most.swap(0, Ordering::Relaxed))
    }
}

#[async_trait]
impl EventLog for Counted {
    fn partition_count(&self) -> PartitionIndex {
        self.inner.partition_count()
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.inner.create_topics(topics).await
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.inner.check_topics(topics).await
    }

    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        self.inner.append_noted(record, note).await
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        self.inner.heads(topic).await
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        self.all.fetch_add(1, Ordering::Relaxed);
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        // Long enough for all others that may to begin.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        self.inner.read(partition, from).await
    }

    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        self.inner.join(group, topics).await
    }

    async fn close(&self, within: Duration) {
        self.inner.close(within).await;
    }
}
