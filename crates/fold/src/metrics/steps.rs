//! The steps of micro-batches and their durations.

use std::sync::Arc;
use std::time::Duration;

use kith_log::Record as RawRecord;
use kith_runtime::UnixMillis;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::Group;
use crate::rules::made_at;

const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A step of a micro-batch, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before it: since its first record was made. Only for records folded as they arrive, not for records read again.
    Wait,
    /// Decoding it, and reading the rows that it changes.
    Load,
    Apply,
    /// Writing the changed rows, with their marks.
    Write,
    /// Writing rows and appending records elsewhere, with the reads that determine where.
    Spread,
    /// Storing the watermark.
    Note,
}

/// An index into what is kept for each.
const _: () = assert!(Step::Note as usize + 1 == Step::ALL.len());

impl Step {
    const ALL: [Self; 6] = [Self::Wait, Self::Load, Self::Apply, Self::Write, Self::Spread, Self::Note];

    fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Load => "load",
            Self::Apply => "apply",
            Self::Write => "write",
            Self::Spread => "spread",
            Self::Note => "note",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    group: String,
    step: &'static str,
}

/// The durations of all groups' steps.
#[derive(Clone)]
pub(crate) struct StepMetrics(Family<StepLabels, Histogram, fn() -> Histogram>);

impl Default for StepMetrics {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl StepMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "How long the steps of a micro-batch took that did not fail; `wait`: from its first record's time to its start";
        registry.register("kith_fold_step_duration_seconds", help, self.0.clone());
    }

    pub fn forget(&self, group: &Group) {
        for step in Step::ALL {
            self.0.remove(&labels(group, step));
        }
    }

    pub fn of(&self, group: &Group) -> Steps {
        Steps(Arc::new(Step::ALL.map(|step| self.0.get_or_create_owned(&labels(group, step)))))
    }
}

fn labels(group: &Group, step: Step) -> StepLabels {
    StepLabels { group: group.consumer_group(), step: step.name() }
}

/// Those of one group.
#[derive(Clone)]
pub(crate) struct Steps(Arc<[Histogram; 6]>);

impl Steps {
    fn observe(&self, step: Step, took: Duration) {
        self.0[step as usize].observe(took.as_secs_f64());
    }

    /// How long the first of `records` waited for its turn.
    pub fn waited(&self, records: &[RawRecord], now_ms: UnixMillis) {
        if let Some(made_ms) = records.first().and_then(made_at) {
            // Another machine's clock may be ahead.
            let waited_ms = u64::try_from(now_ms - made_ms).unwrap_or(0);
            self.observe(Step::Wait, Duration::from_millis(waited_ms));
        }
    }

    pub fn start(&self) -> Laps {
        let began = Instant::now();
        Laps { steps: self.clone(), began, last: began }
    }
}

/// Of one micro-batch.
pub(crate) struct Laps {
    steps: Steps,
    began: Instant,
    last: Instant,
}

impl Laps {
    /// `step` took from the end of the one before until now.
    pub fn end(&mut self, step: Step) {
        let now = Instant::now();
        self.steps.observe(step, now - self.last);
        self.last = now;
    }

    /// How long all took so far.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }
}
