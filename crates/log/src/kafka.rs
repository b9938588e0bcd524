//! The log on a Kafka cluster, through librdkafka.

mod consumer;
mod contract;
mod credentials;
mod inspect;
mod member;
mod message;
mod offsets;
mod producer;
mod question;
mod reader;
mod reason;
mod rights;
mod settings;
mod topics;
mod voice;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use kith_runtime::Runtime;
use tokio::sync::watch;

use crate::reading::Lifetime;
use crate::{
    AppendError, EventLog, LogError, LogPartition, Membership, NewRecord, Note, Offset, PartitionIndex, Position,
    RecordReader, Topic,
};
use consumer::Consumer;
use credentials::Credentials;
pub use inspect::inspect;
use member::Member;
use offsets::Watermarks;
use producer::Producer;
use reader::Readers;
pub use rights::{check_rights, judge_rights};
pub use settings::{KafkaAccess, KafkaLogin, KafkaSettings};
use topics::Topics;
use voice::Voice;

/// The group of readers outside groups. The library requires a name; it joins and commits nothing with it.
const READERS_GROUP: &str = "kith-readers";

/// An [`EventLog`] on Kafka brokers.
pub struct KafkaLog {
    settings: KafkaSettings,
    /// `None`: no user logs in.
    credentials: Option<Credentials>,
    partitions: PartitionIndex,
    runtime: Runtime,
    voice: Voice,
    producer: Producer,
    readers: Readers,
    closed: watch::Sender<bool>,
}

impl KafkaLog {
    /// Does not wait for a broker: one that is down makes calls fail with `Unavailable` or `Unknown` within 3 to 4 s,
    /// until it is back. `Contract`: the settings are unfit for a log.
    pub fn connect(
        settings: KafkaSettings,
        partitions: PartitionIndex,
        runtime: Runtime,
    ) -> Result<Arc<Self>, LogError> {
        settings.check()?;
        if partitions == 0 || partitions > LogPartition::MAX_COUNT {
            let max = LogPartition::MAX_COUNT;
            return Err(LogError::Contract(format!("{partitions} partitions are not between 1 and {max}")));
        }
        let voice = Voice::new(runtime.clone());
        let login = settings.access.as_ref().and_then(|access| access.login.as_ref());
        let credentials = login.map(|login| Credentials::follow(login, &runtime)).transpose()?;
        let heard = || credentials.as_ref().map(Credentials::heard);
        let producer = Producer::new(settings.clone(), heard(), voice.clone(), runtime.clone())?;
        let watermarks = Watermarks::new(&settings.offsets()?, heard(), voice.clone(), runtime.clone())?;
        let readers = Readers { runtime: runtime.clone(), watermarks: Arc::new(watermarks) };
        let closed = watch::Sender::new(false);
        let log = Self { settings, credentials, partitions, runtime, voice, producer, readers, closed };
        let log = Arc::new(log);
        if let Some(credentials) = &log.credentials {
            log.producer.renew_password();
            log.runtime.spawn(renew_passwords(Arc::downgrade(&log), credentials.changes()));
        }
        Ok(log)
    }

    /// One more consumer, in the group if there are topics to subscribe to.
    fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Consumer, LogError> {
        let heard = self.credentials.as_ref().map(Credentials::heard);
        Consumer::run(&self.settings.consumer(group)?, heard, self.voice.clone(), topics)
    }

    fn open(&self) -> Result<(), LogError> {
        if *self.closed.borrow() { Err(LogError::Closed) } else { Ok(()) }
    }

    fn topics(&self) -> Topics<'_> {
        let Self { settings, partitions, voice, runtime, .. } = self;
        Topics { settings, partitions: *partitions, voice, runtime }
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    fn partition_count(&self) -> PartitionIndex {
        self.partitions
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.open()?;
        self.topics().create(topics).await
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.open()?;
        self.topics().check(topics).await
    }

    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        record.check()?;
        let partition = LogPartition::of_key(record.topic, &record.key, self.partitions);
        self.producer.append(partition, &record, note).await
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        self.open()?;
        self.readers.watermarks.heads(topic, self.partitions).await
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        self.open()?;
        let consumer = self.consumer(READERS_GROUP, &[])?;
        let queue = consumer.start(0, vec![(partition, from)]).await?.pop().ok_or(LogError::Closed)?;
        let lifetime = Lifetime { closed: self.closed.subscribe(), word: None };
        Ok(self.readers.spawn(partition, from, queue, lifetime, Some(consumer)))
    }

    /// Does not wait for the group: the first assignment does.
    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        self.open()?;
        let consumer = self.consumer(group, topics)?;
        Ok(Box::new(Member::new(consumer, self.readers.clone(), self.closed.subscribe())))
    }

    async fn close(&self, within: Duration) {
        self.producer.close(within).await;
        self.closed.send_replace(true);
    }
}

/// Gives the producer each other password: it has no loop of its own, as consumers have.
async fn renew_passwords(log: Weak<KafkaLog>, mut changes: watch::Receiver<Arc<String>>) {
    while changes.changed().await.is_ok() {
        let Some(log) = log.upgrade() else { return };
        log.producer.renew_password();
    }
}

#[cfg(test)]
mod tests;
