//! The log inside the process: one folder, no server, the same guarantees.
//!
//! One process owns the folder; a second one is refused. Appends are committed in groups, one disk sync per group.

mod folder;
mod forget;
mod frame;
mod group;
mod reader;
mod recent;
mod store;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use kith_runtime::{Runtime, UnixMillis};
use tokio::sync::{oneshot, watch};

use crate::reading::Lifetime;
use crate::{
    AppendError, EventLog, LogError, LogPartition, Membership, NewRecord, Note, Offset, PartitionIndex, Position,
    RecordReader, Topic,
};
pub use folder::inspect;
use group::{Groups, Member};
use recent::Recent;
use store::Store;
use writer::{Append, Queue, Writer};

/// An [`EventLog`] in a folder of this machine.
pub struct EmbeddedLog {
    runtime: Runtime,
    shared: Arc<Shared>,
    store: Arc<Store>,
    queue: Arc<Queue>,
    poisoned: Arc<AtomicBool>,
    how: Commit,
}

/// Who writes.
enum Commit {
    /// A separate thread.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// The caller itself: a simulation has one thread.
    Inline(Mutex<Writer>),
}

/// State shared by appends, readers and members. It does not hold the store: see [`reader`].
struct Shared {
    partition_count: PartitionIndex,
    topics: RwLock<BTreeMap<u16, MadeTopic>>,
    recent: Mutex<Recent>,
    groups: Groups,
    closed: watch::Sender<bool>,
    /// True when the writer has ended.
    drained: watch::Sender<bool>,
}

struct MadeTopic {
    name: &'static str,
    partitions: Vec<Arc<Partition>>,
}

/// One partition and its head: the offset of its next record; all records before it are on the disk.
struct Partition {
    id: LogPartition,
    head: watch::Sender<Offset>,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or creates it with `partitions` partitions per topic. Blocks while it reads the journal
    /// back (a few hundred ms at most, as the journal is bounded).
    ///
    /// `Contract`: the folder was created with another partition count or format. `Unavailable`: another process owns
    /// it.
    pub fn open(dir: &Path, partitions: PartitionIndex, runtime: Runtime) -> Result<Arc<Self>, LogError> {
        if partitions == 0 || partitions > LogPartition::MAX_COUNT {
            let max = LogPartition::MAX_COUNT;
            return Err(LogError::Contract(format!("{partitions} partitions are not between 1 and {max}")));
        }
        let store = Arc::new(Store::open(dir, partitions, !runtime.is_simulated())?);
        let shared = Arc::new(Shared::load(&store, partitions)?);
        let queue = Arc::new(Queue::default());
        let poisoned = Arc::new(AtomicBool::new(false));
        let writer = Writer { store: Arc::clone(&store), shared: Arc::clone(&shared), poisoned: Arc::clone(&poisoned) };
        let how = if runtime.is_simulated() {
            Commit::Inline(Mutex::new(writer))
        } else {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("kith-log-writer".to_owned());
            let thread = thread.spawn(move || writer.run(&queue));
            Commit::Thread(Mutex::new(Some(thread.map_err(|e| LogError::Unavailable(e.to_string()))?)))
        };
        Ok(Arc::new(Self { runtime, shared, store, queue, poisoned, how }))
    }

    /// True after a failed write: every append is refused until the process restarts, and reads the disk back.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn open_for_reading(&self) -> Result<(), LogError> {
        if *self.shared.closed.borrow() { Err(LogError::Closed) } else { Ok(()) }
    }

    fn submit(&self, append: Append) -> Result<(), AppendError> {
        match &self.how {
            Commit::Thread(_) => self.queue.push(append),
            Commit::Inline(_) if *self.shared.closed.borrow() => {
                Err(AppendError::Refused("the log is closed".to_owned()))
            }
            Commit::Inline(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).commit(vec![append]);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn partition_count(&self) -> PartitionIndex {
        self.shared.partition_count
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.open_for_reading()?;
        let missing = self.shared.missing(topics)?;
        if missing.is_empty() {
            return Ok(());
        }
        let (store, shared) = (Arc::clone(&self.store), Arc::clone(&self.shared));
        let made = self.runtime.blocking(move || {
            store.add_topics(&missing)?;
            missing.iter().try_for_each(|topic| shared.add(&store, *topic))
        });
        made.await.unwrap_or(Err(LogError::Closed))
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.open_for_reading()?;
        let missing = self.shared.missing(topics)?;
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|topic| topic.name).collect();
        Err(LogError::Contract(format!("missing topics: {}", names.join(", "))))
    }

    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        record.check()?;
        let partition = LogPartition::of_key(record.topic, &record.key, self.shared.partition_count);
        let partition = self.shared.partition(partition).map_err(|error| AppendError::Refused(error.to_string()))?;
        let (answer, answered) = oneshot::channel();
        self.submit(Append { record, logged_ms: self.runtime.now_ms(), partition, note, answer })?;
        answered.await.unwrap_or_else(|_| Err(AppendError::Unknown("the log's writer ended".to_owned())))
    }

    /// Also fails when the log is poisoned, so that it can serve as the health check of the log.
    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        self.open_for_reading()?;
        if self.is_poisoned() {
            return Err(LogError::Broken("a write to the disk failed".to_owned()));
        }
        let head = |index| Ok(*self.shared.partition(LogPartition { topic, index })?.head.borrow());
        (0..self.shared.partition_count).map(head).collect()
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        self.open_for_reading()?;
        let lifetime = Lifetime { closed: self.shared.closed.subscribe(), word: None };
        let partition = self.shared.partition(partition)?;
        let store = Arc::downgrade(&self.store);
        Ok(reader::spawn(&self.runtime, &self.shared, &store, partition, from, lifetime))
    }

    async fn forget(&self, topic: Topic, before_ms: UnixMillis) -> Result<(), LogError> {
        self.open_for_reading()?;
        if !topic.forgets() {
            return Err(LogError::Contract(format!("{} forgets nothing", topic.name)));
        }
        let (store, shared) = (Arc::clone(&self.store), Arc::clone(&self.shared));
        let forgotten = self.runtime.blocking(move || {
            (0..shared.partition_count).try_for_each(|index| {
                let partition = shared.partition(LogPartition { topic, index })?;
                let head = *partition.head.borrow();
                store.forget(partition.id, before_ms, head)
            })
        });
        forgotten.await.unwrap_or(Err(LogError::Closed))
    }

    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        self.check_topics(topics).await?;
        let (shared, store) = (Arc::clone(&self.shared), Arc::downgrade(&self.store));
        Ok(Box::new(Member::join(self.runtime.clone(), shared, store, group, topics)))
    }

    async fn close(&self, within: Duration) {
        self.queue.close();
        if matches!(self.how, Commit::Thread(_)) {
            let mut drained = self.shared.drained.subscribe();
            tokio::select! {
                _ = drained.wait_for(|drained| *drained) => {}
                () = self.runtime.sleep(within) => tracing::warn!("the embedded log closes before all was written"),
            }
        }
        self.shared.closed.send_replace(true);
    }
}

impl Drop for EmbeddedLog {
    /// Waits for the group in progress, so that the folder is free afterwards.
    fn drop(&mut self) {
        self.queue.close();
        self.shared.closed.send_replace(true);
        if let Commit::Thread(thread) = &self.how {
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the embedded log's writer panicked");
            }
        }
    }
}

impl Shared {
    /// The content of the store.
    fn load(store: &Store, partition_count: PartitionIndex) -> Result<Self, LogError> {
        let shared = Self {
            partition_count,
            topics: RwLock::default(),
            recent: Mutex::default(),
            groups: Groups::default(),
            closed: watch::Sender::new(false),
            drained: watch::Sender::new(false),
        };
        for (id, name) in store.topics()? {
            match crate::topics::by_id(id) {
                Some(topic) if topic.name == name => shared.add(store, topic)?,
                Some(topic) => return Err(renamed(topic, &name)),
                None => tracing::debug!(id, name, "the folder holds a topic that this version does not know"),
            }
        }
        Ok(shared)
    }

    /// Registers a topic, with its partitions' heads.
    fn add(&self, store: &Store, topic: Topic) -> Result<(), LogError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.contains_key(&topic.id) {
            return Ok(());
        }
        let partition = |index| {
            let id = LogPartition { topic, index };
            Ok(Arc::new(Partition { id, head: watch::Sender::new(store.head(id)?) }))
        };
        let partitions = (0..self.partition_count).map(partition).collect::<Result<_, LogError>>()?;
        topics.insert(topic.id, MadeTopic { name: topic.name, partitions });
        Ok(())
    }

    /// Those of `topics` that do not exist; an error if one exists under another name.
    fn missing(&self, topics: &[Topic]) -> Result<Vec<Topic>, LogError> {
        let made = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut missing = Vec::new();
        for topic in topics {
            match made.get(&topic.id) {
                None => missing.push(*topic),
                Some(other) if other.name != topic.name => return Err(renamed(*topic, other.name)),
                Some(_) => {}
            }
        }
        Ok(missing)
    }

    fn partition(&self, partition: LogPartition) -> Result<Arc<Partition>, LogError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let made = topics.get(&partition.topic.id).and_then(|topic| topic.partitions.get(usize::from(partition.index)));
        made.cloned().ok_or_else(|| LogError::Contract(format!("{partition} does not exist")))
    }
}

fn renamed(topic: Topic, found: &str) -> LogError {
    LogError::Contract(format!("topic {} is {found} here, not {}", topic.id, topic.name))
}

#[cfg(test)]
mod tests;
