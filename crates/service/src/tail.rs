//! The tail of a topic: what its new records say, told to those of this process who listen.
//!
//! One follower per process reads each log partition once, however many listen. It tells a record once the tables have
//! it: who is told something finds it there. What was told lately is kept, so that who comes back, also from another
//! process, has its gap filled from memory; who was away for longer reads the tables ([`Missed::Unknown`]).

mod hub;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use kith_fold::{State, Token};
use kith_log::{LogError, LogPartition, Offset, Position, Record, RecordId, Topic};
use kith_proto::Event;
use kith_tables::StoreError;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Failure;
use crate::kit::{Kit, Seen};
pub use hub::{Ended, Heard, Missed};
use hub::{Hub, Joined};

/// Between two attempts at what has failed: a read of the log or the tables.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long the tables are waited for before they are asked for anew: another generation may serve by then.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// Records per log partition that a tail reads again when it begins, so that who listened elsewhere misses nothing.
const BEGINS_BEFORE: Offset = 256;
/// Records whose listeners are looked up at the same time, per log partition.
const LOOKED_UP_AT_ONCE: usize = 16;

/// What the records of a topic say.
#[async_trait]
pub trait Says: Send + Sync + 'static {
    type Item: Send + Sync + 'static;

    const TOPIC: Topic;

    /// What the record says and who hears it, by tables that have the record, and perhaps later ones. `None`: it says nothing
    /// to anybody. It must be the same for each call but for those who joined or left since.
    async fn says(&self, state: &State, told: Told<'_>) -> Result<Option<(Self::Item, Vec<RecordId>)>, StoreError>;
}

/// A record of the tail's topic.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub id: RecordId,
    pub position: Position,
    pub event: &'a Event,
}

/// The tail of one topic in one process. It follows from the first listener on.
pub struct Tail<S: Says> {
    kit: Arc<Kit>,
    says: Arc<S>,
    began: OnceCell<Began<S::Item>>,
}

/// The followers, which end with it.
struct Began<I> {
    hub: SharedHub<I>,
    followers: Vec<JoinHandle<()>>,
}

type SharedHub<I> = Arc<Mutex<Hub<I>>>;

/// One who listens. Dropping it ends that.
pub struct Listener<I> {
    hub: SharedHub<I>,
    account: RecordId,
    number: u64,
    queue: mpsc::Receiver<Arc<Heard<I>>>,
    ended: Arc<OnceLock<Ended>>,
    topic: Topic,
    places: Vec<Offset>,
    /// What it missed, to be told first.
    missed: VecDeque<Arc<Heard<I>>>,
    /// Per log partition, what was told already.
    told: Vec<Offset>,
    /// What the tables had of the topic when it came.
    had: Token,
}

impl<S: Says> Tail<S> {
    pub fn new(kit: Arc<Kit>, says: S) -> Self {
        Self { kit, says: Arc::new(says), began: OnceCell::new() }
    }

    /// Listens for an account from now on. `since`: what it heard before, which `seen` has. `false`: it was away for too long to be
    /// told what it missed; all that it missed is in the tables of `seen`.
    pub async fn listen(
        &self,
        seen: &Seen<'_>,
        account: RecordId,
        since: Option<&Token>,
    ) -> Result<(Listener<S::Item>, bool), Failure> {
        let began = self.began.get_or_try_init(|| self.begin()).await?;
        // Before the tables are read for what it does not know.
        let has = seen.state.as_of();
        let joined = lock(&began.hub).join(account, since, &has);
        let Joined { number, queue, ended, places, told, missed } = joined;
        let (missed, is_whole) = match missed {
            Missed::These(all) => (all, true),
            Missed::Unknown => (VecDeque::new(), false),
        };
        let (hub, topic) = (Arc::clone(&began.hub), S::TOPIC);
        let had = has.positions().filter(|position| position.partition.topic == topic).collect();
        Ok((Listener { hub, account, number, queue, ended, topic, places, missed, told, had }, is_whole))
    }

    async fn begin(&self) -> Result<Began<S::Item>, Failure> {
        let heads = self.kit.log().heads(S::TOPIC).await.map_err(|error| {
            tracing::warn!(%error, "the log did not say how far it is");
            Failure::log_unavailable()
        })?;
        let from = heads.into_iter().map(|head| head.saturating_sub(BEGINS_BEFORE)).collect();
        let hub = Hub::new(S::TOPIC, from);
        let partitions: Vec<LogPartition> = hub.partitions().collect();
        let hub = Arc::new(Mutex::new(hub));
        let follow = |partition| {
            let follower =
                Follower { kit: Arc::clone(&self.kit), says: Arc::clone(&self.says), hub: Arc::clone(&hub), partition };
            self.kit.runtime.spawn(follower.run())
        };
        let followers = partitions.into_iter().map(follow).collect();
        Ok(Began { hub, followers })
    }
}

impl<I> Drop for Began<I> {
    fn drop(&mut self) {
        self.followers.iter().for_each(JoinHandle::abort);
    }
}

fn lock<I>(hub: &Mutex<Hub<I>>) -> MutexGuard<'_, Hub<I>> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows one log partition.
struct Follower<S: Says> {
    kit: Arc<Kit>,
    says: Arc<S>,
    hub: SharedHub<S::Item>,
    partition: LogPartition,
}

impl<S: Says> Follower<S> {
    async fn run(self) {
        loop {
            match self.follow().await {
                // The log was closed.
                Ok(()) => {}
                Err(LogError::OutOfRange { asked, first, next, .. }) => {
                    let to = if asked < first { first } else { next };
                    tracing::warn!(partition = %self.partition, asked, to, "the log does not have what was told of it");
                    lock(&self.hub).jump(self.partition, to);
                }
                Err(error) => tracing::warn!(partition = %self.partition, %error, "the tail reads the log again"),
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    async fn follow(&self) -> Result<(), LogError> {
        let from = lock(&self.hub).next(self.partition);
        let mut reader = self.kit.log().read(self.partition, from).await?;
        while let Some(records) = reader.next().await {
            let records = records?;
            let Some(last) = records.last() else { continue };
            let state = self.reached(last.position).await;
            let looked_up: Vec<_> = records.iter().map(|record| self.heard(&state, record)).collect();
            let looked_up = futures::stream::iter(looked_up).buffered(LOOKED_UP_AT_ONCE);
            let heard: Vec<Option<Heard<S::Item>>> = looked_up.collect().await;
            let heard = heard.into_iter().flatten().collect();
            lock(&self.hub).say(self.partition, last.position.offset + 1, heard);
        }
        Ok(())
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
    async fn heard(&self, state: &State, record: &Record) -> Option<Heard<S::Item>> {
        let (id, position) = (record.id()?, record.position);
        let event = Event::decode(S::TOPIC.name, &record.value).ok()?;
        loop {
            match self.says.says(state, Told { id, position, event: &event }).await {
                Ok(said) => {
                    let (item, mut by) = said?;
                    by.sort_unstable();
                    by.dedup();
                    return Some(Heard { position, item, by });
                }
                Err(error) => tracing::warn!(%position, %error, "the tail reads the tables again"),
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }
}

impl<I> Listener<I> {
    /// What is told next, at most `most`; nothing if nothing is told within that time.
    pub async fn next(&mut self, most: usize, within: Duration) -> Result<Vec<Arc<Heard<I>>>, Ended> {
        if !self.missed.is_empty() {
            let count = most.min(self.missed.len());
            return Ok(self.missed.drain(..count).collect());
        }
        let mut heard = Vec::new();
        let received = tokio::time::timeout(within, self.queue.recv_many(&mut heard, most)).await;
        if received == Ok(0) {
            return Err(self.ended.get().copied().unwrap_or(Ended::Jumped));
        }
        heard.retain(|heard| self.needs(heard.position));
        Ok(heard)
    }

    /// Everything up to there was told.
    pub fn told(&mut self, position: Position) {
        if let Some(told) = self.told.get_mut(usize::from(position.partition.index)) {
            *told = (*told).max(position.offset + 1);
        }
    }

    /// It is not caught up before it is told all up to there.
    pub fn awaits(&mut self, position: Position) {
        self.had.add(position);
    }

    /// Whether all was told that the tables had when it came, and what it awaits.
    pub fn is_caught_up(&mut self) -> bool {
        let told = self.heard();
        self.had.positions().all(|had| told.offset(had.partition) >= Some(had.offset))
    }

    /// Whether all up to there was told.
    pub fn has_told(&self, position: Position) -> bool {
        self.told.get(usize::from(position.partition.index)).is_some_and(|told| *told > position.offset)
    }

    /// All that was told, as a token.
    pub fn place(&self) -> Token {
        let topic = self.topic;
        let position = |(index, told): (u16, &Offset)| {
            let offset = told.checked_sub(1)?;
            Some(Position { partition: LogPartition { topic, index }, offset })
        };
        (0..).zip(&self.told).filter_map(position).collect()
    }

    /// The same; also of what said nothing to this listener, if nothing waits for it.
    pub fn heard(&mut self) -> Token {
        if self.missed.is_empty() {
            let hub = lock(&self.hub);
            // Under the lock: nothing can come to wait in between. Who was let go did not get all that was said.
            if self.queue.is_empty() && self.ended.get().is_none() {
                let said = hub.said().zip(&self.places).map(|(said, place)| said.max(*place));
                self.told.iter_mut().zip(said).for_each(|(told, said)| *told = (*told).max(said));
            }
        }
        self.place()
    }

    fn needs(&self, position: Position) -> bool {
        self.places.get(usize::from(position.partition.index)).is_none_or(|place| position.offset >= *place)
    }
}

impl<I> Drop for Listener<I> {
    fn drop(&mut self) {
        lock(&self.hub).leave(self.account, self.number);
    }
}
