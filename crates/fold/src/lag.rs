use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_log::{LogPartition, Offset, Topic};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::calls::{By, CallMetrics, Calls};
use crate::engine::{self, Context, Heads};
use crate::memory::MemoryCounts;
use crate::steps::{StepMetrics, Steps};
use crate::{FoldError, Group};

/// How often heads and foreign watermarks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Until the tables have caught up: callers wait for that.
const LOOK_AT_START_EVERY: Duration = Duration::from_millis(50);
/// A fold that is behind, with log and tables that answer, and folds nothing for this long: its reader has lost its way
/// (consumers have stalled so in the past), and the process joins the group anew.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How far a group's folds are behind the log.
#[derive(Debug)]
pub struct Lag {
    /// Records in the log that are not in the tables, the worst partition's.
    worst_records: AtomicU64,
    /// Has permits once the tables have had all that was in the log at the first look. Closed never.
    caught_up: Semaphore,
    error: Mutex<Option<String>>,
    looked: Mutex<BTreeMap<LogPartition, Progress>>,
    /// Whether log or tables take no more writes until a restart.
    broken: AtomicBool,
}

/// How far one partition's fold was at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything below is in the tables.
    pub next: Offset,
    /// What the next record of the log will get.
    pub head: Offset,
    /// For how long the tables have been behind, ms.
    pub behind_ms: i64,
}

impl Default for Lag {
    fn default() -> Self {
        let caught_up = Semaphore::new(0);
        Self {
            worst_records: AtomicU64::default(),
            caught_up,
            error: Mutex::default(),
            looked: Mutex::default(),
            broken: false.into(),
        }
    }
}

impl Lag {
    /// Records that the worst partition is behind, as of the last look.
    pub fn worst_records(&self) -> u64 {
        self.worst_records.load(Ordering::Relaxed)
    }

    /// How far every partition was at the last look that went well.
    pub fn partitions(&self) -> BTreeMap<LogPartition, Progress> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the tables ever had all that was in the log when this process started, stopped partitions aside. Before
    /// that, who asks without a token would be told old news.
    pub fn has_caught_up(&self) -> bool {
        self.caught_up.available_permits() > 0
    }

    /// Waits for that.
    pub async fn caught_up(&self) {
        // A permit that is given back at once.
        let _ = self.caught_up.acquire().await;
    }

    /// Whether log or tables take no more writes before the process starts anew: a write to an embedded store failed.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Why the last look failed: the log or the tables do not answer. `None` when it went well.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks again and again, until the task is ended.
pub(crate) async fn watch(context: Arc<Context>, lag: Arc<Lag>) {
    let mut seen = Seen::default();
    loop {
        let looked = look(&context, &lag, &mut seen).await;
        if looked.as_ref().is_err_and(FoldError::needs_restart) {
            lag.broken.store(true, Ordering::Relaxed);
        }
        *lag.error.lock().unwrap_or_else(PoisonError::into_inner) = looked.err().map(|error| error.to_string());
        context.runtime.sleep(if lag.has_caught_up() { LOOK_EVERY } else { LOOK_AT_START_EVERY }).await;
    }
}

/// What earlier looks saw.
#[derive(Default)]
struct Seen {
    behind: BTreeMap<LogPartition, Behind>,
    /// The heads of the first look that went well.
    first_heads: Option<Heads>,
}

/// A partition that is behind.
struct Behind {
    since_ms: i64,
    /// How much the fold here had done, and since when it has done no more.
    steps: u64,
    still_since: Instant,
}

async fn look(context: &Context, lag: &Lag, seen: &mut Seen) -> Result<(), FoldError> {
    context.store.check().await?;
    context.state.watermarks.refresh_all().await?;
    let watermarks = &context.state.watermarks;
    let now_ms = context.runtime.now_ms();
    // Taken before the heads: what the tables have by then the log must have too.
    let before: BTreeMap<LogPartition, Offset> =
        watermarks.partitions().map(|partition| (partition, watermarks.next_offset(partition))).collect();
    let heads = engine::heads(&*context.log, &context.group).await?;
    let (mut worst, mut looked, mut lost) = (0, BTreeMap::new(), None);
    for (&partition, &head) in &heads {
        let tables_next = before.get(&partition).copied().unwrap_or(0);
        if !watermarks.fits(partition, tables_next, head) {
            // The other partitions are looked after all the same.
            lost = lost.or(Some(FoldError::LostTail { partition, from: head }));
            continue;
        }
        let next = watermarks.next_offset(partition);
        let behind = head.saturating_sub(next);
        // Commands are not refused for a partition that an operator must help: reads that need it say so.
        let stopped = watermarks.stopped(partition).is_some();
        worst = if stopped { worst } else { worst.max(behind) };
        let since_ms = if behind == 0 {
            seen.behind.remove(&partition);
            now_ms
        } else {
            still_behind(context, partition, &mut seen.behind, now_ms)
        };
        let behind_ms = now_ms - since_ms;
        context.metrics.lag(&context.group, partition, behind, behind_ms);
        looked.insert(partition, Progress { next, head: head.max(next), behind_ms });
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    let has = |(&partition, &head): (&LogPartition, &Offset)| {
        watermarks.next_offset(partition) >= head || watermarks.stopped(partition).is_some()
    };
    if !lag.has_caught_up() && seen.first_heads.get_or_insert(heads).iter().all(has) {
        lag.caught_up.add_permits(Semaphore::MAX_PERMITS);
    }
    *lag.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
    lag.worst_records.store(worst, Ordering::Relaxed);
    Ok(())
}

/// Since when the partition is behind; sees to one whose fold stands still.
fn still_behind(
    context: &Context,
    partition: LogPartition,
    all: &mut BTreeMap<LogPartition, Behind>,
    now_ms: i64,
) -> i64 {
    let watermarks = &context.state.watermarks;
    let (steps, still_since) = (watermarks.steps(partition), Instant::now());
    let known = all.entry(partition).or_insert(Behind { since_ms: now_ms, steps, still_since });
    if known.steps != steps || !watermarks.is_folded_here(partition) || watermarks.stopped(partition).is_some() {
        (known.steps, known.still_since) = (steps, still_since);
    } else if known.still_since.elapsed() >= STUCK_AFTER {
        known.still_since = still_since;
        tracing::error!(group = context.group.name(), %partition, "the fold stands still; joining again");
        context.rejoin.notify_one();
    }
    known.since_ms
}

/// What folds tell Prometheus; one for a process, shared by its groups.
#[derive(Clone, Default)]
pub struct FoldMetrics {
    lag_records: Family<PartitionLabels, Gauge>,
    lag_seconds: Family<PartitionLabels, Gauge<f64, AtomicU64>>,
    folded: Family<TopicLabels, Counter>,
    poisoned: Family<TopicLabels, Counter>,
    stopped: Family<PartitionLabels, Gauge>,
    partitions: Family<GroupLabels, Gauge>,
    answers: Family<AnswerLabels, Counter>,
    rows: Family<AnswerLabels, Counter>,
    steps: StepMetrics,
    calls: CallMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    group: String,
    topic: &'static str,
    partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: String,
}

/// Where answers come from.
const MEMORY: &str = "memory";
const TABLES: &str = "tables";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    group: String,
    from: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    group: String,
    topic: &'static str,
}

impl FoldMetrics {
    /// Registers the metrics once for the process.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register(
            "kith_fold_lag_records",
            "Records in the log that are not in the tables",
            all.lag_records.clone(),
        );
        registry.register(
            "kith_fold_lag_seconds",
            "How long the fold has been behind the log",
            all.lag_seconds.clone(),
        );
        registry.register("kith_fold_records", "Records folded, replayed ones included", all.folded.clone());
        registry.register("kith_dead_letters", "Records met that nobody can decode", all.poisoned.clone());
        registry.register("kith_fold_partitions", "Log partitions that this process folds", all.partitions.clone());
        registry.register(
            "kith_fold_stopped",
            "1: the partition stands still until someone helps",
            all.stopped.clone(),
        );
        registry.register(
            "kith_answers",
            "Answers that could be remembered: from memory, or read from the tables",
            all.answers.clone(),
        );
        registry.register(
            "kith_row_reads",
            "Reads of rows by key that could be remembered: from memory, or from the tables",
            all.rows.clone(),
        );
        all.steps.register(registry);
        all.calls.register(registry);
        all
    }

    pub(crate) fn steps(&self, group: &Group) -> Steps {
        self.steps.of(group)
    }

    pub(crate) fn calls(&self, group: &Group, by: By) -> Calls {
        self.calls.of(group, by)
    }

    pub(crate) fn memory(&self, group: &Group) -> MemoryCounts {
        counts(&self.answers, group)
    }

    pub(crate) fn row_memory(&self, group: &Group) -> MemoryCounts {
        counts(&self.rows, group)
    }

    /// Nothing more is said of a group that has ended: an old alarm would stay for ever.
    pub(crate) fn forget(&self, group: &Group, partitions: impl Iterator<Item = LogPartition>) {
        self.partitions.remove(&GroupLabels { group: group.name() });
        self.steps.forget(group);
        self.calls.forget(group);
        for from in [MEMORY, TABLES] {
            let labels = AnswerLabels { group: group.name(), from };
            self.answers.remove(&labels);
            self.rows.remove(&labels);
        }
        for labels in partitions.map(|partition| partition_labels(group, partition)) {
            self.lag_records.remove(&labels);
            self.lag_seconds.remove(&labels);
            self.stopped.remove(&labels);
        }
    }

    pub(crate) fn folded(&self, group: &Group, topic: Topic, records: usize) {
        self.folded.get_or_create(&topic_labels(group, topic)).inc_by(records as u64);
    }

    pub(crate) fn poisoned(&self, group: &Group, topic: Topic) {
        self.poisoned.get_or_create(&topic_labels(group, topic)).inc();
    }

    pub(crate) fn partitions(&self, group: &Group, partitions: usize) {
        let folded = self.partitions.get_or_create(&GroupLabels { group: group.name() });
        folded.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    pub(crate) fn stopped(&self, group: &Group, partition: LogPartition, stopped: bool) {
        self.stopped.get_or_create(&partition_labels(group, partition)).set(i64::from(stopped));
    }

    fn lag(&self, group: &Group, partition: LogPartition, records: u64, ms: i64) {
        let labels = partition_labels(group, partition);
        self.lag_records.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
        self.lag_seconds.get_or_create(&labels).set(ms as f64 / 1_000.0);
    }
}

fn topic_labels(group: &Group, topic: Topic) -> TopicLabels {
    TopicLabels { group: group.name(), topic: topic.name }
}

fn counts(family: &Family<AnswerLabels, Counter>, group: &Group) -> MemoryCounts {
    let count = |from| family.get_or_create(&AnswerLabels { group: group.name(), from }).clone();
    MemoryCounts { remembered: count(MEMORY), read: count(TABLES) }
}

fn partition_labels(group: &Group, partition: LogPartition) -> PartitionLabels {
    PartitionLabels { group: group.name(), topic: partition.topic.name, partition: u32::from(partition.index) }
}
