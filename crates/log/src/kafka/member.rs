//! A membership of a Kafka consumer group.

use async_trait::async_trait;
use tokio::sync::watch;

use super::consumer::Consumer;
use super::reader::Readers;
use crate::reading::{self, Lifetime};
use crate::{LogError, LogPartition, Membership, Offset, RecordReader};

pub(super) struct Member {
    consumer: Consumer,
    readers: Readers,
    closed: watch::Receiver<bool>,
    /// The number of the last returned assignment.
    heard: u64,
}

impl Member {
    pub fn new(consumer: Consumer, readers: Readers, closed: watch::Receiver<bool>) -> Self {
        Self { consumer, readers, closed, heard: 0 }
    }
}

#[async_trait]
impl Membership for Member {
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError> {
        let heard = self.heard;
        tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Err(LogError::Closed),
            word = self.consumer.words.wait_for(|word| word.number != heard) => {
                let word = word.map_err(|_| LogError::Closed)?;
                self.heard = word.number;
                Ok(word.partitions.clone())
            }
        }
    }

    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError> {
        if from.is_empty() {
            // The readers of the previous assignment have ended already, and the group was answered.
            return Ok(Vec::new());
        }
        let queues = self.consumer.start(self.heard, from.to_vec()).await?;
        if queues.is_empty() {
            // The group has sent a newer assignment: readers that end at once.
            return Ok(from.iter().map(|(partition, _)| reading::reader(*partition, 1).1).collect());
        }
        let reader = |(queue, (partition, offset)): (_, &(LogPartition, Offset))| {
            let word = Some((self.consumer.words.clone(), self.heard));
            let lifetime = Lifetime { closed: self.closed.clone(), word };
            self.readers.spawn(*partition, *offset, queue, lifetime, None)
        };
        Ok(queues.into_iter().zip(from).map(reader).collect())
    }

    async fn report(&self, next: &[(LogPartition, Offset)]) {
        self.consumer.report(next.to_vec());
    }
}
