//! Fair shares: the dynamic threshold of shared buffers (Choudhury and Hahne, 1998). A source may take one more while what it
//! holds is less than what is free, times its weight. So one source gets at most half, and two get a third each. Very many sources
//! together may take all there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::Source;

/// Units (places, bytes, connections) that sources share. The map has only sources that hold some, so no more than there are
/// units.
pub struct Shares {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    held: HashMap<Source, usize>,
}

/// What a source holds, until it is dropped.
pub struct Taken {
    shares: Arc<Shares>,
    source: Source,
    units: usize,
}

impl Shares {
    pub fn of(total: usize) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default() })
    }

    /// `None`: the source has its share.
    pub fn take(self: &Arc<Self>, source: &Source, units: usize) -> Option<Taken> {
        self.take_leaving(0, source, units)
    }

    /// The same as if there were so many units less.
    pub fn take_leaving(self: &Arc<Self>, left: usize, source: &Source, units: usize) -> Option<Taken> {
        let mut taken = self.nothing(source);
        taken.add(left, units).then_some(taken)
    }

    /// The same, whatever others hold.
    pub fn take_anyway(self: &Arc<Self>, source: &Source, units: usize) -> Taken {
        let mut taken = self.nothing(source);
        self.state().add(source, units);
        taken.units = units;
        taken
    }

    /// What a source holds that has taken nothing yet: [`Taken::more`] adds to it.
    pub fn nothing(self: &Arc<Self>, source: &Source) -> Taken {
        Taken { shares: Arc::clone(self), source: source.clone(), units: 0 }
    }

    pub fn free(&self) -> usize {
        self.total.saturating_sub(self.used())
    }

    pub fn used(&self) -> usize {
        self.state().used
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes more; false: the source has its share, and holds what it held.
    pub fn more(&mut self, units: usize) -> bool {
        self.add(0, units)
    }

    fn add(&mut self, left: usize, units: usize) -> bool {
        let mut state = self.shares.state();
        let free = self.shares.total.saturating_sub(state.used).saturating_sub(left);
        let may = state.may(&self.source, units, free);
        if may {
            state.add(&self.source, units);
            self.units += units;
        }
        may
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.units > 0 {
            self.shares.state().remove(&self.source, self.units);
        }
    }
}

impl State {
    /// A service shares among all; those below it share what it may still have.
    fn may(&self, source: &Source, units: usize, free: usize) -> bool {
        let mut free = free;
        source.levels().all(|level| {
            let (held, weight) = (self.held.get(&level).copied().unwrap_or(0), level.weight());
            let fits = fits(held, units, free, weight);
            free = free.min((weight * free).saturating_sub(held));
            fits
        })
    }

    fn add(&mut self, source: &Source, units: usize) {
        if units == 0 {
            return;
        }
        self.used += units;
        for level in source.levels() {
            *self.held.entry(level).or_default() += units;
        }
    }

    fn remove(&mut self, source: &Source, units: usize) {
        self.used -= units;
        for level in source.levels() {
            let left = self.held.get(&level).map_or(0, |held| held - units);
            match left {
                0 => self.held.remove(&level),
                left => self.held.insert(level, left),
            };
        }
    }
}

/// Whether each of `units`, taken one by one, finds the source with less than `weight` times what is free.
fn fits(held: usize, units: usize, free: usize, weight: usize) -> bool {
    units <= free && held + units <= weight.saturating_mul(free - units + 1)
}

#[cfg(test)]
mod tests {
    use kith_log::RecordId;

    use super::*;
    use crate::limits::SHARE_OF_SERVICES;

    fn account(n: u8) -> Source {
        Source::Account { service: None, id: RecordId([n; 16]) }
    }

    fn through(service: &str, n: u8) -> Source {
        Source::Account { service: Some(service.into()), id: RecordId([n; 16]) }
    }

    /// What each holds when all take in turn until nobody may.
    fn all_take(shares: &Arc<Shares>, sources: &[Source]) -> Vec<Vec<Taken>> {
        let mut held: Vec<Vec<Taken>> = sources.iter().map(|_| Vec::new()).collect();
        loop {
            let before: usize = held.iter().map(Vec::len).sum();
            for (source, held) in sources.iter().zip(&mut held) {
                held.extend(shares.take(source, 1));
            }
            if held.iter().map(Vec::len).sum::<usize>() == before {
                return held;
            }
        }
    }

    fn counts(held: &[Vec<Taken>]) -> Vec<usize> {
        held.iter().map(Vec::len).collect()
    }

    #[test]
    fn one_gets_half_and_two_a_third_each() {
        let shares = Shares::of(60);
        assert_eq!(counts(&all_take(&shares, &[account(1)])), [30]);
        assert_eq!(counts(&all_take(&shares, &[account(1), account(2)])), [20, 20]);
        assert_eq!(counts(&all_take(&shares, &[1, 2, 3, 4, 5].map(account))), [10; 5]);
        assert_eq!((shares.used(), shares.state().held.len()), (0, 0), "nobody is remembered who holds nothing");
    }

    #[test]
    fn whoever_holds_nothing_finds_something_free() {
        let shares = Shares::of(60);
        let greedy = all_take(&shares, &[1, 2, 3].map(account));
        let late = all_take(&shares, &[account(4)]);
        assert_eq!((counts(&greedy), counts(&late)), (vec![15; 3], vec![8]));
        drop(greedy);
        assert_eq!(counts(&all_take(&shares, &[account(4)])), [22], "the eight among thirty");
        assert_eq!(shares.free(), 52);
    }

    #[test]
    fn many_take_all_there_is() {
        let shares = Shares::of(60);
        let sources: Vec<_> = (0..60).map(account).collect();
        assert_eq!(counts(&all_take(&shares, &sources)), vec![1; 60]);
        let held = all_take(&shares, &sources);
        assert!(shares.free() == 0 && shares.take(&account(99), 1).is_none());
        drop(held);
    }

    #[test]
    fn a_service_gets_more_and_its_accounts_share_that() {
        let shares = Shares::of(600);
        let service = Source::Service("web".into());
        assert_eq!(
            counts(&all_take(&shares, std::slice::from_ref(&service))),
            [600 * SHARE_OF_SERVICES / (SHARE_OF_SERVICES + 1)]
        );
        assert_eq!(counts(&all_take(&shares, &[through("web", 1)])), [300]);
        let held = all_take(&shares, &[through("web", 1), through("web", 2), account(3)]);
        assert_eq!(counts(&held), [150; 3]);
        let accounts: Vec<_> = (0..200).map(|n| through("web", n)).collect();
        drop(held);
        let held = all_take(&shares, &accounts);
        let all: usize = counts(&held).iter().sum();
        assert!(all <= 480 && all > 400, "{all}");
        assert!(shares.take(&account(3), 1).is_some(), "who calls otherwise finds something free");
    }

    #[test]
    fn many_units_are_taken_as_if_one_by_one() {
        for (held, units, free, weight) in
            (0..6).flat_map(|h| (1..6).flat_map(move |u| (0..9).map(move |f| (h, u, f, 1 + u % 2))))
        {
            let one_by_one = (0..units).all(|n| free >= n && held + n < weight * (free - n));
            assert_eq!(fits(held, units, free, weight), one_by_one, "{held} {units} {free} {weight}");
        }
        let shares = Shares::of(100);
        let mut taken = shares.nothing(&account(1));
        assert!(taken.more(40) && !taken.more(20) && taken.more(10));
        assert_eq!(shares.used(), 50);
    }

    #[test]
    fn some_are_taken_anyway_and_come_back_too() {
        let shares = Shares::of(10);
        let over = shares.take_anyway(&account(1), 15);
        assert!(shares.free() == 0 && shares.take(&account(2), 1).is_none());
        drop(over);
        assert!(shares.take_leaving(9, &account(2), 1).is_some() && shares.take_leaving(10, &account(2), 1).is_none());
        assert_eq!(shares.free(), 10);
    }
}
