//! When an issuer's keys are fetched again. Pure.

use std::time::Duration;

use crate::limits::{ISSUER_KEYS_EVERY_SECONDS, ISSUER_KEYS_SOONEST_SECONDS};

/// Between two fetches, whatever happens.
pub const SOONEST: Duration = Duration::from_secs(ISSUER_KEYS_SOONEST_SECONDS);
/// Between two fetches, if all is well; and the longest wait after failures.
const REGULAR: Duration = Duration::from_secs(ISSUER_KEYS_EVERY_SECONDS);

/// How fetches went lately.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
}

impl Pace {
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many failed in a row.
    pub fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Whether a token with an unknown key brings the next fetch forward. An issuer that fails is left alone.
    pub fn heeds_wishes(&self) -> bool {
        self.failures == 0
    }

    /// How long to wait once [`SOONEST`] is over: twice as long after each failure, at most as long as if all were well, and by up
    /// to a quarter longer, so that processes do not come together. `random` is any number.
    pub fn rest(&self, random: u64) -> Duration {
        let wait = match self.failures {
            0 => REGULAR,
            failures => SOONEST.saturating_mul(1 << (failures - 1).min(16)).min(REGULAR),
        };
        let jitter = (wait / 4).mul_f64(random as f64 / u64::MAX as f64);
        (wait + jitter).saturating_sub(SOONEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(pace: &Pace, random: u64) -> u64 {
        (SOONEST + pace.rest(random)).as_secs()
    }

    #[test]
    fn failures_wait_twice_as_long_each_and_no_longer_than_the_regular_time() {
        let mut pace = Pace::default();
        assert_eq!((seconds(&pace, 0), seconds(&pace, u64::MAX)), (300, 375));
        let waits: Vec<(u64, u64)> = (0..6)
            .map(|_| {
                pace.failed();
                (seconds(&pace, 0), seconds(&pace, u64::MAX))
            })
            .collect();
        assert_eq!(waits, [(30, 37), (60, 75), (120, 150), (240, 300), (300, 375), (300, 375)]);
        for _ in 0..100 {
            pace.failed();
        }
        assert_eq!(seconds(&pace, 0), 300);
        pace.succeeded();
        assert!(pace.heeds_wishes() && seconds(&pace, 0) == 300);
    }
}
