//! The time of day as a process goes by, and times that only rise.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Microseconds since 1970-01-01T00:00:00Z, as events and tables carry time.
pub type UnixMicros = i64;

/// How far ahead of the log's clock a record may be dated: a fold takes a later time for this one.
pub const CLOCK_AHEAD_MAX_US: UnixMicros = 60 * 1_000_000;

/// How far a time that was seen elsewhere may be ahead of the clock here, and still move the times given out here: so far
/// behind others a clock may be.
pub(crate) const CLOCK_BEHIND_MAX_US: UnixMicros = 10 * 60 * 1_000_000;

/// A step of the machine's clock is followed by one part in so many of the time that goes by.
const SLEW: i64 = 10;

/// A hybrid logical clock (Kulkarni et al., "Logical physical clocks", OPODIS 2014) with one number: each time given out
/// is later than all given out before and than all that were observed, and near the time of day.
#[derive(Debug, Default)]
pub(crate) struct Rising {
    last: AtomicI64,
}

impl Rising {
    /// A time at `now` or later, later than any before it.
    pub fn tick(&self, now: UnixMicros) -> UnixMicros {
        let next = |last: i64| Some(now.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        now.max(last.unwrap_or_else(|last| last).saturating_add(1))
    }

    /// Later times are later than `seen`, or than what the bound leaves of it.
    pub fn observe(&self, seen: UnixMicros, now: UnixMicros) {
        if seen > self.last.load(Ordering::Acquire) {
            self.last.fetch_max(seen.min(now.saturating_add(CLOCK_BEHIND_MAX_US)), Ordering::AcqRel);
        }
    }

    /// The latest time given out or observed.
    pub fn last(&self) -> UnixMicros {
        self.last.load(Ordering::Acquire)
    }
}

/// The log's clock, as far as its records tell: it was there when they were written, and goes on as the machine's uptime.
#[derive(Debug)]
pub(crate) struct LogClock {
    ahead_of_uptime: AtomicI64,
}

impl Default for LogClock {
    fn default() -> Self {
        Self { ahead_of_uptime: AtomicI64::new(i64::MIN) }
    }
}

impl LogClock {
    /// A record was written at `logged`, and has been read by now. The last one counts, also if it is of an earlier time:
    /// the log's clock may have been mended.
    pub fn read(&self, logged: UnixMicros, uptime: i64) {
        self.ahead_of_uptime.store(logged.saturating_sub(uptime), Ordering::Relaxed);
    }

    /// What it says by now, or less; before the first record nothing.
    pub fn at_least(&self, uptime: i64) -> Option<UnixMicros> {
        let ahead = self.ahead_of_uptime.load(Ordering::Relaxed);
        (ahead > i64::MIN).then(|| ahead.saturating_add(uptime))
    }
}

/// The machine's time of day without its steps: a clock that is set ahead or back while the process runs is followed
/// slowly, so that what happens meanwhile keeps its order and is dated sanely. Time spent suspended counts.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    read: Mutex<Option<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: UnixMicros,
    /// Microseconds since the machine started, suspended ones too.
    uptime: i64,
}

impl Steady {
    /// The time of day, from what the machine's two clocks say now.
    pub fn read(&self, wall: UnixMicros, uptime: i64) -> UnixMicros {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *read {
            None => Reading { wall, uptime },
            // Two threads may come here in another order than they read the clocks.
            Some(last) if uptime <= last.uptime => return last.wall,
            Some(last) => last.after(wall, uptime),
        };
        *read = Some(next);
        next.wall
    }
}

impl Reading {
    fn after(self, wall: UnixMicros, uptime: i64) -> Self {
        let elapsed = uptime - self.uptime;
        let expected = self.wall.saturating_add(elapsed);
        let most = elapsed / SLEW;
        Self { wall: expected.saturating_add(wall.saturating_sub(expected).clamp(-most, most)), uptime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_whatever_the_clock_does() {
        let rising = Rising::default();
        let times: Vec<_> = [5, 5, 3, 9, 9].map(|now| rising.tick(now)).to_vec();
        assert_eq!(times, [5, 6, 7, 9, 10]);
        rising.observe(40, 10);
        assert_eq!((rising.last(), rising.tick(11)), (40, 41));
    }

    #[test]
    fn a_time_too_far_ahead_moves_the_clock_no_further_than_the_bound() {
        let rising = Rising::default();
        rising.observe(i64::MAX, 100);
        assert_eq!(rising.tick(100), 100 + CLOCK_BEHIND_MAX_US + 1);
    }

    #[test]
    fn the_clock_of_the_log_goes_on_from_its_latest_record() {
        let log = LogClock::default();
        assert_eq!(log.at_least(5), None);
        log.read(1_000, 10);
        assert_eq!(log.at_least(30), Some(1_020));
        log.read(900, 40);
        assert_eq!(log.at_least(50), Some(910), "it was set back");
    }

    #[test]
    fn a_step_of_the_clock_is_followed_slowly() {
        let steady = Steady::default();
        assert_eq!(steady.read(1_000_000, 0), 1_000_000);
        assert_eq!(steady.read(1_000_100, 100), 1_000_100);
        // Set ahead by years, then back: the day hardly moves.
        assert_eq!(steady.read(i64::MAX, 200), 1_000_210);
        assert_eq!(steady.read(0, 300), 1_000_300);
        assert_eq!(steady.read(1_000_400, 400), 1_000_400);
        assert_eq!(steady.read(1_000_500, 390), 1_000_400, "an older reading is not gone back to");
    }
}
