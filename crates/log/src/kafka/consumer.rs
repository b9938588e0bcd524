//! One consumer of the client library and the thread that polls it.
//!
//! The thread serves the whole consumer: assignments, starts, reports, the end. Records come through one queue per
//! partition, which that partition's reader empties itself, so that a slow reader blocks no other and the library stops
//! fetching for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics};
use tokio::sync::{oneshot, watch};

use super::credentials::Heard;
use super::voice::Voice;
use crate::reading::{Word, announce};
use crate::{LogError, LogPartition, Offset, Topic};

/// How soon the thread receives a command. Only a start after a rebalance waits for it.
const POLL: Duration = Duration::from_millis(20);
/// How long a start waits for readers of an earlier assignment to end.
const HANDOVER_POLLS: u32 = 2_000;

pub(super) type Queue = PartitionQueue<Events>;
pub(super) type Offsets = Vec<(LogPartition, Offset)>;

/// A consumer that runs until it is dropped, and then leaves its group.
pub(super) struct Consumer {
    commands: Sender<Command>,
    pub words: watch::Receiver<Word>,
}

enum Command {
    Start { word: u64, from: Offsets, answer: oneshot::Sender<Result<Vec<Queue>, LogError>> },
    Report(Offsets),
}

impl Consumer {
    /// In the group of `config` if there are topics to subscribe to; otherwise it only reads the given partitions.
    pub fn run(config: &ClientConfig, heard: Option<Heard>, voice: Voice, topics: &[Topic]) -> Result<Self, LogError> {
        let (words, told) = watch::channel(Word::default());
        let topics_by_name = topics.iter().map(|topic| (topic.name, *topic)).collect();
        let events = Events { voice, words, topics: topics_by_name };
        let unavailable = |error: KafkaError| LogError::Unavailable(error.to_string());
        let consumer: BaseConsumer<_> = config.create_with_context(events).map_err(unavailable)?;
        if !topics.is_empty() {
            let names: Vec<_> = topics.iter().map(|topic| topic.name).collect();
            consumer.subscribe(&names).map_err(unavailable)?;
        }
        let (commands, received) = channel();
        let thread = std::thread::Builder::new().name("kith-log-consumer".to_owned());
        thread
            .spawn(move || poll(&Arc::new(consumer), heard, &received))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self { commands, words: told })
    }

    /// Reads exactly these partitions, if `word` is still the last assignment; otherwise returns no queues.
    pub async fn start(&self, word: u64, from: Offsets) -> Result<Vec<Queue>, LogError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Start { word, from, answer }).map_err(|_| LogError::Closed)?;
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    pub fn report(&self, next: Offsets) {
        // No member is informed when the thread has ended: the group then informs its other members.
        let _ = self.commands.send(Command::Report(next));
    }
}

fn poll(consumer: &Arc<BaseConsumer<Events>>, mut heard: Option<Heard>, commands: &Receiver<Command>) {
    loop {
        if let Some(heard) = &mut heard {
            heard.renew(consumer.client());
        }
        match commands.try_recv() {
            Ok(Command::Start { word, from, answer }) => drop(answer.send(start(consumer, word, &from))),
            Ok(Command::Report(next)) => report(consumer, &next),
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {}
        }
        // The context received the errors; an error that ends a reader comes through its own queue.
        if let Some(Ok(_stray)) = consumer.poll(POLL) {
            // A record that bypassed its queue, so that its reader misses it: everything is restarted.
            tracing::error!("a record came past its partition's queue");
            let partitions = consumer.context().words.borrow().partitions.clone();
            let _ = consumer.assign(&TopicPartitionList::new());
            announce(&consumer.context().words, partitions);
        }
    }
    announce(&consumer.context().words, Vec::new());
    alone(consumer);
    // Dropped here, in its own thread: that leaves the group, and may wait for a broker.
}

fn start(consumer: &Arc<BaseConsumer<Events>>, word: u64, from: &Offsets) -> Result<Vec<Queue>, LogError> {
    if !alone(consumer) {
        return Err(LogError::Unavailable("earlier readers do not end".to_owned()));
    }
    if consumer.context().words.borrow().number != word {
        return Ok(Vec::new());
    }
    let unavailable = |error: KafkaError| LogError::Unavailable(error.to_string());
    // The queues are split off before anything is fetched into them.
    let mut queues = Vec::with_capacity(from.len());
    for (partition, _) in from {
        let queue = consumer.split_partition_queue(partition.topic.name, i32::from(partition.index));
        queues.push(queue.ok_or_else(|| LogError::Unavailable(format!("no queue for {partition}")))?);
    }
    consumer.assign(&list(from).map_err(unavailable)?).map_err(unavailable)?;
    Ok(queues)
}

/// Waits until no reader holds a queue of this consumer: one that ends late would disable the next one's wake-up.
fn alone(consumer: &Arc<BaseConsumer<Events>>) -> bool {
    for _ in 0..HANDOVER_POLLS {
        if Arc::strong_count(consumer) == 1 {
            return true;
        }
        let _ = consumer.poll(Duration::from_millis(1));
    }
    false
}

fn report(consumer: &BaseConsumer<Events>, next: &Offsets) {
    let committed = list(next).and_then(|list| consumer.commit(&list, CommitMode::Async));
    if let Err(error) = committed {
        // A member that has just lost its partitions may not commit them. Only observers miss it.
        tracing::debug!(%error, "progress was not reported");
    }
}

fn list(offsets: &Offsets) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        let offset = KafkaOffset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(partition.topic.name, i32::from(partition.index), offset)?;
    }
    Ok(list)
}

/// The library's callbacks for the whole consumer; called in the polling thread.
pub(super) struct Events {
    voice: Voice,
    words: watch::Sender<Word>,
    topics: BTreeMap<&'static str, Topic>,
}

impl Events {
    fn partitions(&self, list: &TopicPartitionList) -> Vec<LogPartition> {
        let partition = |topic: &str, index: i32| {
            Some(LogPartition { topic: *self.topics.get(topic)?, index: u16::try_from(index).ok()? })
        };
        list.elements().iter().filter_map(|element| partition(element.topic(), element.partition())).collect()
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        self.voice.log(level, kind, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ConsumerContext for Events {
    /// A new assignment is accepted at once, but read only after [`Consumer::start`]: so a member whose tables do not
    /// answer does not block the group, which would wait for its assign.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let answered = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let answered = consumer.assign(&TopicPartitionList::new());
            announce(&self.words, self.partitions(list));
            answered
        } else {
            // Readers end first, whatever the error is: unassigned partitions are not ours.
            announce(&self.words, Vec::new());
            consumer.unassign()
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "the group's word could not be answered");
        }
    }
}
