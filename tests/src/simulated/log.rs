use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_log::{
    AppendError, EventLog, LogError, LogPartition, Membership, NewRecord, Note, Offset, PartitionIndex, Position,
    Record, RecordReader, Topic,
};
use kith_runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::group::{Coordinator, Member};
use super::nemesis::Append;
use super::{Fault, Gate, Nemesis};

const READ_BATCH: usize = 64;
/// Their bytes at most; one record may exceed it.
const READ_BATCH_BYTES: usize = 128 * 1024;
/// How long an append waits for a partition that is moving before its outcome is unknown.
const APPEND_TIMEOUT: Duration = Duration::from_secs(1);

/// A log in memory. Groups have as many members as join them; the nemesis decides what is answered, and when.
pub struct SimulatedLog {
    broker: Arc<Broker>,
    process: usize,
    gate: Arc<Gate>,
}

/// What all processes share.
pub(super) struct Broker {
    pub runtime: Runtime,
    pub nemesis: Arc<Nemesis>,
    pub coordinator: Coordinator,
    partition_count: PartitionIndex,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topics: BTreeSet<Topic>,
    partitions: BTreeMap<LogPartition, Partition>,
}

#[derive(Default)]
struct Partition {
    records: Vec<Record>,
    /// Readers wake in the order in which they wait: a watch channel would wake them at random.
    grown: Arc<Notify>,
    moving_until: Option<Instant>,
}

impl SimulatedLog {
    /// Without faults.
    pub fn new(runtime: Runtime, partition_count: PartitionIndex) -> Arc<Self> {
        Self::of(runtime, Nemesis::none(), partition_count)
    }

    pub fn of(runtime: Runtime, nemesis: Arc<Nemesis>, partition_count: PartitionIndex) -> Arc<Self> {
        let coordinator = Coordinator::new(Arc::clone(&nemesis));
        let state = Mutex::default();
        let broker = Arc::new(Broker { runtime, nemesis, coordinator, partition_count, state });
        Arc::new(Self { broker, process: 0, gate: Gate::new() })
    }

    /// The same log as another process sees it.
    pub fn of_process(&self, process: usize, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { broker: Arc::clone(&self.broker), process, gate })
    }

    /// Every record, partition by partition: what two runs from one seed must agree on.
    pub fn dump(&self) -> Vec<Record> {
        self.broker.state().partitions.values().flat_map(|partition| &partition.records).cloned().collect()
    }

    /// The next offset of each partition that has records.
    pub fn ends(&self) -> BTreeMap<LogPartition, Offset> {
        self.broker.state().partitions.iter().map(|(&at, of)| (at, of.records.len() as Offset)).collect()
    }

    /// A partition does not answer for a while.
    pub fn move_leader(&self, partition: LogPartition, within: Duration) {
        self.broker.nemesis.count(Fault::LeaderMove);
        let mut state = self.broker.state();
        state.partitions.entry(partition).or_default().moving_until = Some(Instant::now() + within);
    }

    /// A rebalance, also without a change of members.
    pub fn rebalance(&self, group: &str) {
        self.broker.nemesis.count(Fault::Rebalance);
        self.broker.coordinator.rebalance(group);
    }

    /// A process frozen for too long loses its memberships; it rejoins when it wakes.
    pub fn evict(&self, process: usize) {
        self.broker.coordinator.evict(process);
    }
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, record: NewRecord) -> Position {
        let partition = LogPartition::of_key(record.topic, &record.key, self.partition_count);
        let mut state = self.state();
        let of = state.partitions.entry(partition).or_default();
        let position = Position { partition, offset: of.records.len() as Offset };
        let (key, headers, value) = (record.key.into(), record.headers, record.value);
        let logged_ms = self.runtime.now_ms();
        of.records.push(Record { position, key, headers, value, logged_ms });
        of.grown.notify_waiters();
        position
    }

    fn put_later(self: &Arc<Self>, record: NewRecord, after: Duration) {
        let broker = Arc::clone(self);
        self.runtime.spawn(async move {
            broker.runtime.sleep(after).await;
            broker.put(record);
        });
    }

    /// How long the partition still moves.
    fn moving(&self, partition: LogPartition) -> Option<Duration> {
        let until = self.state().partitions.get(&partition)?.moving_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero() && !self.nemesis.is_calm())
    }

    pub(super) fn all_of(&self, topics: &[Topic]) -> Vec<LogPartition> {
        let count = self.partition_count;
        topics.iter().flat_map(|&topic| (0..count).map(move |index| LogPartition { topic, index })).collect()
    }

    /// Records from an offset on, until `void`.
    pub(super) fn reader(
        self: &Arc<Self>,
        partition: LogPartition,
        from: Offset,
        void: impl Future<Output = ()> + Send + 'static,
    ) -> RecordReader {
        let (sender, batches) = mpsc::channel(1);
        let broker = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = void => {}
                () = broker.hand_out(partition, from, sender) => {}
            }
        });
        RecordReader::new(partition, batches)
    }

    async fn hand_out(
        &self,
        partition: LogPartition,
        from: Offset,
        sender: mpsc::Sender<Result<Vec<Record>, LogError>>,
    ) {
        let mut next = from as usize;
        let end = self.state().partitions.get(&partition).map_or(0, |of| of.records.len());
        if next > end {
            let (first, asked) = (0, from);
            let _ = sender.send(Err(LogError::OutOfRange { partition, asked, first, next: end as Offset })).await;
            return;
        }
        loop {
            let grown = Arc::clone(&self.state().partitions.entry(partition).or_default().grown);
            let grown = grown.notified();
            let batch = self.batch(partition, next);
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    () = grown => {}
                }
                continue;
            }
            self.nemesis.pause().await;
            if let Some(moving) = self.moving(partition) {
                self.runtime.sleep(moving).await;
            }
            if self.nemesis.reader_fails() {
                let _ = sender.send(Err(unavailable(partition))).await;
                return;
            }
            next += batch.len();
            if sender.send(Ok(batch)).await.is_err() {
                return;
            }
        }
    }

    fn batch(&self, partition: LogPartition, next: usize) -> Vec<Record> {
        let state = self.state();
        let all = state.partitions.get(&partition).map_or(&[][..], |of| &of.records);
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.held_bytes();
            bytes <= READ_BATCH_BYTES || bytes == record.held_bytes()
        };
        all.iter().skip(next).take(READ_BATCH).take_while(fits).cloned().collect()
    }

    async fn append(self: &Arc<Self>, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        let partition = LogPartition::of_key(record.topic, &record.key, self.partition_count);
        if let Some(moving) = self.moving(partition) {
            self.runtime.sleep(moving.min(APPEND_TIMEOUT)).await;
            if moving > APPEND_TIMEOUT {
                self.nemesis.count(Fault::UnknownLost);
                return Err(unknown());
            }
        }
        self.nemesis.pause().await;
        match self.nemesis.append() {
            Append::Acknowledged => return Ok(self.put_noted(record, note)),
            Append::Copied(after) => {
                self.put_later(record.clone(), after);
                return Ok(self.put_noted(record, note));
            }
            Append::UnknownKept => _ = self.put(record),
            Append::UnknownLost => {}
            Append::UnknownLate(after) => self.put_later(record, after),
        }
        Err(unknown())
    }

    fn put_noted(&self, record: NewRecord, note: Note) -> Position {
        let position = self.put(record);
        note(position);
        position
    }
}

#[async_trait]
impl EventLog for SimulatedLog {
    fn partition_count(&self) -> PartitionIndex {
        self.broker.partition_count
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.broker.state().topics.extend(topics);
        Ok(())
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.gate.pass().await;
        let state = self.broker.state();
        match topics.iter().find(|topic| !state.topics.contains(topic)) {
            Some(missing) => Err(LogError::Contract(format!("{} is missing", missing.name))),
            None => Ok(()),
        }
    }

    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        record.check()?;
        self.gate.pass().await;
        let appended = self.broker.append(record, note).await;
        self.gate.pass().await;
        appended
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        self.gate.pass().await;
        let partitions = self.broker.all_of(&[topic]);
        if let Some(moving) = partitions.iter().find(|&&partition| self.broker.moving(partition).is_some()) {
            return Err(unavailable(*moving));
        }
        let state = self.broker.state();
        let head = |at| state.partitions.get(at).map_or(0, |of| of.records.len()) as Offset;
        Ok(partitions.iter().map(head).collect())
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        self.gate.pass().await;
        Ok(self.broker.reader(partition, from, std::future::pending()))
    }

    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        self.gate.pass().await;
        let (broker, gate) = (Arc::clone(&self.broker), Arc::clone(&self.gate));
        Ok(Box::new(Member::join(broker, gate, self.process, group, topics)))
    }

    async fn close(&self, _within: Duration) {}
}

fn unavailable(partition: LogPartition) -> LogError {
    LogError::Unavailable(format!("{partition} does not answer"))
}

fn unknown() -> AppendError {
    AppendError::Unknown("no answer in time".to_owned())
}
