//! The current role of the workers of one generation of tables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_log::{LogError, LogPartition, Offset};
use kith_runtime::Runtime;
use kith_tables::StoreError;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::{Pace, Ports};
use crate::positions::Standing;
use crate::{FoldError, Lag, Watermarks};

/// Micro-batches that a generation beside the live one folds at a time, in one process.
const BESIDE_BATCHES_AT_ONCE: usize = 1;
/// Between two checks whether they have caught up.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// After this many checks a batch is folded anyway: a rebuild under lasting load is slow, but ends.
const LOOKS_PER_BATCH: u32 = 100;
/// How often a fold that waits for its turn reports that it is not stalled.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// One for a generation in a process.
pub(crate) struct Role {
    runtime: Runtime,
    pace: Pace,
    /// Whether this generation serves: then its folds append, and wait for no other generation.
    live: AtomicBool,
    /// Whether it will serve as soon as it has caught up: then it does not wait either.
    wanted: AtomicBool,
    standing: Arc<Standing>,
    changed: Notify,
    beside: Mutex<Beside>,
    turns: Semaphore,
}

/// State for a generation that is not live, or has just become live.
#[derive(Default)]
struct Beside {
    /// The lag of the live one.
    live_lag: Option<Arc<Lag>>,
    /// The generations that served before: their appends need no second search.
    served_before: Vec<Arc<Watermarks>>,
}

/// A worker's permit to fold one batch.
pub(crate) struct Turn<'a>(#[allow(dead_code, reason = "held, not read")] Option<SemaphorePermit<'a>>);

impl Role {
    pub fn new(ports: &Ports, live: bool) -> Arc<Self> {
        Arc::new(Self {
            runtime: ports.runtime.clone(),
            pace: ports.pace,
            live: live.into(),
            wanted: false.into(),
            standing: Arc::default(),
            changed: Notify::new(),
            beside: Mutex::default(),
            turns: Semaphore::new(BESIDE_BATCHES_AT_ONCE),
        })
    }

    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// It is to serve as soon as it has caught up.
    pub fn hurry(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// The other generations that there are now.
    pub fn beside_others(&self, others: Vec<Arc<Watermarks>>) {
        self.beside().served_before = others;
    }

    /// From now on this generation serves.
    pub fn serve(&self) {
        self.live.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// From now on it is folded beside the live one, which has priority.
    pub fn stand_beside(&self, live_lag: Arc<Lag>) {
        self.beside().live_lag = Some(live_lag);
        self.wanted.store(false, Ordering::Release);
        self.live.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// From now on another release's generation appends; this one is folded on at full speed.
    pub fn stand_alone(&self) {
        self.live.store(false, Ordering::Release);
        self.hurry();
        self.changed.notify_waiters();
    }

    pub fn pause(&self, paused: bool) {
        self.standing.pause(paused);
        self.changed.notify_waiters();
    }

    pub fn is_paused(&self) -> bool {
        self.standing.is_paused()
    }

    /// Whether its folds stand still.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Waits until this generation serves.
    pub async fn served(&self) {
        self.until(|| self.is_live()).await;
    }

    /// Waits until the next batch may be folded. `waits` is called regularly: the fold waits, but is not stalled.
    pub async fn turn(&self, waits: impl Fn()) -> Result<Turn<'_>, FoldError> {
        let mut looks = 0;
        loop {
            if self.is_paused() {
                tokio::select! {
                    biased;
                    () = self.until(|| !self.is_paused()) => {}
                    () = self.runtime.sleep(SAY_EVERY) => waits(),
                }
            } else if self.is_live() || self.wanted.load(Ordering::Acquire) {
                return Ok(Turn(None));
            } else if self.live_is_behind() && looks < LOOKS_PER_BATCH {
                looks += 1;
                waits();
                self.runtime.sleep(LOOK_AGAIN_AFTER).await;
            } else {
                tokio::select! {
                    biased;
                    // Closed never.
                    turn = self.turns.acquire() => return Ok(Turn(Some(turn.map_err(|_| LogError::Closed)?))),
                    () = self.runtime.sleep(SAY_EVERY) => waits(),
                }
            }
        }
    }

    /// The first offset of the partition whose appends no earlier serving generation is known to have made.
    pub async fn appended_before(&self, partition: LogPartition) -> Result<Offset, FoldError> {
        let served_before = self.beside().served_before.clone();
        let mut next = 0;
        for watermarks in served_before {
            match watermarks.appended_next(partition).await {
                Ok(appended) => next = next.max(appended),
                // Its tables have been deleted: its appends must be searched for.
                Err(StoreError::Contract(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(next)
    }

    fn live_is_behind(&self) -> bool {
        let live_lag = self.beside().live_lag.clone();
        live_lag.is_some_and(|lag| lag.worst_records() > self.pace.live_lag_records)
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            // Made before the check, so that no later change is missed.
            let changed = self.changed.notified();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
