use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kith_log::LogPartition;

/// Why the tables of a group may lack more of the log than running folds lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standstill {
    /// An operator paused the folds. Reported from the moment at which this process learns of it, whether or not the
    /// tables are complete: the log may grow at any time, and its heads are read only every 500 ms.
    Paused,
    /// The fold of this partition cannot continue without help: the first such partition.
    Stopped { partition: LogPartition, reason: String },
    /// The folds continued after a pause or stop, and have not yet reached the heads of that moment.
    CatchingUp,
}

/// One process's knowledge of a group's standstills; shared by its writers and the tables' readers.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    paused: AtomicBool,
    /// The number of observed standstills.
    stood_still: AtomicU64,
    /// The number of standstills that have been caught up since.
    made_good: AtomicU64,
}

impl Standing {
    pub fn pause(&self, paused: bool) {
        // Counted first: between the two, the standstill is reported twice, not never.
        if paused {
            self.count();
        }
        self.paused.store(paused, Ordering::Release);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// The folds stand still, or did a moment ago.
    pub fn count(&self) {
        self.stood_still.fetch_add(1, Ordering::AcqRel);
    }

    /// For [`Self::make_good`], by a check that begins now.
    pub fn so_far(&self) -> u64 {
        self.stood_still.load(Ordering::Acquire)
    }

    /// The tables have reached the log's heads as they were after this many standstills.
    pub fn make_good(&self, times: u64) {
        self.made_good.fetch_max(times, Ordering::AcqRel);
    }

    pub fn is_catching_up(&self) -> bool {
        self.made_good.load(Ordering::Acquire) < self.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lasts_until_what_came_during_it_is_made_good() {
        let standing = Standing::default();
        assert!(!standing.is_paused() && !standing.is_catching_up());
        standing.pause(true);
        standing.pause(false);
        assert!(!standing.is_paused() && standing.is_catching_up());
        standing.make_good(standing.so_far());
        assert!(!standing.is_catching_up());
    }

    #[test]
    fn a_look_that_began_before_a_pause_makes_it_not_good() {
        let standing = Standing::default();
        standing.pause(true);
        let before = standing.so_far();
        standing.pause(false);
        standing.pause(true);
        standing.pause(false);
        standing.make_good(before);
        assert!(standing.is_catching_up());
    }
}
