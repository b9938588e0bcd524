//! The plan that a seed fixes beforehand. Pure.

use std::time::Duration;

use crate::simulated::{Chance, Rates, Shape};

/// What is asked of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// No answer is wrong, and a process started at the end has the whole log in its tables.
    Safety,
    /// When faults end, the running processes catch up by themselves, within [`Plan::HEALED_WITHIN`].
    Liveness,
}

impl std::str::FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        match text {
            "safety" => Ok(Self::Safety),
            "liveness" => Ok(Self::Liveness),
            _ => anyhow::bail!("{text} is neither safety nor liveness"),
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
        })
    }
}

/// A history, but for what it turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub mode: Mode,
    pub processes: usize,
    pub partitions: u16,
    pub people: usize,
    pub clients: usize,
    /// What each client does, after accounts are made.
    pub steps: usize,
    pub push_threshold: u64,
    pub backfill_window_seconds: u64,
    /// Whether some rows are changed more often than they remember ids.
    pub hot: bool,
    pub shape: ShapePlan,
    /// How far a fold goes back over tables that a server may forget; less than a minute, so that it is not always the
    /// beginning.
    pub restart_margin_ms: u64,
    pub rates: RatesPlan,
    /// How far the clocks of processes are from each other at most.
    pub skew_ms: u64,
    /// How far the clock of a process jumps, ahead or back; 0: it does not.
    pub jump_ms: u64,
    /// Time between two faults of the nemesis; `None`: no faults.
    pub strike_every_ms: Option<(u64, u64)>,
    /// Whether commands are asked for twice at once, and again after others.
    pub copies: bool,
    /// Whether operators lead over to a later release, and perhaps back.
    pub upgrades: bool,
    /// Whether the later release has one more view, beside other rules for intents.
    pub later_views: bool,
    /// What people do.
    pub draws: Draws,
}

/// What people do: one thing alone, for what is rare in histories that have everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    All,
    /// They talk.
    Talks,
    /// They post, and edit that.
    Posts,
    /// They sign in and out.
    Sessions,
    /// They change their handles, and look each other up.
    Handles,
    /// They follow, ask to, and read what they may.
    Circles,
    /// They follow, and are suggested whom else to.
    Suggestions,
}

/// [`Shape`], drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapePlan {
    pub replicas: usize,
    pub repairs_rows: bool,
    pub forgets: Forgets,
    /// Other than the majority.
    pub quorum: Option<usize>,
}

/// Whether tables lose what they acknowledged last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgets {
    Never,
    /// A crash of the one process loses rows and watermarks together, as the embedded tables do.
    WithTheProcess,
    /// A crash of a server does; its clients notice that the connection was lost. Replicas do not miss writes then:
    /// where one lacks a write for ever and another forgets it, no quorum of servers keeps anything.
    Server,
}

/// How often small things go wrong, in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RatesPlan {
    pub log: u32,
    pub tables: u32,
    pub slow: u32,
}

impl ShapePlan {
    fn of(chance: &Chance, quiet: bool) -> Self {
        let (three, forgetful) = (chance.per_mille(650), !quiet && chance.per_mille(300));
        let server = three || chance.per_mille(300);
        let forgets = match (forgetful, server) {
            (false, _) => Forgets::Never,
            (true, true) => Forgets::Server,
            (true, false) => Forgets::WithTheProcess,
        };
        Self { replicas: if three { 3 } else { 1 }, repairs_rows: false, forgets, quorum: None }
    }

    /// Whether single replicas may be late, away, or without a write.
    pub fn may_miss(self) -> bool {
        self.replicas > 1 && self.forgets == Forgets::Never
    }
}

impl Plan {
    /// On simulated time.
    pub const HEALED_WITHIN: Duration = Duration::from_secs(120);

    pub fn of(seed: u64, mode: Mode) -> Self {
        let chance = Chance::new(seed, "plan");
        let pick = |of: &[u64]| chance.pick(of).copied().unwrap_or(0);
        // Every eighth history has no faults: a failure there has another cause.
        let quiet = chance.per_mille(125);
        let shape = ShapePlan::of(&chance, quiet);
        let rate = |rates: &[u64]| if quiet { 0 } else { u32::try_from(pick(rates)).unwrap_or(0) };
        Self {
            seed,
            mode,
            processes: if shape.forgets == Forgets::WithTheProcess { 1 } else { chance.between(1, 3) as usize },
            partitions: chance.between(1, 3) as u16,
            people: chance.between(5, 8) as usize,
            clients: chance.between(2, 4) as usize,
            steps: chance.between(18, 32) as usize,
            push_threshold: pick(&[0, 1, 2, 10_000, 10_000]),
            backfill_window_seconds: pick(&[0, 2, 3_600]),
            hot: chance.per_mille(350),
            shape,
            restart_margin_ms: pick(&[800, 2_500, 60_000]),
            rates: RatesPlan { log: rate(&[0, 20, 80]), tables: rate(&[0, 5, 20]), slow: rate(&[20, 100]) },
            skew_ms: pick(&[0, 50, 2_000, 180_000]),
            jump_ms: pick(&[0, 0, 3_000, 180_000]),
            strike_every_ms: chance.pick(&[(40, 400), (200, 1_500)]).copied().filter(|_| !quiet),
            copies: chance.per_mille(700),
            upgrades: chance.per_mille(250),
            later_views: chance.per_mille(700),
            draws: Draws::All,
        }
    }

    pub fn tables(&self) -> Shape {
        let ShapePlan { replicas, repairs_rows, forgets, quorum } = self.shape;
        let embedded = replicas == 1 && forgets != Forgets::Server;
        let restart_margin = if embedded { Duration::ZERO } else { Duration::from_millis(self.restart_margin_ms) };
        let quorum = quorum.unwrap_or(replicas / 2 + 1);
        Shape { replicas, quorum, restart_margin, forgets: forgets != Forgets::Never, repairs_rows }
    }

    pub fn fault_rates(&self) -> Rates {
        let RatesPlan { log, tables, slow } = self.rates;
        let late = if self.shape.may_miss() { tables * 2 } else { 0 };
        Rates {
            unknown: log,
            copy: log,
            reader_fails: log / 8,
            write_fails: tables,
            replica_late: late,
            read_fails: tables / 2,
            slow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        assert_eq!(Plan::of(7, Mode::Safety), Plan::of(7, Mode::Safety));
        assert_ne!(Plan::of(7, Mode::Safety), Plan::of(8, Mode::Safety));
    }
}
