//! Following one log partition: its records are told once the tables have them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use kith_fold::State;
use kith_log::{LogError, LogPartition, Position, Record};
use kith_proto::Event;
use kith_tables::StoreError;
use tokio::time::Instant;

use super::{Ended, Heard, Says, SharedHub, Told, lock};
use crate::kit::Kit;

/// Between two attempts at what has failed: a read of the log or the tables.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long the tables are waited for before they are asked for anew: another generation may serve by then.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// Attempts at telling the same records, by the tables that serve then. Behind the last their listeners are ended.
const ATTEMPTS: usize = 40;
/// Records that are told together: far fewer than may wait for a listener.
const TOLD_TOGETHER: usize = 64;
/// Of these, so many whose listeners are looked up at the same time.
const LOOKED_UP_AT_ONCE: usize = 16;

/// Follows one log partition.
pub(super) struct Follower<S: Says> {
    kit: Arc<Kit>,
    says: Arc<S>,
    hub: SharedHub<S::Item>,
    partition: LogPartition,
    /// The offset after the records that are being told.
    telling: AtomicU64,
}

impl<S: Says> Follower<S> {
    pub fn new((kit, says): (&Arc<Kit>, &Arc<S>), hub: SharedHub<S::Item>, partition: LogPartition) -> Self {
        let (kit, says, telling) = (Arc::clone(kit), Arc::clone(says), AtomicU64::new(0));
        Self { kit, says, hub, partition, telling }
    }

    /// Never ends by itself. What panics is told to nobody, and passed: whoever listened comes back and reads the tables.
    pub async fn run(self) {
        loop {
            match AssertUnwindSafe(self.follow()).catch_unwind().await {
                // The log was closed.
                Ok(Ok(())) => {}
                Ok(Err(LogError::OutOfRange { asked, first, next, .. })) => {
                    let to = if asked < first { first } else { next };
                    tracing::warn!(partition = %self.partition, asked, to, "the log does not have what was told of it");
                    lock(&self.hub).jump(self.partition, to, Ended::Jumped);
                }
                Ok(Err(error)) => tracing::warn!(partition = %self.partition, %error, "the tail reads the log again"),
                Err(_) => {
                    tracing::error!(partition = %self.partition, "the tail panicked");
                    self.give_up(self.telling.load(Ordering::Relaxed));
                }
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    async fn follow(&self) -> Result<(), LogError> {
        let from = lock(&self.hub).next(self.partition);
        let mut reader = self.kit.log().read(self.partition, from).await?;
        while let Some(records) = reader.next().await {
            for records in records?.chunks(TOLD_TOGETHER) {
                self.tell(records).await;
            }
        }
        Ok(())
    }

    /// Tells what the records say. By the tables as they are at each attempt: a generation may be dropped meanwhile.
    async fn tell(&self, records: &[Record]) {
        let Some(last) = records.last().map(|last| last.position) else { return };
        let next = last.offset + 1;
        self.telling.store(next, Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            match self.looked_up(last, records).await {
                Ok(heard) => return lock(&self.hub).say(self.partition, next, heard),
                Err(error) => tracing::warn!(position = %last, %error, "the tail reads the tables again"),
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
        tracing::error!(position = %last, "the tail gave up on records: those who listen come back, and read the tables");
        self.give_up(next);
    }

    /// Whoever listens is ended, and what is before that offset was told to nobody.
    fn give_up(&self, to: u64) {
        self.kit.fold_metrics().tail_gave_up(S::TOPIC);
        lock(&self.hub).jump(self.partition, to, Ended::Failed);
    }

    async fn looked_up(&self, last: Position, records: &[Record]) -> Result<Vec<Heard<S::Item>>, StoreError> {
        let state = self.reached(last).await;
        let heard: Vec<_> = records.iter().map(|record| self.heard(&state, record)).collect();
        let heard: Vec<Option<_>> = futures::stream::iter(heard).buffered(LOOKED_UP_AT_ONCE).try_collect().await?;
        Ok(heard.into_iter().flatten().collect())
    }

    /// The tables, once they have the record.
    async fn reached(&self, position: Position) -> State {
        loop {
            if let Some(state) = self.kit.state() {
                let until = Instant::now() + REACHED_WITHIN;
                if state.at_least(&position.into(), until).await.is_ok() {
                    return state;
                }
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    /// `None`: the record says nothing to anybody, also one that does not read, which the folds set aside.
    async fn heard(&self, state: &State, record: &Record) -> Result<Option<Heard<S::Item>>, StoreError> {
        let position = record.position;
        let Some((id, event)) = record.id().zip(Event::decode(S::TOPIC.name, &record.value).ok()) else {
            return Ok(None);
        };
        let said = self.says.says(state, Told { id, position, event: &event }).await?;
        Ok(said.map(|(item, mut by)| {
            by.sort_unstable();
            by.dedup();
            Heard { position, item, by }
        }))
    }
}
