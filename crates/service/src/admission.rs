//! Admission of calls: up to a burst's size, and fewer during an overload.
//!
//! Places make a burst wait instead of refusing it. Once all are taken, the load is no burst: each further call only
//! makes the others wait longer. So for a while only some of the places are given. Then all are given again, whatever
//! was refused meanwhile: otherwise callers that retry at once could keep a server with free capacity refusing.
//!
//! Callers without a valid bearer token have a few separate places: otherwise unauthenticated callers could hold the
//! places of authenticated ones. Each source gets a fair share of its pool's ([`crate::share`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::arriving::Arrivals;
use crate::auth::Authentication;
use crate::limits::{
    ARRIVING_BYTES_ANONYMOUS, ARRIVING_BYTES_PER_PROCESS, OVERLOADED_FOR_MS, RPCS_IN_FLIGHT, RPCS_IN_FLIGHT_ANONYMOUS,
    RPCS_IN_FLIGHT_OVERLOADED,
};
use crate::share::{Shares, Taken};
use crate::source::Source;

/// The places of one process, over all connections.
pub(crate) struct Admission {
    known: Pool,
    anonymous: Pool,
    since: Instant,
    /// Until when only some places are given, milliseconds from `since`.
    overloaded_until: AtomicU64,
}

/// The places and budgets that callers of one kind share.
struct Pool {
    places: Arc<Shares>,
    arriving: Arrivals,
}

/// Whose places a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Callers with a valid bearer token, and services known by their connection.
    Known,
    Anonymous,
}

impl From<&Authentication> for Who {
    fn from(authentication: &Authentication) -> Self {
        // A client with an expired session must be able to make a new one, with the old token still attached.
        if authentication.is_known() { Self::Known } else { Self::Anonymous }
    }
}

impl Admission {
    pub fn new() -> Self {
        let pool =
            |places, arriving_bytes| Pool { places: Shares::of(places), arriving: Arrivals::up_to(arriving_bytes) };
        Self {
            known: pool(RPCS_IN_FLIGHT, ARRIVING_BYTES_PER_PROCESS),
            anonymous: pool(RPCS_IN_FLIGHT_ANONYMOUS, ARRIVING_BYTES_ANONYMOUS),
            since: Instant::now(),
            overloaded_until: AtomicU64::new(0),
        }
    }

    /// Whether a call would get a place now, if its source holds few.
    pub fn has_room(&self, who: Who) -> bool {
        self.pool(who).places.free() > self.left(who)
    }

    /// A place, held until it is dropped; `None`: too many calls already, of this source or of all.
    pub fn admit(&self, who: Who, source: &Source) -> Option<Taken> {
        self.pool(who).places.take_leaving(self.left(who), source, 1)
    }

    /// The incompletely arrived requests of such callers.
    pub fn arriving(&self, who: Who) -> &Arrivals {
        &self.pool(who).arriving
    }

    /// The number of calls that have a place, or will take one when their request has arrived.
    pub fn in_flight(&self) -> usize {
        let taken = |pool: &Pool| pool.places.used() + pool.arriving.requests();
        taken(&self.known) + taken(&self.anonymous)
    }

    /// The places that are not given at the moment.
    fn left(&self, who: Who) -> usize {
        if who == Who::Anonymous {
            return 0;
        }
        // Fits for half a billion years.
        let now = self.since.elapsed().as_millis() as u64;
        if self.known.places.free() == 0 {
            self.overloaded_until.store(now + OVERLOADED_FOR_MS, Ordering::Relaxed);
        }
        let is_overloaded = now < self.overloaded_until.load(Ordering::Relaxed);
        if is_overloaded { RPCS_IN_FLIGHT - RPCS_IN_FLIGHT_OVERLOADED } else { 0 }
    }

    fn pool(&self, who: Who) -> &Pool {
        match who {
            Who::Known => &self.known,
            Who::Anonymous => &self.anonymous,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// By callers of whom each takes one.
    fn take(admission: &Admission, who: Who) -> Vec<Taken> {
        let sources = (0_u32..).map(|n| Source::of_address(std::net::Ipv4Addr::from_bits(n).into()));
        sources.map_while(|source| admission.admit(who, &source)).collect()
    }

    fn one_more(admission: &Admission) -> Option<Taken> {
        admission.admit(Who::Known, &Source::of_address(std::net::Ipv4Addr::BROADCAST.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_takes_all_places_and_an_overload_only_some() {
        let admission = Admission::new();
        let mut held = take(&admission, Who::Known);
        assert_eq!(held.len(), RPCS_IN_FLIGHT);
        held.truncate(RPCS_IN_FLIGHT_OVERLOADED);
        assert!(one_more(&admission).is_none(), "the overload is not over");
        held.pop();
        assert!(one_more(&admission).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_ask_again_and_again_do_not_keep_it_overloaded() {
        let admission = Admission::new();
        let mut held = take(&admission, Who::Known);
        held.truncate(RPCS_IN_FLIGHT_OVERLOADED);
        for _ in 1..OVERLOADED_FOR_MS {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(one_more(&admission).is_none());
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        let sources = (1_000_u32..).map(|n| Source::of_address(std::net::Ipv4Addr::from_bits(n).into()));
        let more: Vec<_> = sources.map_while(|source| admission.admit(Who::Known, &source)).collect();
        assert_eq!(more.len(), RPCS_IN_FLIGHT - RPCS_IN_FLIGHT_OVERLOADED);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_known_takes_no_place_of_those_who_are() {
        let admission = Admission::new();
        let held = take(&admission, Who::Anonymous);
        assert_eq!(held.len(), RPCS_IN_FLIGHT_ANONYMOUS);
        assert_eq!(take(&admission, Who::Known).len(), RPCS_IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_is_no_overload() {
        let admission = Admission::new();
        let greedy = Source::of_address([192, 0, 2, 1].into());
        let held: Vec<_> = std::iter::from_fn(|| admission.admit(Who::Known, &greedy)).collect();
        assert_eq!(held.len(), RPCS_IN_FLIGHT / 2);
        assert_eq!(take(&admission, Who::Known).len(), RPCS_IN_FLIGHT / 2, "each of the others finds a place");
    }
}
