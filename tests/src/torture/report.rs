//! What was tried and what came of it, as one table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts over all rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind: how often it was tried.
    faults: BTreeMap<String, u64>,
    /// Rounds that ended as they should.
    rounds: u64,
    /// Acknowledged commands that were looked for afterwards.
    acknowledged: u64,
    duplicates_injected: u64,
    poison_injected: u64,
    partitions_compared: u64,
    rows_compared: u64,
    recoveries_ms: Vec<u64>,
    /// What went wrong, with the seed.
    failures: Vec<String>,
}

impl Report {
    pub fn fault(&mut self, kind: impl Into<String>) {
        *self.faults.entry(kind.into()).or_default() += 1;
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
        for (kind, tried) in &self.faults {
            writeln!(f, "| fault: {kind} | {tried} tried |")?;
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
        let (partitions, rows) = (self.partitions_compared, self.rows_compared);
        writeln!(f, "| live tables against a fresh rebuild | {partitions} table partitions, {rows} rows |")?;
        writeln!(f, "| ready again after a fault, p50 / p99 | {} / {} |", self.recovery(0.5), self.recovery(0.99))?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "| **failed** | {} |", failure.replace('\n', " ")))
    }
}
