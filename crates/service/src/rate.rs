//! Rates: so many points an hour, and a burst of them at once (the generic cell rate algorithm, as a bucket that fills steadily).
//! A bucket is one number, the time at which it is full again; one that is full need not be remembered.

mod limits;

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_runtime::{Runtime, UnixMicros};
use lru::LruCache;

pub use limits::{RateLimits, Rates, Refused};

use crate::limits::RATE_SOURCES;
use crate::source::Source;

const HOUR_US: i64 = 3_600_000_000;
/// Buckets that are looked at for each that is added, to forget those that are full.
const FORGOTTEN_AT_ONCE: usize = 2;

/// How much a source may ask for. [`Self::UNLIMITED`]: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub points_per_hour: u64,
    pub burst: u64,
}

impl Rate {
    pub const UNLIMITED: Self = Self { points_per_hour: u64::MAX, burst: u64::MAX };

    /// Of one of so many replicas.
    #[must_use]
    pub fn shared_by(self, replicas: u64) -> Self {
        if self == Self::UNLIMITED {
            return self;
        }
        let part = |whole: u64| whole.div_ceil(replicas.max(1));
        Self { points_per_hour: part(self.points_per_hour), burst: part(self.burst) }
    }

    /// When a bucket that is full at `full_at` is full again after `points` were taken at `now`; or how long it has too few.
    /// More than it ever holds is given while it is full.
    fn take(self, full_at: UnixMicros, now: UnixMicros, points: u64) -> Result<UnixMicros, Duration> {
        // A clock that was set back leaves no bucket empty for longer than it takes to fill.
        let lacks = full_at.saturating_sub(now).clamp(0, self.fills_in(self.burst));
        let after = lacks.saturating_add(self.fills_in(points));
        let over = after.saturating_sub(self.fills_in(self.burst.max(points)));
        if over > 0 { Err(Duration::from_micros(over.unsigned_abs())) } else { Ok(now.saturating_add(after)) }
    }

    /// Microseconds.
    fn fills_in(self, points: u64) -> i64 {
        let all = i128::from(points) * i128::from(HOUR_US) / i128::from(self.points_per_hour.max(1));
        i64::try_from(all).unwrap_or(i64::MAX / 4)
    }
}

/// Buckets of one kind of sources. Keeps at most [`RATE_SOURCES`]; with more, forgets those that were asked least lately.
pub struct Buckets {
    runtime: Runtime,
    rate: Rate,
    full_at: Mutex<LruCache<Source, UnixMicros>>,
}

impl Buckets {
    pub fn new(runtime: Runtime, rate: Rate) -> Self {
        // `new` would allocate all its memory at once.
        let mut full_at = LruCache::unbounded();
        full_at.resize(NonZeroUsize::MIN.saturating_add(RATE_SOURCES - 1));
        Self { runtime, rate, full_at: Mutex::new(full_at) }
    }

    /// Takes `points` from the source's bucket, or tells how long it has too few.
    pub fn take(&self, source: &Source, points: u64) -> Result<(), Duration> {
        if points == 0 || self.rate == Rate::UNLIMITED {
            return Ok(());
        }
        let now = self.runtime.now_ms().saturating_mul(1_000);
        let mut buckets = self.buckets();
        for _ in 0..FORGOTTEN_AT_ONCE {
            if buckets.peek_lru().is_some_and(|(_, full_at)| *full_at <= now) {
                buckets.pop_lru();
            }
        }
        let full_at = buckets.get(source).copied().unwrap_or(now);
        let full_at = self.rate.take(full_at, now, points)?;
        buckets.put(source.clone(), full_at);
        Ok(())
    }

    /// Gives back what was taken without need.
    pub fn give_back(&self, source: &Source, points: u64) {
        if let Some(full_at) = self.buckets().get_mut(source) {
            *full_at = full_at.saturating_sub(self.rate.fills_in(points));
        }
    }

    fn buckets(&self) -> MutexGuard<'_, LruCache<Source, UnixMicros>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    /// One point a second, ten at once.
    const RATE: Rate = Rate { points_per_hour: 3_600, burst: 10 };

    fn source(n: u32) -> Source {
        Source::of_address(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut full_at = 0;
        for _ in 0..10 {
            full_at = RATE.take(full_at, 0, 1).unwrap();
        }
        assert_eq!(RATE.take(full_at, 0, 1), Err(Duration::from_secs(1)));
        assert_eq!(RATE.take(full_at, 0, 3), Err(Duration::from_secs(3)));
        assert_eq!(RATE.take(full_at, SECOND_US / 2, 1), Err(Duration::from_millis(500)));
        full_at = RATE.take(full_at, 3 * SECOND_US, 3).unwrap();
        assert!(RATE.take(full_at, 3 * SECOND_US, 1).is_err());
        assert!(RATE.take(full_at, 100 * SECOND_US, 10).is_ok(), "it is full, and no fuller");
        assert!(RATE.take(full_at, 100 * SECOND_US, 11).is_ok(), "more than it ever holds");
        assert_eq!(RATE.take(113 * SECOND_US, 100 * SECOND_US, 11), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_clock_that_goes_back_empties_no_bucket_for_long() {
        let full_at = RATE.take(0, 1_000_000 * SECOND_US, 1).unwrap();
        assert_eq!(RATE.take(full_at, 0, 1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn replicas_have_a_part_each() {
        assert_eq!(RATE.shared_by(4), Rate { points_per_hour: 900, burst: 3 });
        assert_eq!(RATE.shared_by(1), RATE);
        assert_eq!(Rate::UNLIMITED.shared_by(4), Rate::UNLIMITED);
        assert_eq!(Rate { points_per_hour: 1, burst: 1 }.shared_by(1_000), Rate { points_per_hour: 1, burst: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn each_source_has_its_own_and_full_ones_are_forgotten() {
        let buckets = Buckets::new(Runtime::simulated(1, 1_700_000_000_000), RATE);
        for n in 0..100 {
            assert!(buckets.take(&source(n), 10).is_ok());
        }
        assert_eq!(buckets.take(&source(0), 1), Err(Duration::from_secs(1)));
        assert_eq!(buckets.buckets().len(), 100);
        tokio::time::advance(Duration::from_secs(10)).await;
        for n in 200..260 {
            assert!(buckets.take(&source(n), 1).is_ok());
        }
        assert_eq!(buckets.buckets().len(), 60, "two are forgotten for each that comes");
        assert!(buckets.take(&source(200), 9).is_ok() && buckets.take(&source(200), 1).is_err());
        buckets.give_back(&source(200), 1);
        assert!(buckets.take(&source(200), 1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_there_is_room_for() {
        let buckets = Buckets::new(Runtime::simulated(1, 0), RATE);
        for n in 0..u32::try_from(RATE_SOURCES).unwrap() + 10 {
            buckets.take(&source(n), 1).unwrap();
        }
        assert_eq!(buckets.buckets().len(), RATE_SOURCES);
    }
}
