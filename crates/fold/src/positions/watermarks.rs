mod stored;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_log::{LogPartition, Offset, PartitionIndex, Position, Topic};
use kith_runtime::{Runtime, UnixMicros};
use kith_tables::{Key, Keyspace, MAX_SLICE_ROWS, Row, RowRange, RowType, Slice, StoreError, Timestamp, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cache::SoleWriter;
use crate::{FoldError, Token};
pub(crate) use stored::{AppendedRow, Reached, ReachedRow, RestartRow, StoppedRow, StoredMarks, WATERMARKS};
use stored::{row_key, signed, stored_row};

/// Polling another replica's watermark: from this, doubling, to [`MAX_POLL`].
const MIN_POLL: Duration = Duration::from_millis(1);
const MAX_POLL: Duration = Duration::from_millis(16);

/// The positions of one group's folds, seen from one process: exact for the partitions it folds itself, as stored for
/// the others.
pub struct Watermarks {
    runtime: Runtime,
    keyspace: Arc<dyn Keyspace>,
    partitions: BTreeMap<LogPartition, Entry>,
    /// Whether a partition ever stood still: until then no check for one is made.
    ever_stopped: AtomicBool,
    /// For tables that other processes may write to.
    sole_writer: Option<Arc<SoleWriter>>,
}

struct Entry {
    /// The next offset: everything below is in the tables.
    next: AtomicU64,
    /// No record below is dated later.
    newest: AtomicI64,
    /// Wakes waiters in order of arrival (a watch channel would not), so that a run is a function of its seed.
    grown: Notify,
    /// Steps of the fold here, of replays too: it stops counting when the fold is stalled.
    steps: AtomicU64,
    state: Mutex<EntryState>,
    /// Held by the one waiter that reads another process's watermark from the tables; it informs the others.
    poll: tokio::sync::Mutex<()>,
}

#[derive(Default, Clone)]
struct EntryState {
    folded_here: bool,
    stopped: Option<Stop>,
}

/// That a partition stands still.
#[derive(Debug, Clone)]
struct Stop {
    /// Ends when the watermark has passed this.
    at: Offset,
    /// From here on, nothing of the log is in the tables.
    from: Offset,
    reason: String,
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
    pub(crate) fn new(
        runtime: Runtime,
        keyspace: Arc<dyn Keyspace>,
        topics: &[Topic],
        count: PartitionIndex,
        sole_writer: Option<Arc<SoleWriter>>,
    ) -> Self {
        let all = topics.iter().flat_map(|&topic| (0..count).map(move |index| LogPartition { topic, index }));
        let entry = || Entry {
            next: AtomicU64::default(),
            newest: AtomicI64::default(),
            grown: Notify::new(),
            steps: AtomicU64::default(),
            poll: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        };
        let partitions = all.map(|partition| (partition, entry())).collect();
        Self { runtime, keyspace, partitions, ever_stopped: false.into(), sole_writer }
    }

    /// Every partition of every topic of the group.
    pub fn partitions(&self) -> impl Iterator<Item = LogPartition> + '_ {
        self.partitions.keys().copied()
    }

    /// The known content of the tables: the last offset of each partition that has any.
    pub fn known(&self) -> impl Iterator<Item = Position> + '_ {
        self.partitions.iter().filter_map(|(&partition, entry)| {
            entry.next.load(Ordering::Acquire).checked_sub(1).map(|offset| Position { partition, offset })
        })
    }

    /// No record that is known here to be in the tables is dated later.
    pub(crate) fn latest(&self) -> UnixMicros {
        self.runtime.latest()
    }

    /// No record that `token` stands for is dated later. They must be known here to be in the tables, or be this process's own.
    pub fn latest_of(&self, token: &Token) -> UnixMicros {
        let of = |position: Position| match self.partitions.get(&position.partition) {
            Some(entry) if entry.next.load(Ordering::Acquire) >= position.offset => {
                entry.newest.load(Ordering::Acquire)
            }
            _ => self.latest(),
        };
        token.positions().map(of).max().unwrap_or_default()
    }

    /// The first offset of `partition` that is not known here to be in the tables; 0 for one that is not read.
    pub fn next_offset(&self, partition: LogPartition) -> Offset {
        self.partitions.get(&partition).map_or(0, |entry| entry.next.load(Ordering::Acquire))
    }

    /// Whether this process folds the partition now.
    pub fn is_folded_here(&self, partition: LogPartition) -> bool {
        self.state(partition).folded_here
    }

    /// Why the partition stands still, here or on the replica that folds it, if it does.
    pub fn stopped(&self, partition: LogPartition) -> Option<String> {
        self.stop_of(partition).map(|stop| stop.reason)
    }

    /// The first partition that stands still, and why, if one does.
    pub(crate) fn first_stopped(&self) -> Option<(LogPartition, String)> {
        if !self.ever_stopped.load(Ordering::Acquire) {
            return None;
        }
        self.partitions().find_map(|partition| self.stopped(partition).map(|reason| (partition, reason)))
    }

    /// Whether the log has lost records that are in the tables: the log reuses their offsets for other records.
    pub fn lost_tail(&self, partition: LogPartition) -> bool {
        self.stop_of(partition).is_some_and(|stop| stop.from < self.next_offset(partition))
    }

    fn stop_of(&self, partition: LogPartition) -> Option<Stop> {
        self.state(partition).stopped.filter(|stop| stop.at >= self.next_offset(partition))
    }

    /// Waits until each of `positions` is in the tables. Positions of topics that the group does not read count as met.
    pub async fn wait(&self, positions: impl IntoIterator<Item = Position>, until: Instant) -> Result<(), WaitError> {
        for wanted in positions {
            self.wait_one(wanted, until).await?;
        }
        Ok(())
    }

    /// Waits until something new of `partition` is in the tables, or for a short time: for polling the tables.
    pub async fn changed(&self, partition: LogPartition, polls: u32) {
        let Some(entry) = self.partitions.get(&partition) else { return };
        tokio::select! {
            biased;
            () = entry.grown.notified() => {}
            () = self.runtime.sleep(pause(polls)) => {}
        }
    }

    async fn wait_one(&self, wanted: Position, until: Instant) -> Result<(), WaitError> {
        let Some(entry) = self.partitions.get(&wanted.partition) else { return Ok(()) };
        let mut polls = 0;
        loop {
            // Made before the check, so that no later change is missed.
            let grown = entry.grown.notified();
            let stop = self.stop_of(wanted.partition).filter(|stop| wanted.offset >= stop.from);
            if let Some(Stop { reason, .. }) = stop {
                return Err(WaitError::Stopped { partition: wanted.partition, reason });
            }
            let next = self.next_offset(wanted.partition);
            if next > wanted.offset {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(WaitError::Behind { wanted, next });
            }
            if !self.is_folded_here(wanted.partition) && self.ask(wanted.partition).await? > wanted.offset {
                // Or it is stopped: the next iteration shows it.
                continue;
            }
            tokio::select! {
                biased;
                () = grown => {}
                () = self.runtime.sleep(pause(polls)) => {}
                () = tokio::time::sleep_until(until) => {}
            }
            polls += 1;
        }
    }

    /// As [`Self::refresh`], unless another waiter is reading the same now.
    async fn ask(&self, partition: LogPartition) -> Result<Offset, StoreError> {
        match self.partitions.get(&partition).map(|entry| entry.poll.try_lock()) {
            Some(Ok(_turn)) => self.refresh(partition).await,
            Some(Err(_)) | None => Ok(self.next_offset(partition)),
        }
    }

    /// Reads the stored watermark of a partition that another process folds; returns the next offset.
    pub(crate) async fn refresh(&self, partition: LogPartition) -> Result<Offset, StoreError> {
        let keys = [row_key::<ReachedRow>(partition), row_key::<StoppedRow>(partition)];
        let rows = self.keyspace.get(&WATERMARKS, &Key::text(partition.topic.name), &keys).await?;
        rows.into_iter().flatten().for_each(|row| self.learn(partition, &row));
        Ok(self.next_offset(partition))
    }

    /// The same for every partition not folded here, a few reads per topic.
    pub(crate) async fn refresh_all(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut topics: Vec<Topic> = self.partitions.keys().map(|partition| partition.topic).collect();
        topics.dedup();
        for topic in topics {
            for range in [RowRange::all::<ReachedRow>(), RowRange::all::<StoppedRow>()] {
                let slice = Slice { range, limit: MAX_SLICE_ROWS };
                for row in self.keyspace.slice(&WATERMARKS, &Key::text(topic.name), &slice).await? {
                    let Some(Value::BigInt(index)) = row.key.clustering.first() else { continue };
                    let index = PartitionIndex::try_from(*index).unwrap_or(PartitionIndex::MAX);
                    self.learn(LogPartition { topic, index }, &row);
                }
            }
        }
        if let Some(sole_writer) = &self.sole_writer {
            sole_writer.looked(began);
        }
        Ok(())
    }

    fn learn(&self, partition: LogPartition, row: &Row) {
        match row.key.section {
            ReachedRow::SECTION => {
                if self.is_folded_here(partition) && row.position >= self.next_offset(partition) {
                    // Another process folds it as well: caching must stop before any waiter continues.
                    self.not_sole_writer();
                }
                let newest = row.read::<ReachedRow>().map_or(Timestamp::default(), |row| row.newest);
                self.advance(partition, row.position + 1, newest);
            }
            StoppedRow::SECTION if !self.is_folded_here(partition) => {
                let StoppedRow { reason, from_offset } = row.read().unwrap_or_else(|| StoppedRow {
                    reason: "for a reason that does not read".to_owned(),
                    from_offset: 0,
                });
                let from = Offset::try_from(from_offset).unwrap_or(0);
                self.set_stopped(partition, Stop { at: row.position, from, reason });
            }
            _ => {}
        }
    }

    /// Records that this process folds exactly `partitions` from now on.
    pub(crate) fn folds_here(&self, partitions: &[LogPartition]) {
        self.not_sole_writer();
        for (partition, entry) in &self.partitions {
            let lost_tail = self.lost_tail(*partition);
            let mut state = entry.state.lock().unwrap_or_else(PoisonError::into_inner);
            let stopped = state.stopped.take().filter(|_| lost_tail);
            *state = EntryState { folded_here: partitions.contains(partition), stopped };
        }
    }

    /// Records that the partitions folded here have read their positions in the tables. If these are all partitions,
    /// this is the sole writer.
    pub(crate) fn all_resumed(&self) {
        let all_here = self.partitions.keys().all(|&partition| self.is_folded_here(partition));
        if let Some(sole_writer) = self.sole_writer.as_ref().filter(|_| all_here) {
            sole_writer.begin();
        }
    }

    fn not_sole_writer(&self) {
        if let Some(sole_writer) = &self.sole_writer {
            sole_writer.end();
        }
    }

    /// Records that the fold here found writes of another process in the tables.
    pub(crate) fn written_by_others(&self) {
        if let Some(sole_writer) = &self.sole_writer {
            sole_writer.forget();
        }
    }

    /// Reports here and, through the tables, to the other replicas that nothing from the offset `from` on can be
    /// folded.
    pub(crate) async fn stop(&self, partition: LogPartition, from: Offset, reason: &str) -> Result<(), StoreError> {
        let at = self.next_offset(partition).max(from);
        self.set_stopped(partition, Stop { at, from, reason: reason.to_owned() });
        if let Some(entry) = self.partitions.get(&partition) {
            entry.grown.notify_waiters();
        }
        let row = stored_row(partition, StoppedRow { reason: reason.to_owned(), from_offset: signed(from) }, at);
        self.keyspace.apply(&WATERMARKS, &Key::text(partition.topic.name), &[row]).await
    }

    /// The log ends at `head`. False if the tables have more: then the log has lost its tail, and later records at
    /// these offsets are different ones.
    pub(crate) fn fits(&self, partition: LogPartition, tables_next: Offset, head: Offset) -> bool {
        if tables_next > head && !self.lost_tail(partition) {
            let reason = FoldError::LostTail { partition, from: head }.to_string();
            self.set_stopped(partition, Stop { at: self.next_offset(partition), from: head, reason });
        }
        tables_next <= head
    }

    fn set_stopped(&self, partition: LogPartition, stop: Stop) {
        if let Some(entry) = self.partitions.get(&partition) {
            entry.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = Some(stop);
            self.ever_stopped.store(true, Ordering::Release);
        }
    }

    /// The fold here did something.
    pub(crate) fn count_step(&self, partition: LogPartition) {
        if let Some(entry) = self.partitions.get(&partition) {
            entry.steps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The step count of the fold here.
    pub(crate) fn steps(&self, partition: LogPartition) -> u64 {
        self.partitions.get(&partition).map_or(0, |entry| entry.steps.load(Ordering::Relaxed))
    }

    /// Everything below `next` is in the tables, and dated no later than `newest`. Never goes back. Before anyone sees it, times
    /// given out here are later.
    pub(crate) fn advance(&self, partition: LogPartition, next: Offset, newest: Timestamp) {
        let Some(entry) = self.partitions.get(&partition) else { return };
        self.runtime.observe(newest.0);
        entry.newest.fetch_max(newest.0, Ordering::AcqRel);
        if next > entry.next.fetch_max(next, Ordering::AcqRel) {
            entry.grown.notify_waiters();
        }
    }

    pub(crate) async fn stored<R: RowType>(&self, partition: LogPartition) -> Result<Option<Row>, StoreError> {
        let key = row_key::<R>(partition);
        let rows = self.keyspace.get(&WATERMARKS, &Key::text(partition.topic.name), &[key]).await?;
        Ok(rows.into_iter().next().flatten())
    }

    /// The first offset of the partition whose appends this generation has not stored as made.
    pub(crate) async fn appended_next(&self, partition: LogPartition) -> Result<Offset, StoreError> {
        Ok(self.stored::<AppendedRow>(partition).await?.map_or(0, |row| row.position + 1))
    }

    /// Stores that all appends of the partition's records below `next` are made.
    pub(crate) async fn store_appended(&self, partition: LogPartition, next: Offset) -> Result<(), StoreError> {
        let Some(last) = next.checked_sub(1) else { return Ok(()) };
        let row = stored_row(partition, AppendedRow { record_offset: signed(last) }, last);
        self.keyspace.apply(&WATERMARKS, &Key::text(partition.topic.name), &[row]).await
    }

    /// Stores a partition's watermark. `appended` is written only when it moved with the watermark.
    pub(crate) async fn store(&self, reached: Reached, marks: StoredMarks) -> Result<(), StoreError> {
        let Reached { position: reached, id, newest } = reached;
        let reached_row = ReachedRow { record_offset: signed(reached.offset), record_id: id.to_string(), newest };
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

/// Between two reads of another process's watermark.
fn pause(polls: u32) -> Duration {
    MIN_POLL.saturating_mul(1 << polls.min(10)).min(MAX_POLL)
}

#[cfg(test)]
mod tests;
