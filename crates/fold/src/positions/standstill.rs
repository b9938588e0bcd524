use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kith_log::LogPartition;

/// Why the tables of a group may lack more of the log than folds at work lag behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standstill {
    /// An operator paused the folds. Said from the moment at which this process knows of it, whether or not the tables have
    /// all that the log has: the log may grow at any time, and its heads are looked at every 500 ms only.
    Paused,
    /// The fold of this partition cannot go on until someone helps: the first such partition.
    Stopped { partition: LogPartition, reason: String },
    /// The folds go on after they were paused or stopped, and have not yet reached what the log had then.
    CatchingUp,
}

/// What one process knows of a group's standing still; shared by those who tell it, and the tables' readers.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    paused: AtomicBool,
    /// How often it was seen that folds stood still.
    stood_still: AtomicU64,
    /// As many of these times have been made good since.
    made_good: AtomicU64,
}

impl Standing {
    pub fn pause(&self, paused: bool) {
        // Counted first: between the two it is said twice, not never.
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

    /// To be handed to [`Self::make_good`] by a look that begins now.
    pub fn so_far(&self) -> u64 {
        self.stood_still.load(Ordering::Acquire)
    }

    /// The tables have what the log had after the folds had stood still so many times.
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
