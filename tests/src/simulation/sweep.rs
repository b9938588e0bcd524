//! Many seeds, one after the other, on a few threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Finding, Keys, Mode, Plan, Planted, Report, run};
use crate::simulated::Fault;

/// Failures of a sweep that are kept, each with its command.
const FAILURES_KEPT: usize = 20;
const FINDINGS_SHOWN: usize = 4;
const PROGRESS_EVERY: u64 = 500;

/// Which seeds.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub from: u64,
    pub seeds: u64,
    pub jobs: usize,
    /// `None`: odd seeds in safety mode, even ones in liveness mode.
    pub mode: Option<Mode>,
    /// Under the plans that provoke a defect, without it: findings then have another cause.
    pub control: Option<Planted>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { from: 1, seeds: 100, jobs: 1, mode: None, control: None }
    }
}

impl Sweep {
    fn plan(&self, seed: u64, mode: Mode) -> Plan {
        let plan = Plan::of(seed, mode);
        match self.control {
            Some(planted) => planted.plan(plan),
            None => plan,
        }
    }
}

/// The results of all of them.
#[derive(Debug, Default)]
pub struct Total {
    pub seeds: u64,
    pub faults: BTreeMap<Fault, u64>,
    pub acknowledged: usize,
    pub reads: usize,
    pub unknown: usize,
    pub records: usize,
    /// Seed, mode and what was found.
    pub failures: Vec<(u64, Mode, Vec<Finding>)>,
    pub failed: u64,
}

/// The mode in which a seed is run unless another is asked for.
pub fn mode_of(seed: u64) -> Mode {
    if seed.is_multiple_of(2) { Mode::Liveness } else { Mode::Safety }
}

/// The command that runs one seed again.
pub fn command(seed: u64, mode: Mode, planted: Option<Planted>) -> String {
    let planted = planted.map(|planted| format!(" --planted {planted}")).unwrap_or_default();
    format!("cargo run --release --bin simulate -- --from {seed} --seeds 1 --mode {mode}{planted}")
}

/// One seed, also when it panics.
pub fn one(seed: u64, mode: Mode, planted: Option<Planted>, keys: &Arc<Keys>) -> Report {
    ran(Plan::of(seed, mode), planted, keys)
}

fn ran(plan: Plan, planted: Option<Planted>, keys: &Arc<Keys>) -> Report {
    let ran = catch_unwind(AssertUnwindSafe(|| run(plan, planted, keys)));
    let failed = |what: String| Report { findings: vec![Finding::new("runs", what)], ..Report::default() };
    match ran {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => failed(format!("{error:#}")),
        Err(panic) => failed(format!("panicked: {:?}", panic.downcast_ref::<String>())),
    }
}

/// Runs them all; tells of progress and of each failure.
pub fn sweep(asked: &Sweep, keys: &Arc<Keys>, tell: impl Fn(String) + Sync) -> Total {
    let (next, total) = (AtomicU64::new(asked.from), Mutex::new(Total::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= asked.from + asked.seeds {
                return;
            }
            let mode = asked.mode.unwrap_or_else(|| mode_of(seed));
            let report = ran(asked.plan(seed, mode), None, keys);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            if !report.findings.is_empty() {
                tell(failure(seed, mode, &report.findings));
            }
            total.add(seed, mode, report);
            if total.seeds.is_multiple_of(PROGRESS_EVERY) {
                tell(format!("{} seeds, {} failed", total.seeds, total.failed));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs.max(1) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn failure(seed: u64, mode: Mode, findings: &[Finding]) -> String {
    let shown = findings.iter().take(FINDINGS_SHOWN).map(|found| format!("  {}: {}\n", found.check, found.what));
    let more = findings.len().saturating_sub(FINDINGS_SHOWN);
    let shown: String = shown.collect();
    let (plan, again) = (Plan::of(seed, mode), command(seed, mode, None));
    format!("seed {seed} ({mode}) failed:\n{shown}  and {more} more, under {plan:?}\n  again: {again}")
}

impl Total {
    fn add(&mut self, seed: u64, mode: Mode, report: Report) {
        self.seeds += 1;
        for (fault, times) in report.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        self.acknowledged += report.acknowledged;
        self.reads += report.reads;
        self.unknown += report.unknown;
        self.records += report.log.len();
        if !report.findings.is_empty() {
            self.failed += 1;
            if self.failures.len() < FAILURES_KEPT {
                self.failures.push((seed, mode, report.findings));
            }
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | how many |\n|---|---|")?;
        writeln!(f, "| seeds run | {} |", self.seeds)?;
        writeln!(f, "| records in their logs | {} |", self.records)?;
        writeln!(f, "| commands answered OK and checked | {} |", self.acknowledged)?;
        writeln!(f, "| reads answered and checked | {} |", self.reads)?;
        writeln!(f, "| outcomes never known | {} |", self.unknown)?;
        for (fault, times) in &self.faults {
            writeln!(f, "| fault: {} | {times} |", fault.name())?;
        }
        writeln!(f, "| seeds failed | {} |", self.failed)?;
        for (seed, mode, findings) in &self.failures {
            let first = findings.first().map(|found| format!("{}: {}", found.check, found.what));
            writeln!(f, "| failed: {seed} | {} `{}` |", first.unwrap_or_default(), command(*seed, *mode, None))?;
        }
        Ok(())
    }
}

/// Whether a planted defect was caught, by what, and at which seed.
#[derive(Debug)]
pub struct Caught {
    planted: Planted,
    /// Seed, mode, and which checks failed there.
    by: Option<(u64, Mode, BTreeSet<&'static str>)>,
    pub findings: Vec<Finding>,
    seeds: u64,
}

impl Caught {
    pub fn is_caught(&self) -> bool {
        self.by.is_some()
    }
}

/// Runs seeds with the defect until one fails.
pub fn caught(planted: Planted, asked: &Sweep, keys: &Arc<Keys>) -> Caught {
    for seed in asked.from..asked.from + asked.seeds {
        let mode = asked.mode.unwrap_or_else(|| mode_of(seed));
        let findings = one(seed, mode, Some(planted), keys).findings;
        let checks: BTreeSet<_> = findings.iter().map(|found| found.check).collect();
        if !checks.is_empty() {
            let seeds = seed + 1 - asked.from;
            return Caught { planted, by: Some((seed, mode, checks)), findings, seeds };
        }
    }
    Caught { planted, by: None, findings: Vec::new(), seeds: asked.seeds }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some((seed, mode, checks)) => {
                let checks = Vec::from_iter(checks.iter().copied()).join(", ");
                write!(f, "| {} | yes | {checks} | {seed} ({mode}) | {} |", self.planted, self.seeds)
            }
            None => write!(f, "| {} | no | | | {} |", self.planted, self.seeds),
        }
    }
}
