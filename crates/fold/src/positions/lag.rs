use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kith_log::{LogPartition, Offset};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::FoldError;

/// How far a group's folds are behind the log.
#[derive(Debug)]
pub struct Lag {
    /// Records in the log that are not in the tables, for the worst partition.
    worst_records: AtomicU64,
    /// Has permits once the tables have reached the heads of the first check. Never closed.
    caught_up: Semaphore,
    error: Mutex<Option<String>>,
    looked: Mutex<BTreeMap<LogPartition, Progress>>,
    filled: OnceLock<Fill>,
    /// Whether log or tables accept no more writes until a restart.
    broken: AtomicBool,
}

/// How tables that lacked many records came to have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    pub records: u64,
    pub took: Duration,
    /// When they had them.
    pub at: Instant,
}

/// One partition's fold at the last check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything below is in the tables.
    pub next: Offset,
    /// The offset of the log's next record.
    pub head: Offset,
    /// For how long the tables have been behind, ms.
    pub behind_ms: i64,
}

impl Default for Lag {
    fn default() -> Self {
        let caught_up = Semaphore::new(0);
        Self {
            worst_records: AtomicU64::default(),
            caught_up,
            error: Mutex::default(),
            looked: Mutex::default(),
            filled: OnceLock::new(),
            broken: false.into(),
        }
    }
}

impl Lag {
    /// The lag of the worst partition at the last check, in records.
    pub fn worst_records(&self) -> u64 {
        self.worst_records.load(Ordering::Relaxed)
    }

    /// The progress of every partition at the last successful check.
    pub fn partitions(&self) -> BTreeMap<LogPartition, Progress> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records in the tables, and records in the log, over all partitions at the last successful check.
    pub fn records(&self) -> (u64, u64) {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.values().fold((0, 0), |(folded, total), progress| (folded + progress.next, total + progress.head))
    }

    /// Whether the tables have ever reached the heads as they were when this process started, stopped partitions aside.
    /// Before that, a read without a token would be stale.
    pub fn has_caught_up(&self) -> bool {
        self.caught_up.available_permits() > 0
    }

    /// Waits for that.
    pub async fn caught_up(&self) {
        // A permit that is given back at once.
        let _ = self.caught_up.acquire().await;
    }

    /// How the tables were filled since they were opened here, by all processes together, if they then lacked enough records for a
    /// measurement and the folds were not paused meanwhile.
    pub fn filled(&self) -> Option<Fill> {
        self.filled.get().copied()
    }

    /// Whether log or tables accept no more writes before a restart of the process: a write to an embedded store
    /// failed.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Why the last check failed: the log or the tables do not answer. `None` when it succeeded.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The result of a successful check. `worst_records`: of the worst partition that is not stopped.
    pub(crate) fn saw(&self, looked: BTreeMap<LogPartition, Progress>, worst_records: u64) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
        self.worst_records.store(worst_records, Ordering::Relaxed);
    }

    /// The outcome of a check.
    pub(crate) fn ended(&self, error: Option<&FoldError>) {
        if error.is_some_and(FoldError::needs_restart) {
            self.broken.store(true, Ordering::Relaxed);
        }
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
    }

    /// The tables have reached the heads of the first check. `filled`: how, if it was measured.
    pub(crate) fn has_reached_first_heads(&self, filled: Option<Fill>) {
        // Once for a `Lag`.
        filled.map(|filled| self.filled.set(filled));
        self.caught_up.add_permits(Semaphore::MAX_PERMITS);
    }
}
