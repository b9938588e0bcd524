//! Which calls are let in: as many as a burst may bring, and fewer while there are more than can be answered.
//!
//! Places make a burst wait instead of refusing it. Once they are all taken, what waits is no burst: each call that is let
//! in makes the others wait longer, and none is answered sooner. So for a while only some of the places are given. Then
//! it is all of them again, whatever was refused meanwhile: callers that ask again at once could otherwise keep a server
//! that has room for them in a state that only refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{OVERLOADED_FOR_MS, RPCS_IN_FLIGHT, RPCS_IN_FLIGHT_OVERLOADED};

/// The places of one process, over all connections.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    since: Instant,
    /// Until when only some places are given, milliseconds from `since`.
    overloaded_until: AtomicU64,
}

impl Admission {
    pub fn new() -> Self {
        let places = Arc::new(Semaphore::new(RPCS_IN_FLIGHT));
        Self { places, since: Instant::now(), overloaded_until: AtomicU64::new(0) }
    }

    /// A place, held until it is dropped; `None`: there are too many calls already.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        // Fits for half a billion years.
        let now = self.since.elapsed().as_millis() as u64;
        let is_overloaded = now < self.overloaded_until.load(Ordering::Relaxed);
        if is_overloaded && self.in_flight() >= RPCS_IN_FLIGHT_OVERLOADED {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.overloaded_until.store(now + OVERLOADED_FOR_MS, Ordering::Relaxed);
        }
        place
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> usize {
        RPCS_IN_FLIGHT - self.places.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take(admission: &Admission) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| admission.admit()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_takes_all_places_and_an_overload_only_some() {
        let admission = Admission::new();
        let mut held = take(&admission);
        assert_eq!(held.len(), RPCS_IN_FLIGHT);
        held.truncate(RPCS_IN_FLIGHT_OVERLOADED);
        assert!(admission.admit().is_none(), "the overload is not over");
        held.pop();
        assert!(admission.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_ask_again_and_again_do_not_keep_it_overloaded() {
        let admission = Admission::new();
        let mut held = take(&admission);
        held.truncate(RPCS_IN_FLIGHT_OVERLOADED);
        for _ in 1..OVERLOADED_FOR_MS {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(admission.admit().is_none());
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(take(&admission).len(), RPCS_IN_FLIGHT - RPCS_IN_FLIGHT_OVERLOADED);
    }
}
