//! Feeds one reader from its partition's queue, woken by the client library.

use std::sync::Arc;
use std::time::Duration;

use kith_runtime::Runtime;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::Notify;

use super::consumer::{Consumer, Queue};
use super::message;
use super::offsets::Watermarks;
use crate::reading::{self, Batch, Batches, Lifetime};
use crate::{LogError, LogPartition, Offset, Record, RecordReader};

/// A lost wake-up (it happened in earlier versions of the library) costs at most this much.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What every reader needs.
#[derive(Clone)]
pub(super) struct Readers {
    pub runtime: Runtime,
    pub watermarks: Arc<Watermarks>,
}

impl Readers {
    /// Starts the task that feeds a reader from `queue`. It keeps `consumer` running.
    pub fn spawn(
        &self,
        partition: LogPartition,
        from: Offset,
        mut queue: Queue,
        lifetime: Lifetime,
        consumer: Option<Consumer>,
    ) -> RecordReader {
        let (batches, reader) = reading::reader(partition, reading::READ_AHEAD_BATCHES);
        let grown = Arc::new(Notify::new());
        let waker = Arc::clone(&grown);
        queue.set_nonempty_callback(move || waker.notify_one());
        let feed = Feed { readers: self.clone(), partition, next: from, queue, grown };
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = lifetime.over() => {}
                () = batches.closed() => {}
                () = feed.run(&batches) => {}
            }
            drop(consumer);
        });
        reader
    }
}

struct Feed {
    readers: Readers,
    partition: LogPartition,
    next: Offset,
    queue: Queue,
    grown: Arc<Notify>,
}

impl Feed {
    /// Runs until the reader is dropped or the log cannot be read.
    async fn run(mut self, batches: &Batches) {
        // First the slot in the reader, then the records: so none are held here in addition to those that wait there.
        while let Ok(place) = batches.reserve().await {
            let (records, error) = self.wait().await;
            if !records.is_empty() {
                place.send(Ok(records));
            }
            if let Some(error) = error {
                let error = self.explain(error).await;
                return drop(batches.send(Err(error)).await);
            }
        }
    }

    /// At least one record or an error.
    async fn wait(&mut self) -> (Vec<Record>, Option<KafkaError>) {
        loop {
            let (records, error) = self.take();
            if !records.is_empty() || error.is_some() {
                return (records, error);
            }
            tokio::select! {
                () = self.grown.notified() => {}
                () = self.readers.runtime.sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// One batch of what the library has fetched, and the error after it. Does not wait.
    fn take(&mut self) -> (Vec<Record>, Option<KafkaError>) {
        let mut batch = Batch::default();
        while let Some(polled) = self.queue.poll(Duration::ZERO) {
            let record = match polled {
                Ok(message) => message::record(self.partition, &message),
                Err(error) if ends(&error) => return (batch.records, Some(error)),
                // The library informed the context, and continues by itself.
                Err(_) => None,
            };
            let Some(record) = record.filter(|record| record.position.offset >= self.next) else { continue };
            if record.position.offset > self.next {
                // Transactions of other producers leave such gaps; nothing else should.
                tracing::warn!(partition = %self.partition, from = self.next, to = record.position.offset, "offsets without records");
            }
            self.next = record.position.offset + 1;
            if !batch.push(record) {
                break;
            }
        }
        (batch.records, None)
    }

    async fn explain(&self, error: KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => {
                self.readers.watermarks.out_of_range(self.partition, self.next).await
            }
            Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::BadCompression) => {
                LogError::Damaged(format!("{} from {}: {error}", self.partition, self.next))
            }
            _ => LogError::Unavailable(error.to_string()),
        }
    }
}

/// Whether records would be missing if the reader continued after this error.
fn ends(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, BadCompression, BadMessage};
    let code = error.rdkafka_error_code();
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(code, Some(AutoOffsetReset | BadMessage | BadCompression))
}
