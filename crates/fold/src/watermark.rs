use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_log::{LogPartition, Offset, PartitionIndex, Position, RecordId, Topic};
use kith_runtime::Runtime;
use kith_tables::{Column, Key, Keyspace, Order, Row, RowKey, RowType, Section, Slice, StoreError, Table, row};
use tokio::sync::watch;
use tokio::time::Instant;

/// Polling another replica's watermark: from this, doubling, to [`MAX_POLL`].
const MIN_POLL: Duration = Duration::from_millis(1);
const MAX_POLL: Duration = Duration::from_millis(16);

/// Three sections, each row a function of its position alone, as every row must be.
pub(crate) static WATERMARKS: Table = Table {
    name: "watermarks",
    partition: &[Column::text("topic")],
    clustering: &[Column::bigint("log_partition")],
    order: Order::Ascending,
    sections: &[
        Section::of::<ReachedRow>("reached"),
        Section::of::<AppendedRow>("appended"),
        Section::of::<RestartRow>("restart"),
    ],
    summary: &[],
};

row! {
    /// Everything up to here is in the tables. `record_id` tells a log that lost its tail.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct ReachedRow in 0 { pub record_offset: i64, pub record_id: String }
}
row! {
    /// Everything that records up to here cause in the log has been appended.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct AppendedRow in 1 { pub record_offset: i64 }
}
row! {
    /// A watermark of a while ago, from which a fold starts again.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct RestartRow in 2 { pub record_offset: i64, pub record_id: String }
}

/// Where the folds of one group are, seen from one process: exact for the partitions it folds itself, as stored for
/// the others.
pub struct Watermarks {
    runtime: Runtime,
    keyspace: Arc<dyn Keyspace>,
    partitions: BTreeMap<LogPartition, Entry>,
}

struct Entry {
    /// The next offset: everything below is in the tables.
    next: watch::Sender<Offset>,
    state: Mutex<EntryState>,
}

#[derive(Default, Clone)]
struct EntryState {
    folded_here: bool,
    stopped: Option<String>,
}

/// Why a read cannot be answered as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    #[error("{} is not folded yet; the tables have offsets below {next}", wanted)]
    Behind { wanted: Position, next: Offset },
    #[error("the fold of {partition} is stopped: {reason}")]
    Stopped { partition: LogPartition, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Watermarks {
    pub(crate) fn new(runtime: Runtime, keyspace: Arc<dyn Keyspace>, topics: &[Topic], count: PartitionIndex) -> Self {
        let all = topics.iter().flat_map(|&topic| (0..count).map(move |index| LogPartition { topic, index }));
        let entry = || Entry { next: watch::Sender::new(0), state: Mutex::default() };
        Self { runtime, keyspace, partitions: all.map(|partition| (partition, entry())).collect() }
    }

    /// Every partition of every topic of the group.
    pub fn partitions(&self) -> impl Iterator<Item = LogPartition> + '_ {
        self.partitions.keys().copied()
    }

    /// What is known here to be in the tables: the last offset of each partition that has any.
    pub fn known(&self) -> impl Iterator<Item = Position> + '_ {
        self.partitions.iter().filter_map(|(&partition, entry)| {
            entry.next.borrow().checked_sub(1).map(|offset| Position { partition, offset })
        })
    }

    /// The first offset of `partition` that is not known here to be in the tables; 0 for one that is not read.
    pub fn next_offset(&self, partition: LogPartition) -> Offset {
        self.partitions.get(&partition).map_or(0, |entry| *entry.next.borrow())
    }

    /// Whether this process folds the partition now.
    pub fn is_folded_here(&self, partition: LogPartition) -> bool {
        self.state(partition).folded_here
    }

    /// Why the partition is stopped here, if it is.
    pub fn stopped(&self, partition: LogPartition) -> Option<String> {
        self.state(partition).stopped
    }

    /// Waits until each of `positions` is in the tables. Positions of topics that the group does not read are in no
    /// table of it: they are met.
    pub async fn wait(&self, positions: impl IntoIterator<Item = Position>, until: Instant) -> Result<(), WaitError> {
        for wanted in positions {
            self.wait_one(wanted, until).await?;
        }
        Ok(())
    }

    /// Waits until something new of `partition` is in the tables, or a little while: for asking the tables again.
    pub async fn changed(&self, partition: LogPartition, polls: u32) {
        let Some(entry) = self.partitions.get(&partition) else { return };
        let mut next = entry.next.subscribe();
        next.mark_unchanged();
        let pause = MIN_POLL.saturating_mul(1 << polls.min(10)).min(MAX_POLL);
        tokio::select! {
            biased;
            _ = next.changed() => {}
            () = self.runtime.sleep(pause) => {}
        }
    }

    async fn wait_one(&self, wanted: Position, until: Instant) -> Result<(), WaitError> {
        let mut polls = 0;
        loop {
            let next = self.next_offset(wanted.partition);
            if next > wanted.offset || !self.partitions.contains_key(&wanted.partition) {
                return Ok(());
            }
            let state = self.state(wanted.partition);
            if let Some(reason) = state.stopped {
                return Err(WaitError::Stopped { partition: wanted.partition, reason });
            }
            if Instant::now() >= until {
                return Err(WaitError::Behind { wanted, next });
            }
            if !state.folded_here && self.refresh(wanted.partition).await? > wanted.offset {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.changed(wanted.partition, polls) => polls += 1,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Reads the stored watermark of a partition that another process folds; gives the next offset.
    pub(crate) async fn refresh(&self, partition: LogPartition) -> Result<Offset, StoreError> {
        let stored = self.stored::<ReachedRow>(partition).await?;
        let next = stored.map_or(0, |row| row.position + 1);
        self.advance(partition, next);
        Ok(next)
    }

    /// The same for every partition not folded here, one read a topic.
    pub(crate) async fn refresh_all(&self) -> Result<(), StoreError> {
        let mut topics: Vec<Topic> = self.partitions.keys().map(|partition| partition.topic).collect();
        topics.dedup();
        for topic in topics {
            let slice = Slice { range: kith_tables::RowRange::all::<ReachedRow>(), limit: kith_tables::MAX_SLICE_ROWS };
            for row in self.keyspace.slice(&WATERMARKS, &Key::text(topic.name), &slice).await? {
                if let Some(kith_tables::Value::BigInt(index)) = row.key.clustering.first() {
                    let index = PartitionIndex::try_from(*index).unwrap_or(PartitionIndex::MAX);
                    self.advance(LogPartition { topic, index }, row.position + 1);
                }
            }
        }
        Ok(())
    }

    /// Says that this process folds exactly `partitions` from now on.
    pub(crate) fn folds_here(&self, partitions: &[LogPartition]) {
        for (partition, entry) in &self.partitions {
            let mut state = entry.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = EntryState { folded_here: partitions.contains(partition), stopped: None };
        }
    }

    pub(crate) fn stop(&self, partition: LogPartition, reason: &str) {
        if let Some(entry) = self.partitions.get(&partition) {
            entry.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = Some(reason.to_owned());
            entry.next.send_modify(|_| {});
        }
    }

    /// Everything below `next` is in the tables. Never goes back.
    pub(crate) fn advance(&self, partition: LogPartition, next: Offset) {
        if let Some(entry) = self.partitions.get(&partition) {
            entry.next.send_if_modified(|known| {
                let later = next > *known;
                *known = next.max(*known);
                later
            });
        }
    }

    pub(crate) async fn stored<R: RowType>(&self, partition: LogPartition) -> Result<Option<Row>, StoreError> {
        let key = row_key::<R>(partition);
        let rows = self.keyspace.get(&WATERMARKS, &Key::text(partition.topic.name), &[key]).await?;
        Ok(rows.into_iter().next().flatten())
    }

    /// Stores how far a partition is. `appended` is written only when it moved with the watermark.
    pub(crate) async fn store(&self, reached: Position, id: RecordId, marks: StoredMarks) -> Result<(), StoreError> {
        let reached_row = ReachedRow { record_offset: signed(reached.offset), record_id: id.to_string() };
        let mut writes = vec![stored_row(reached.partition, reached_row, reached.offset)];
        if let Some(offset) = marks.appended {
            writes.push(stored_row(reached.partition, AppendedRow { record_offset: signed(offset) }, offset));
        }
        if let Some((offset, id)) = marks.restart {
            let restart = RestartRow { record_offset: signed(offset), record_id: id.to_string() };
            writes.push(stored_row(reached.partition, restart, offset));
        }
        self.keyspace.apply(&WATERMARKS, &Key::text(reached.partition.topic.name), &writes).await
    }

    fn state(&self, partition: LogPartition) -> EntryState {
        let entry = self.partitions.get(&partition);
        entry.map(|e| e.state.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

/// What is stored beside the watermark itself.
#[derive(Default)]
pub(crate) struct StoredMarks {
    pub appended: Option<Offset>,
    pub restart: Option<(Offset, RecordId)>,
}

fn row_key<R: RowType>(partition: LogPartition) -> RowKey {
    RowKey::of::<R>([i64::from(partition.index).into()])
}

fn stored_row<R: RowType>(partition: LogPartition, row: R, position: Offset) -> Row {
    Row { key: row_key::<R>(partition), columns: row.into_columns(), position }
}

fn signed(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use kith_log::topics;
    use kith_tables::TableStore;
    use kith_tables::embedded::EmbeddedTables;

    use super::*;

    const HERE: LogPartition = LogPartition { topic: topics::POSTS, index: 1 };

    struct Store {
        tables: Arc<EmbeddedTables>,
        runtime: Runtime,
        _folder: tempfile::TempDir,
    }

    async fn store() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::simulated(1, 0);
        let tables = EmbeddedTables::open(folder.path(), runtime.clone()).unwrap();
        tables.create("kith_posts_g1", &[&WATERMARKS]).await.unwrap();
        Store { tables, runtime, _folder: folder }
    }

    impl Store {
        /// As one process of several sees it.
        async fn process(&self) -> Arc<Watermarks> {
            let keyspace = self.tables.open("kith_posts_g1", &[&WATERMARKS]).await.unwrap();
            Arc::new(Watermarks::new(self.runtime.clone(), keyspace, &[topics::POSTS], 4))
        }
    }

    fn at(offset: Offset) -> Position {
        Position { partition: HERE, offset }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_fold_has_passed() {
        let here = store().await.process().await;
        here.folds_here(&[HERE]);
        let waiting = Arc::clone(&here);
        let waiter = here.runtime.spawn(async move { waiting.wait([at(4)], soon()).await });
        for next in 1..=5 {
            assert!(!waiter.is_finished());
            here.advance(HERE, next);
            tokio::task::yield_now().await;
        }
        waiter.await.unwrap().unwrap();
        here.advance(HERE, 2);
        assert_eq!(here.next_offset(HERE), 5, "it never goes back");
        assert_eq!(here.known().collect::<Vec<_>>(), [at(4)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_lasts_too_long_says_how_far_the_tables_are() {
        let here = store().await.process().await;
        here.folds_here(&[HERE]);
        here.advance(HERE, 3);
        let Err(WaitError::Behind { wanted, next }) = here.wait([at(2), at(8)], soon()).await else {
            panic!("not behind")
        };
        assert_eq!((wanted, next), (at(8), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_is_seen_through_the_store() {
        let store = store().await;
        let (here, there) = (store.process().await, store.process().await);
        let waiter = store.runtime.spawn(async move { here.wait([at(6)], soon()).await });
        there.store(at(6), RecordId([6; 16]), StoredMarks::default()).await.unwrap();
        waiter.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_partition_is_said_at_once_and_others_go_on() {
        let here = store().await.process().await;
        let other = LogPartition { index: 2, ..HERE };
        here.folds_here(&[HERE, other]);
        let waiting = Arc::clone(&here);
        let waiter = here.runtime.spawn(async move { waiting.wait([at(0)], soon()).await });
        tokio::task::yield_now().await;
        here.stop(HERE, "newer");
        assert!(matches!(waiter.await.unwrap(), Err(WaitError::Stopped { partition: HERE, .. })));
        here.advance(other, 1);
        here.wait([Position { partition: other, offset: 0 }], soon()).await.unwrap();
        here.folds_here(&[HERE]);
        assert_eq!(here.stopped(HERE), None, "a new word of the group starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn topics_that_the_group_does_not_read_are_not_waited_for() {
        let here = store().await.process().await;
        let foreign = LogPartition { topic: topics::MESSAGING, index: 0 };
        here.wait([Position { partition: foreign, offset: 99 }], Instant::now()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stored_is_read_back_and_never_goes_back() {
        let store = store().await;
        let there = store.process().await;
        let marks = || StoredMarks { appended: Some(9), restart: Some((3, RecordId([3; 16]))) };
        there.store(at(9), RecordId([9; 16]), marks()).await.unwrap();
        there.store(at(5), RecordId([5; 16]), StoredMarks::default()).await.unwrap();
        let here = store.process().await;
        here.refresh_all().await.unwrap();
        assert_eq!(here.next_offset(HERE), 10);
        let reached = here.stored::<ReachedRow>(HERE).await.unwrap().unwrap();
        assert_eq!(
            (reached.position, reached.read::<ReachedRow>().unwrap().record_id),
            (9, RecordId([9; 16]).to_string())
        );
        assert_eq!(here.stored::<AppendedRow>(HERE).await.unwrap().unwrap().position, 9);
        assert_eq!(here.stored::<RestartRow>(HERE).await.unwrap().unwrap().position, 3);
        assert!(here.stored::<ReachedRow>(LogPartition { index: 3, ..HERE }).await.unwrap().is_none());
    }
}
