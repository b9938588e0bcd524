use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_log::{
    AppendError, EventLog, LogError, LogPartition, MAX_RECORD_BYTES, Membership, NewRecord, Offset, PartitionIndex,
    Position, Record, RecordReader, Topic,
};
use kith_runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};

const READ_BATCH: usize = 64;

/// A log in memory. Groups have one member: the last that joined.
pub struct SimulatedLog {
    partition_count: PartitionIndex,
    store: Store,
    members: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    topics: Mutex<BTreeSet<Topic>>,
}

impl SimulatedLog {
    pub fn new(runtime: Runtime, partition_count: PartitionIndex) -> Arc<Self> {
        Arc::new(Self {
            partition_count,
            store: Store { runtime, records: Arc::default(), grown: Arc::default() },
            members: Mutex::default(),
            topics: Mutex::default(),
        })
    }

    /// Every record, partition by partition: what two runs from one seed must agree on.
    pub fn dump(&self) -> Vec<Record> {
        let records = self.store.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.values().flatten().cloned().collect()
    }
}

#[async_trait]
impl EventLog for SimulatedLog {
    fn partition_count(&self) -> PartitionIndex {
        self.partition_count
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).extend(topics);
        Ok(())
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        let known = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        match topics.iter().find(|topic| !known.contains(topic)) {
            Some(missing) => Err(LogError::Contract(format!("{} is missing", missing.name))),
            None => Ok(()),
        }
    }

    async fn append(&self, record: NewRecord) -> Result<Position, AppendError> {
        if record.len_bytes() > MAX_RECORD_BYTES || record.value.is_empty() {
            return Err(AppendError::Refused("too large or empty".to_owned()));
        }
        tokio::task::yield_now().await;
        let partition = LogPartition::of_key(record.topic, &record.key, self.partition_count);
        let position = {
            let mut records = self.store.records.lock().unwrap_or_else(PoisonError::into_inner);
            let all = records.entry(partition).or_default();
            let position = Position { partition, offset: all.len() as Offset };
            let (key, headers, value) = (record.key.into(), record.headers, record.value);
            all.push(Record { position, key, headers, value });
            position
        };
        // Readers wake in the order in which they wait: a watch channel would wake them at random.
        self.store.grown.notify_waiters();
        Ok(position)
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        let records = self.store.records.lock().unwrap_or_else(PoisonError::into_inner);
        let head = |index| records.get(&LogPartition { topic, index }).map_or(0, Vec::len) as Offset;
        Ok((0..self.partition_count).map(head).collect())
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        Ok(self.store.reader(partition, from, None))
    }

    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let group = members.entry(group.to_owned()).or_insert_with(|| watch::Sender::new(0));
        group.send_modify(|joined| *joined += 1);
        let count = self.partition_count;
        let partitions =
            topics.iter().flat_map(|&topic| (0..count).map(move |index| LogPartition { topic, index })).collect();
        let store = self.store.clone();
        Ok(Box::new(Member { store, replaced: group.subscribe(), partitions: Some(partitions) }))
    }

    async fn close(&self, _within: Duration) {}
}

/// The records, and the news that there are more.
#[derive(Clone)]
struct Store {
    runtime: Runtime,
    records: Arc<Mutex<BTreeMap<LogPartition, Vec<Record>>>>,
    grown: Arc<Notify>,
}

impl Store {
    fn reader(&self, partition: LogPartition, from: Offset, mut alive: Option<watch::Receiver<u64>>) -> RecordReader {
        let (sender, batches) = mpsc::channel(1);
        let records = Arc::clone(&self.records);
        let news = Arc::clone(&self.grown);
        let mut next = from as usize;
        self.runtime.spawn(async move {
            loop {
                let grown = news.notified();
                let batch: Vec<Record> = {
                    let records = records.lock().unwrap_or_else(PoisonError::into_inner);
                    let all = records.get(&partition).map_or(&[][..], Vec::as_slice);
                    all.iter().skip(next).take(READ_BATCH).cloned().collect()
                };
                next += batch.len();
                if !batch.is_empty() {
                    if sender.send(Ok(batch)).await.is_err() {
                        return;
                    }
                    continue;
                }
                let replaced = async {
                    match &mut alive {
                        Some(alive) => _ = alive.changed().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = replaced => return,
                    () = sender.closed() => return,
                    () = grown => {}
                }
            }
        });
        RecordReader::new(partition, batches)
    }
}

struct Member {
    store: Store,
    replaced: watch::Receiver<u64>,
    partitions: Option<Vec<LogPartition>>,
}

#[async_trait]
impl Membership for Member {
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError> {
        if let Some(partitions) = self.partitions.take() {
            return Ok(partitions);
        }
        let _ = self.replaced.changed().await;
        Ok(Vec::new())
    }

    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError> {
        Ok(from
            .iter()
            .map(|&(partition, from)| self.store.reader(partition, from, Some(self.replaced.clone())))
            .collect())
    }

    async fn report(&self, _next: &[(LogPartition, Offset)]) {}
}
