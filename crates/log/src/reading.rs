//! Shared by both adapters' readers: how much they hold, and when they end.

use tokio::sync::{mpsc, watch};

use crate::{LogError, LogPartition, READ_AHEAD_BYTES, Record, RecordReader};

/// Batches that may wait for a reader's fold.
pub(crate) const READ_AHEAD_BATCHES: usize = 4;
/// One batch, bytes (one record may exceed it). All waiting batches are half of what a partition's reader may hold; the
/// other half is the client library's.
pub(crate) const BATCH_BYTES: usize = READ_AHEAD_BYTES / 2 / READ_AHEAD_BATCHES;

/// The sending side of a reader.
pub(crate) type Batches = mpsc::Sender<Result<Vec<Record>, LogError>>;

/// A reader, for which `ahead` batches may wait, and the sender that feeds it.
pub(crate) fn reader(partition: LogPartition, ahead: usize) -> (Batches, RecordReader) {
    let (batches, waiting) = mpsc::channel(ahead.min(READ_AHEAD_BATCHES));
    (batches, RecordReader::new(partition, waiting))
}

/// The last assignment that a group sent to a member. `number` counts assignments from 1; 0: none yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub number: u64,
    pub partitions: Vec<LogPartition>,
}

/// Sends the next assignment; all readers of earlier ones end.
pub(crate) fn announce(words: &watch::Sender<Word>, partitions: Vec<LogPartition>) {
    words.send_modify(|word| {
        word.number += 1;
        word.partitions = partitions;
    });
}

/// How long a reader lives.
#[derive(Clone)]
pub(crate) struct Lifetime {
    pub closed: watch::Receiver<bool>,
    /// For a reader of a group: the assignments, and the one it belongs to.
    pub word: Option<(watch::Receiver<Word>, u64)>,
}

impl Lifetime {
    /// Returns when the reader must end: its log closed, or the group sent another assignment.
    pub async fn over(mut self) {
        let closed = async { drop(self.closed.wait_for(|closed| *closed).await) };
        let void = async {
            match &mut self.word {
                Some((words, mine)) => drop(words.wait_for(|word| word.number != *mine).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! { () = closed => {}, () = void => {} }
    }
}

/// Collects records until a batch is full.
#[derive(Default)]
pub(crate) struct Batch {
    pub records: Vec<Record>,
    held_bytes: usize,
}

impl Batch {
    /// Takes the record; false when that fills the batch.
    pub fn push(&mut self, record: Record) -> bool {
        self.held_bytes += record.held_bytes();
        self.records.push(record);
        self.held_bytes < BATCH_BYTES
    }
}
