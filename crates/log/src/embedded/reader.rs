//! Feeds one reader: from memory near the head, from disk before that; woken when the partition grows.

use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use kith_runtime::Runtime;

use super::frame;
use super::store::Store;
use super::{Partition, Shared};
use crate::reading::{self, Batch, Batches, Lifetime};
use crate::{LogError, Offset, Position, Record, RecordReader};

/// Batches that wait for a fold: with the current one more than it folds together. Later records are mostly in memory
/// already, in a smaller form.
const AHEAD_BATCHES: usize = 2;

/// Starts the task that feeds a reader of `partition` from `from` on.
pub(super) fn spawn(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    store: &Weak<Store>,
    partition: Arc<Partition>,
    from: Offset,
    lifetime: Lifetime,
) -> RecordReader {
    let (batches, reader) = reading::reader(partition.id, AHEAD_BATCHES);
    let feed =
        Feed { runtime: runtime.clone(), shared: Arc::clone(shared), store: Weak::clone(store), partition, next: from };
    runtime.spawn(async move {
        tokio::select! {
            biased;
            () = lifetime.over() => {}
            () = batches.closed() => {}
            () = feed.run(&batches) => {}
        }
    });
    reader
}

struct Feed {
    runtime: Runtime,
    shared: Arc<Shared>,
    /// Weak: an open reader does not keep the folder of a dropped log locked.
    store: Weak<Store>,
    partition: Arc<Partition>,
    next: Offset,
}

impl Feed {
    /// Runs until the reader is dropped or the log cannot be read.
    async fn run(mut self, batches: &Batches) {
        let mut head = self.partition.head.subscribe();
        let next = *head.borrow_and_update();
        if self.next > next {
            let out = LogError::OutOfRange { partition: self.partition.id, asked: self.next, first: 0, next };
            return drop(batches.send(Err(out)).await);
        }
        // First the slot in the reader, then the records: so none are held here in addition to those that wait there.
        while let Ok(place) = batches.reserve().await {
            let Ok(until) = head.wait_for(|head| *head > self.next).await.map(|head| *head) else { return };
            match self.batch(until).await {
                Ok(records) => {
                    self.next += records.len() as Offset;
                    place.send(Ok(records));
                }
                Err(error) => return place.send(Err(error)),
            }
        }
    }

    async fn batch(&self, head: Offset) -> Result<Vec<Record>, LogError> {
        let (partition, next) = (self.partition.id, self.next);
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner).read(partition, next);
        if let Some(frames) = recent {
            return decoded(frames);
        }
        let store = self.store.upgrade().ok_or(LogError::Closed)?;
        self.runtime.blocking(move || store.read(partition, next, head)).await.unwrap_or(Err(LogError::Closed))
    }
}

/// One batch; the rest is read again with the next one.
fn decoded(frames: Vec<(Position, Bytes)>) -> Result<Vec<Record>, LogError> {
    let mut batch = Batch::default();
    for (position, frame) in frames {
        if !batch.push(frame::decode(position, frame)?) {
            break;
        }
    }
    Ok(batch.records)
}
