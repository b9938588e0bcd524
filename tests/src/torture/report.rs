//! The faults and their results, as one table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How often a fault occurred, and how often it was tried without success.
#[derive(Debug, Default)]
struct Tries {
    came: u64,
    missed: u64,
}

/// Counts over all rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind.
    faults: BTreeMap<String, Tries>,
    /// By the call of the process that failed first: how often.
    calls: BTreeMap<String, u64>,
    /// Operators' commands, by command and outcome.
    commands: BTreeMap<(&'static str, &'static str), u64>,
    /// Rounds that ended as they should.
    rounds: u64,
    /// Acknowledged commands that were looked for afterwards.
    acknowledged: u64,
    duplicates_injected: u64,
    poison_injected: u64,
    /// Of those, in rounds that came to their end.
    poison_looked_for: u64,
    poison_set_aside: u64,
    partitions_compared: u64,
    rows_compared: u64,
    recoveries_ms: Vec<u64>,
    /// What went wrong, with the seed.
    failures: Vec<String>,
}

impl Report {
    /// A fault that was there, as far as can be told.
    pub fn fault(&mut self, kind: impl Into<String>) {
        self.faults.entry(kind.into()).or_default().came += 1;
    }

    /// One that was tried, and did not come about.
    pub fn missed(&mut self, kind: impl Into<String>) {
        self.faults.entry(kind.into()).or_default().missed += 1;
    }

    /// A kind that is to be in the table even when it never comes.
    pub fn expect(&mut self, kind: impl Into<String>) {
        self.faults.entry(kind.into()).or_default();
    }

    /// How often a fault of that kind was there.
    pub fn inflicted(&self, kind: &str) -> u64 {
        self.faults.get(kind).map_or(0, |tries| tries.came)
    }

    /// Faults of all kinds.
    pub fn inflicted_of_all(&self) -> u64 {
        self.faults.values().map(|tries| tries.came).sum()
    }

    /// The call that a fault of the disk met first.
    pub fn call(&mut self, name: String) {
        *self.calls.entry(name).or_default() += 1;
    }

    /// An operator's command, and what came of it.
    pub fn command(&mut self, command: &'static str, outcome: &'static str) {
        *self.commands.entry((command, outcome)).or_default() += 1;
    }

    /// Of so many poisoned records so many were set aside, under one id each.
    pub fn set_aside(&mut self, found: u64, of: u64) {
        self.poison_set_aside += found;
        self.poison_looked_for += of;
    }

    pub fn duplicates(&mut self, count: u64) {
        self.duplicates_injected += count;
    }

    pub fn poison(&mut self, count: u64) {
        self.poison_injected += count;
    }

    /// How long it took from the end of a fault until all processes were ready again.
    pub fn recovered(&mut self, after: Duration) {
        self.recoveries_ms.push(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }

    /// Commands that were answered OK, all found, none twice.
    pub fn acknowledged(&mut self, commands: u64) {
        self.acknowledged += commands;
    }

    pub fn compared(&mut self, partitions: u64, rows: u64) {
        self.partitions_compared += partitions;
        self.rows_compared += rows;
    }

    pub fn round(&mut self, name: &str, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.rounds += 1,
            Err(error) => self.failures.push(format!("{name}: {error:#}")),
        }
    }

    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    fn recovery(&self, quantile: f64) -> String {
        let mut all = self.recoveries_ms.clone();
        all.sort_unstable();
        let index = ((all.len() as f64 * quantile) as usize).min(all.len().saturating_sub(1));
        all.get(index).map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", *ms as f64 / 1_000.0))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| What | Figure |\n|---|---|")?;
        for (kind, Tries { came, missed }) in &self.faults {
            let missed = if *missed > 0 { format!(", {missed} more did not come about") } else { String::new() };
            writeln!(f, "| fault: {kind} | {came}{missed} |")?;
        }
        if !self.calls.is_empty() {
            writeln!(f, "| calls that a fault of the disk met first | {} |", listed(&self.calls))?;
        }
        for ((command, outcome), times) in &self.commands {
            writeln!(f, "| kith {command}: {outcome} | {times} |")?;
        }
        writeln!(
            f,
            "| rounds without a difference | {} of {} |",
            self.rounds,
            self.rounds + self.failures.len() as u64
        )?;
        writeln!(f, "| acknowledged commands looked for, in those rounds | {} |", self.acknowledged)?;
        writeln!(
            f,
            "| records doubled / poisoned on purpose | {} / {} |",
            self.duplicates_injected, self.poison_injected
        )?;
        let (found, of) = (self.poison_set_aside, self.poison_looked_for);
        writeln!(f, "| poisoned records set aside, in those rounds | {found} of {of} |")?;
        let (partitions, rows) = (self.partitions_compared, self.rows_compared);
        writeln!(f, "| live tables against a fresh rebuild | {partitions} table partitions, {rows} rows |")?;
        writeln!(f, "| ready again after a fault, p50 / p99 | {} / {} |", self.recovery(0.5), self.recovery(0.99))?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "| **failed** | {} |", failure.replace('\n', " ")))
    }
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
