use std::time::Duration;

use async_trait::async_trait;
use kith_log::{AppendError, Membership, NewRecord, Note, Position, topics};

use super::*;

/// Five records were in each of two partitions, and none of them is left: as brokers forget by age.
struct Forgotten {
    /// Where the partitions begin by now.
    first: Offset,
}

#[async_trait]
impl EventLog for Forgotten {
    fn partition_count(&self) -> PartitionIndex {
        2
    }

    async fn create_topics(&self, _: &[Topic]) -> Result<(), LogError> {
        Ok(())
    }

    async fn check_topics(&self, _: &[Topic]) -> Result<(), LogError> {
        Ok(())
    }

    async fn append_noted(&self, _: NewRecord, _: Note) -> Result<Position, AppendError> {
        unreachable!("a scan appends nothing")
    }

    async fn heads(&self, _: Topic) -> Result<Vec<Offset>, LogError> {
        Ok(vec![5, 5])
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        let (sender, batches) = tokio::sync::mpsc::channel(1);
        sender
            .send(Err(LogError::OutOfRange { partition, asked: from, first: self.first, next: self.first }))
            .await
            .unwrap();
        Ok(RecordReader::new(partition, batches))
    }

    async fn join(&self, _: &str, _: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        unreachable!("a scan joins nothing")
    }

    async fn close(&self, _: Duration) {}
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_records_are_all_forgotten_is_read_to_its_end() {
    let places = [0, 1].map(|partition| Place { partition, offset: 0 });
    for first in [5, 6] {
        let until = Deadline::after(Duration::from_secs(1));
        let looked = look(&Forgotten { first }, topics::SECURITY, &places, until, |_| true).await;
        assert_eq!(looked.ok(), Some(Looked { next: None, searched: 0 }), "from {first}");
    }
}
