//! A fixed share of the simulation's seeds. `make simulate` runs ten thousand; docs/simulation.md says what it is.

use std::sync::Arc;

use kith_tests::simulation::{Keys, Mode, Plan, Planted, Sweep, caught, one, run, sweep};

const SAFETY_SEEDS: u64 = 40;
const LIVENESS_SEEDS: u64 = 20;
/// Within so many seeds each planted defect is caught.
const PLANTED_SEEDS: u64 = 120;

fn keys() -> Arc<Keys> {
    Arc::new(Keys::make().unwrap())
}

fn holds(mode: Mode, seeds: u64) {
    let asked = Sweep { from: 1, seeds, jobs: 2, mode: Some(mode), ..Sweep::default() };
    let total = sweep(&asked, &keys(), |line| eprintln!("{line}"));
    assert!(total.failures.is_empty(), "{total}");
    assert!(total.acknowledged as u64 > seeds * 20, "{total}");
    assert!(total.faults.len() > 12, "few kinds of faults were met:\n{total}");
}

#[test]
fn nothing_wrong_is_answered_under_faults() {
    holds(Mode::Safety, SAFETY_SEEDS);
}

#[test]
fn every_fold_catches_up_when_faults_end() {
    holds(Mode::Liveness, LIVENESS_SEEDS);
}

#[test]
fn one_seed_is_one_history() {
    let keys = keys();
    let log = |seed| run(Plan::of(seed, Mode::Safety), None, &keys).unwrap().log;
    // Of all kinds: with three replicas, with one, with tables that forget.
    for seed in 1..=6 {
        assert_eq!(log(seed), log(seed), "seed {seed}");
    }
    assert_ne!(log(1), log(2));
}

#[test]
fn every_planted_defect_is_caught() {
    let (keys, asked) = (keys(), Sweep { seeds: PLANTED_SEEDS, ..Sweep::default() });
    let missed = |half: usize| -> Vec<String> {
        let some = Planted::ALL.iter().enumerate().filter(|(n, _)| n % 2 == half).map(|(_, planted)| *planted);
        let all = some.map(|planted| caught(planted, &asked, &keys));
        all.filter(|caught| !caught.is_caught()).map(|caught| caught.to_string()).collect()
    };
    let missed = std::thread::scope(|scope| {
        let other = scope.spawn(|| missed(1));
        let mut all = missed(0);
        all.extend(other.join().unwrap());
        all
    });
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn what_is_caught_is_the_defect() {
    let keys = keys();
    // Under the plan that provokes it, and without it, nothing is found.
    let of_the_servers = [Planted::OneReplica, Planted::RowWiseRepair];
    for planted in Planted::ALL.iter().filter(|planted| !of_the_servers.contains(planted)) {
        let asked = Sweep { seeds: 2, jobs: 2, control: Some(*planted), ..Sweep::default() };
        let total = sweep(&asked, &keys, |line| eprintln!("{line}"));
        assert!(total.failures.is_empty(), "{planted}: {total}");
    }
    let quiet = one(8, Mode::Liveness, None, &keys);
    assert!(quiet.findings.is_empty() && !quiet.log.is_empty());
}
