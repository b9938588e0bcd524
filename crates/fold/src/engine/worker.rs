mod unmade;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use kith_log::{LogError, LogPartition, Offset, Position, Record as RawRecord, RecordId, RecordReader};
use kith_runtime::UnixMicros;
use kith_tables::{Cell, Row, StoreError, Timestamp};
use lru::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::batch::{BATCH_RECORDS, Batch, Refused, batches};
use super::context::Context;
use super::heads::head_of;
use super::letters::Letters;
use super::note::Note;
use super::restart_history::RestartHistory;
use super::spread::{Spreader, Withheld};
use crate::cache::PartitionCache;
use crate::dead_letter::Poison;
use crate::metrics::{Step, Steps};
use crate::positions::{AppendedRow, Reached, ReachedRow, RestartRow, StoredMarks};
use crate::{Effect, FoldError};

/// How often an idle worker checks whether the tables' server may have lost rows: there may be no record for a long
/// time.
const LOOK_FOR_LOSS_EVERY: Duration = Duration::from_secs(1);
/// Withheld spreads that a worker remembers; a forgotten one costs a cleared cache.
const WITHHELD_KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Folds one log partition while this process owns it.
pub(crate) struct Worker {
    context: Arc<Context>,
    partition: LogPartition,
    cache: PartitionCache,
    /// The offset that the group's reader returns next; we have received everything below.
    next: Offset,
    /// Whether effects may append.
    live: bool,
    /// The first offset whose appends are not known to be made.
    append_next: Offset,
    /// The offset from which this worker has folded everything itself.
    began: Offset,
    /// The first micro-batch with a record that cannot be decoded, which the worker may not have set aside.
    poison_from: Option<Offset>,
    /// The letters in the log, read when this worker first had a record to set aside since its last failure.
    letters: Option<Letters>,
    /// Offsets with known record ids: a log that lost its tail has other records there.
    expected: BTreeMap<Offset, RecordId>,
    restart: RestartHistory,
    /// The latest time of a record up to the watermark.
    newest: Timestamp,
    note: Note,
    reconnects: u64,
    /// Spreads that rows of the tables withheld recently.
    withheld: LruCache<Withheld, ()>,
    steps: Steps,
}

impl Worker {
    /// Finds the restart point of the partition's fold.
    pub(crate) async fn resume(
        context: Arc<Context>,
        partition: LogPartition,
        head: Offset,
    ) -> Result<Self, FoldError> {
        let watermarks = &context.state.watermarks;
        let reached = watermarks.stored::<ReachedRow>(partition).await?;
        let appended = watermarks.stored::<AppendedRow>(partition).await?;
        let restart = watermarks.stored::<RestartRow>(partition).await?;
        let mut expected = BTreeMap::new();
        for row in [&reached, &restart].into_iter().flatten() {
            let id = row.columns.get(1).cloned().and_then(String::from_value).and_then(|id| RecordId::parse(&id));
            expected.extend(id.map(|id| (row.position, id)));
        }
        let newest = reached.as_ref().and_then(Row::read::<ReachedRow>).map_or(Timestamp::default(), |row| row.newest);
        let reached_next = reached.as_ref().map_or(0, |row| row.position + 1);
        watermarks.advance(partition, reached_next, newest);
        // Another owner may have folded on between our reads of the head and of the watermark.
        let head = if reached_next > head { head_of(&*context.log, partition).await? } else { head };
        if reached_next > head {
            return Err(FoldError::LostTail { partition, from: head });
        }
        let margin = context.store.restart_margin();
        // The record at the restart point itself is read again, to compare its id.
        let from = if margin.is_zero() { reached } else { restart }.map_or(0, |row| row.position);
        let reconnects = context.store.reconnects();
        let restart = RestartHistory::new(margin);
        let append_next = appended.map_or(0, |row| row.position + 1);
        let cache = PartitionCache::new(&context.runtime);
        // `new` would allocate all its memory at once.
        let mut withheld = LruCache::unbounded();
        withheld.resize(WITHHELD_KEPT);
        let steps = context.metrics.steps(&context.group);
        let note = Note::new(context.store.is_shared());
        Ok(Self {
            context,
            partition,
            cache,
            next: from,
            live: false,
            append_next,
            began: from,
            poison_from: None,
            letters: None,
            expected,
            restart,
            newest,
            note,
            reconnects,
            withheld,
            steps,
        })
    }

    pub(crate) fn start_offset(&self) -> Offset {
        self.next
    }

    /// Runs until the partition is revoked. An `Err` stops it permanently.
    pub(crate) async fn run(mut self, mut reader: RecordReader, caught_up: Arc<Semaphore>) -> Result<(), FoldError> {
        loop {
            tokio::select! {
                biased;
                () = may_append(&self.context, &caught_up), if !self.live => self.go_live().await?,
                records = reader.next() => {
                    let Some(records) = records else { return Ok(()) };
                    self.take(&mut reader, records?).await?;
                }
                () = self.context.runtime.sleep(LOOK_FOR_LOSS_EVERY), if self.may_lose() => {
                    if let Err(lost) = self.has_all() {
                        self.recover(lost).await?;
                    }
                }
            }
        }
    }

    /// Whether the tables' server may lose rows that it has acknowledged.
    fn may_lose(&self) -> bool {
        !self.context.store.restart_margin().is_zero()
    }

    /// `Err` when the tables' server may have lost rows since the fold's last restart.
    fn has_all(&self) -> Result<(), FoldError> {
        if self.context.store.reconnects() == self.reconnects { Ok(()) } else { Err(reconnected()) }
    }

    /// Folds the record from the group's reader, with all others available.
    async fn take(&mut self, reader: &mut RecordReader, mut records: Vec<RawRecord>) -> Result<(), FoldError> {
        while records.len() < BATCH_RECORDS {
            let Some(more) = reader.try_next() else { break };
            records.extend(more?);
        }
        for batch in batches(&records) {
            let until = batch.last().map_or(self.next, |record| record.position.offset + 1);
            if self.live {
                self.steps.waited(batch, self.context.runtime.now_ms());
            }
            let folded = match self.has_all() {
                Ok(()) => self.fold(batch).await,
                Err(lost) => Err(lost),
            };
            self.next = self.next.max(until);
            if let Err(error) = folded {
                self.recover(error).await?;
            }
        }
        Ok(())
    }

    /// The folds of the whole group have reached the heads as they were at the start: from now on effects may append.
    /// First it searches for appends that a dead process did not make.
    async fn go_live(&mut self) -> Result<(), FoldError> {
        match self.make_up().await {
            Ok(()) => Ok(()),
            // Then it is made again, from a restart point no later than the first missing append.
            Err(error) => self.recover(error).await,
        }
    }

    /// After a failure the cache is not trusted: the fold restarts at the restart point and catches up with the group's
    /// reader. Because of the marks, records that are already applied cost no writes.
    async fn recover(&mut self, error: FoldError) -> Result<(), FoldError> {
        let mut error = error;
        let mut backoff = MIN_BACKOFF;
        loop {
            if !error.may_pass() {
                return Err(error);
            }
            tracing::warn!(partition = %self.partition, %error, retry_in_ms = backoff.as_millis(), "fold goes back");
            self.context.runtime.sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
            match self.replay_from_restart().await {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
    }

    async fn replay_from_restart(&mut self) -> Result<(), FoldError> {
        self.restart.forget();
        // A failed append may have been made.
        self.letters = None;
        self.reconnects = self.context.store.reconnects();
        let watermarks = &self.context.state.watermarks;
        let stored = if self.restart.is_kept() {
            watermarks.stored::<RestartRow>(self.partition).await?
        } else {
            watermarks.stored::<ReachedRow>(self.partition).await?
        };
        let restart = stored.map_or(0, |row| row.position);
        let from = if self.live { restart.min(self.append_next) } else { restart };
        self.replay(from, self.next).await
    }

    /// Folds `from..until` again, read outside the group.
    async fn replay(&mut self, from: Offset, until: Offset) -> Result<(), FoldError> {
        self.cache.clear();
        if from >= until {
            return Ok(());
        }
        let context = Arc::clone(&self.context);
        let _turn = turn_to_replay(&context, self.partition).await?;
        let mut reader = self.context.log.read(self.partition, from).await?;
        let mut next = from;
        while next < until {
            let Some(records) = reader.next().await else { return Err(LogError::Closed.into()) };
            let mut records = records?;
            records.retain(|record| record.position.offset < until);
            for batch in batches(&records) {
                self.fold(batch).await?;
                next = batch.last().map_or(next, |record| record.position.offset + 1);
            }
            if records.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One micro-batch. If a fold refuses a record, those before it are folded first.
    async fn fold(&mut self, records: &[RawRecord]) -> Result<(), FoldError> {
        let Err(Refused { at, why }) = self.fold_all(records).await? else { return Ok(()) };
        if at > 0 {
            // The same records up to there were not refused.
            self.fold_all(&records[..at]).await?.map_err(|refused| FoldError::Stopped(refused.why))?;
        }
        Err(FoldError::Stopped(why))
    }

    /// Load, apply, write scopes, execute effects, move the watermark. A batch with more effects than are held at once is applied in
    /// parts. Where a fold refuses a record, nothing of its part is written.
    async fn fold_all(&mut self, records: &[RawRecord]) -> Result<Result<(), Refused>, FoldError> {
        let role = Arc::clone(&self.context.role);
        let _turn = role.turn(|| self.context.state.watermarks.count_step(self.partition)).await?;
        // Another generation serves now: it makes the appends.
        self.live &= role.is_live();
        self.compare_ids(records)?;
        self.read_log_clock(records);
        let mut laps = self.steps.start();
        let batch = Batch::decode(&self.context, self.partition, records);
        let set_aside = self.set_aside(&batch, records).await?;
        let keyspace = &*self.context.state.keyspace;
        let mut scopes = batch.load(keyspace, &self.context.group.folds, &mut self.cache).await?;
        laps.end(Step::Load);
        let publisher = self.live.then_some(&self.context.publisher);
        let progress = || self.context.state.watermarks.count_step(self.partition);
        let mut spreader = Spreader::new(keyspace, publisher, &progress);
        spreader.take(set_aside);
        let mut withheld = Vec::new();
        loop {
            if let Err(refused) = batch.apply(&self.context.group.folds, &mut scopes, &mut spreader) {
                return Ok(Err(refused));
            }
            laps.end(Step::Apply);
            scopes.write(keyspace, &|| self.has_all()).await?;
            laps.end(Step::Write);
            withheld.extend(spreader.run().await?);
            laps.end(Step::Spread);
            if scopes.are_applied() {
                break;
            }
        }
        let had_some = scopes.had_some();
        scopes.keep(&mut self.cache);
        if had_some || self.is_new(withheld) {
            self.context.state.watermarks.written_by_others();
        }
        self.newest = self.newest.max(batch.newest());
        if let Some((reached, id)) = batch.last()
            && self.pass(reached, id).await?
        {
            laps.end(Step::Note);
        }
        self.context.metrics.folded(&self.context.group, self.partition.topic, batch.len(), laps.took());
        batch.stopped_at().map_or(Ok(Ok(())), |reason| Err(FoldError::Stopped(reason)))
    }

    /// The next dates issued here also follow the log's clock. A log without times has no clock; records that a new
    /// generation reads, or that are read again, are old.
    fn read_log_clock(&self, records: &[RawRecord]) {
        let new = records.last().filter(|last| self.live && last.position.offset >= self.next);
        let logged = new.map(|last| last.logged_ms.saturating_mul(1_000));
        if let Some(logged) = logged.filter(|&logged| logged < UnixMicros::MAX) {
            self.context.runtime.logged(logged);
        }
    }

    /// The effects that set aside the batch's records that cannot be decoded.
    async fn set_aside(&mut self, batch: &Batch, records: &[RawRecord]) -> Result<Vec<Effect>, FoldError> {
        if batch.poison().next().is_none() {
            return Ok(Vec::new());
        }
        if let Some(first) = records.first() {
            let first = first.position.offset;
            self.poison_from = Some(self.poison_from.map_or(first, |known| known.min(first)));
        }
        if self.live && self.letters.is_none() {
            let _turn = self.context.reading_letters.acquire().await.map_err(|_| LogError::Closed)?;
            let progress = || self.context.state.watermarks.count_step(self.partition);
            self.letters = Some(Letters::read(&*self.context.log, self.partition, &progress).await?);
        }
        let is_in_log = |poison: &Poison| self.letters.as_ref().is_some_and(|known| known.has(poison.letter_id()));
        Ok(batch.poison().map(|poison| poison.clone().effect(is_in_log(poison))).collect())
    }

    /// All effects of the records up to here are durable. Waiters in this process need not wait until the watermark is
    /// stored. True when it was stored.
    async fn pass(&mut self, reached: Offset, id: RecordId) -> Result<bool, FoldError> {
        self.context.state.watermarks.advance(self.partition, reached + 1, self.newest);
        let now_ms = self.context.runtime.now_ms();
        if !self.note.is_due(now_ms) {
            return Ok(false);
        }
        let restart = self.restart.at(now_ms, reached, id);
        let marks = StoredMarks { appended: self.live.then_some(reached), restart };
        let position = Position { partition: self.partition, offset: reached };
        self.context.state.watermarks.store(Reached { position, id, newest: self.newest }, marks).await?;
        if self.live {
            self.append_next = self.append_next.max(reached + 1);
        }
        Ok(true)
    }

    /// Whether any of it is new here: then the cache may lack what another process wrote before the withholding row.
    fn is_new(&mut self, withheld: Vec<Withheld>) -> bool {
        withheld.into_iter().filter(|place| self.withheld.put(place.clone(), ()).is_none()).count() > 0
    }

    fn compare_ids(&self, records: &[RawRecord]) -> Result<(), FoldError> {
        for record in records {
            let expected = self.expected.get(&record.position.offset);
            if expected.is_some_and(|&id| record.id().unwrap_or_default() != id) {
                let Position { partition, offset: from } = record.position;
                return Err(FoldError::LostTail { partition, from });
            }
        }
        Ok(())
    }
}

/// Waits until the folds of the whole group have reached the heads as they were at the start, and this generation
/// serves.
async fn may_append(context: &Context, caught_up: &Semaphore) {
    // Never closed: a permit, returned at once, means that the heads are reached.
    let _ = caught_up.acquire().await;
    context.role.served().await;
}

/// A fold that waits for it is not stalled.
async fn turn_to_replay(context: &Context, partition: LogPartition) -> Result<SemaphorePermit<'_>, FoldError> {
    loop {
        tokio::select! {
            biased;
            turn = context.replays.acquire() => return turn.map_err(|_| LogError::Closed.into()),
            () = context.runtime.sleep(MAX_BACKOFF) => context.state.watermarks.count_step(partition),
        }
    }
}

fn reconnected() -> FoldError {
    StoreError::Unavailable("the connection was lost and made again".to_owned()).into()
}
