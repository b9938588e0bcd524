//! The tail of a topic: what its new records say, told to those of this process who listen.
//!
//! One follower per process reads each log partition once, however many listen. It tells a record once the tables have
//! it: who is told something finds it there. What was told lately is kept, so that who comes back, also from another
//! process, has its gap filled from memory; who was away for longer reads the tables ([`Missed::Unknown`]).

mod follower;
mod hub;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use kith_fold::{State, Token};
use kith_log::{LogPartition, Offset, Position, RecordId, Topic};
use kith_proto::Event;
use kith_tables::StoreError;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Failure;
use crate::kit::{Kit, Seen};
use follower::Follower;
pub use hub::{Ended, Heard, Missed};
use hub::{Hub, Joined};

/// Records per log partition that a tail reads again when it begins, so that who listened elsewhere misses nothing.
const BEGINS_BEFORE: Offset = 256;

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
    /// Per log partition the offset before which it needs nothing.
    places: Vec<Offset>,
    /// Changes whenever more was said, to whomever.
    moved: watch::Receiver<()>,
    caught_up: bool,
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

    /// What its records say.
    pub fn says(&self) -> &S {
        &self.says
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
        let Joined { number, queue, ended, places, told, moved, missed } = joined;
        let (missed, is_whole) = match missed {
            Missed::These(all) => (all, true),
            Missed::Unknown => (VecDeque::new(), false),
        };
        let (hub, topic) = (Arc::clone(&began.hub), S::TOPIC);
        let had = has.positions().filter(|position| position.partition.topic == topic).collect();
        let caught_up = false;
        let listener =
            Listener { hub, account, number, queue, ended, topic, places, moved, caught_up, missed, told, had };
        if !is_whole {
            // What was said before it came is not said to it: it must be in the tables that tell it.
            seen.state.at_least(&listener.needs_nothing_before(), seen.deadline.at()).await?;
        }
        Ok((listener, is_whole))
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
            let follower = Follower::new((&self.kit, &self.says), Arc::clone(&hub), partition);
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

impl<I> Listener<I> {
    /// What is told next, at most `most`; nothing if nothing is told by then, or, before it is caught up, once more was said to
    /// others.
    pub async fn next(&mut self, most: usize, by: Instant) -> Result<Vec<Arc<Heard<I>>>, Ended> {
        if !self.missed.is_empty() {
            let count = most.min(self.missed.len());
            return Ok(self.missed.drain(..count).collect());
        }
        let mut heard = Vec::new();
        let (queue, moved, caught_up) = (&mut self.queue, &mut self.moved, self.caught_up);
        let received = async {
            tokio::select! {
                biased;
                received = queue.recv_many(&mut heard, most) => Some(received),
                Ok(()) = moved.changed(), if !caught_up => None,
            }
        };
        if tokio::time::timeout_at(by, received).await == Ok(Some(0)) {
            return Err(self.ended.get().copied().unwrap_or(Ended::Failed));
        }
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
        if !self.caught_up {
            let told = self.heard();
            self.caught_up = self.had.positions().all(|had| told.offset(had.partition) >= Some(had.offset));
        }
        self.caught_up
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

    fn needs_nothing_before(&self) -> Token {
        let topic = self.topic;
        let position = |(index, place): (u16, &Offset)| {
            let offset = place.checked_sub(1)?;
            Some(Position { partition: LogPartition { topic, index }, offset })
        };
        (0..).zip(&self.places).filter_map(position).collect()
    }
}

impl<I> Drop for Listener<I> {
    fn drop(&mut self) {
        lock(&self.hub).leave(self.account, self.number);
    }
}
