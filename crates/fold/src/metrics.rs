//! The folds' Prometheus metrics.

mod calls;
mod steps;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kith_log::{LogPartition, Topic};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Group;
use crate::cache::CacheCounts;
use calls::CallMetrics;
use steps::StepMetrics;

pub(crate) use calls::{By, Calls, Timed, timed};
pub(crate) use steps::{Step, Steps};

/// One per process, shared by its groups.
#[derive(Clone, Default)]
pub struct FoldMetrics {
    lag_records: Family<PartitionLabels, Gauge>,
    lag_seconds: Family<PartitionLabels, Gauge<f64, AtomicU64>>,
    folded: Family<TopicLabels, Counter>,
    busy: Family<GroupLabels, Counter<f64, AtomicU64>>,
    poisoned: Family<TopicLabels, Counter>,
    stopped: Family<PartitionLabels, Gauge>,
    partitions: Family<GroupLabels, Gauge>,
    answers: Family<AnswerLabels, Counter>,
    rows: Family<AnswerLabels, Counter>,
    tail_gave_up: Family<TailLabels, Counter>,
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

/// The source of answers.
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TailLabels {
    topic: &'static str,
}

impl FoldMetrics {
    /// A tail of the topic ended those who listen, as it could not say what records say.
    pub fn tail_gave_up(&self, topic: Topic) {
        self.tail_gave_up.get_or_create(&TailLabels { topic: topic.name }).inc();
    }

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
        registry.register(
            "kith_tail_gave_up",
            "How often a tail ended its listeners, as it could not tell what records say",
            all.tail_gave_up.clone(),
        );
        registry.register("kith_fold_records", "Records folded, replayed ones included", all.folded.clone());
        registry.register(
            "kith_fold_busy_seconds",
            "How long all micro-batches took, one after the other",
            all.busy.clone(),
        );
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

    pub(crate) fn page_cache(&self, group: &Group) -> CacheCounts {
        counts(&self.answers, group)
    }

    pub(crate) fn row_cache(&self, group: &Group) -> CacheCounts {
        counts(&self.rows, group)
    }

    /// Removes the series of a group that has ended: an old alarm would stay for ever.
    pub(crate) fn forget(&self, group: &Group, partitions: impl Iterator<Item = LogPartition>) {
        self.partitions.remove(&group_labels(group));
        self.steps.forget(group);
        self.calls.forget(group);
        for from in [MEMORY, TABLES] {
            let labels = AnswerLabels { group: group.consumer_group(), from };
            self.answers.remove(&labels);
            self.rows.remove(&labels);
        }
        for labels in partitions.map(|partition| partition_labels(group, partition)) {
            self.lag_records.remove(&labels);
            self.lag_seconds.remove(&labels);
            self.stopped.remove(&labels);
        }
    }

    /// Records that one micro-batch folded, and how long it took.
    pub(crate) fn folded(&self, group: &Group, topic: Topic, records: usize, took: Duration) {
        self.folded.get_or_create(&topic_labels(group, topic)).inc_by(records as u64);
        self.busy.get_or_create(&group_labels(group)).inc_by(took.as_secs_f64());
    }

    /// The sums of both, since the process started.
    pub(crate) fn folded_so_far(&self, group: &Group) -> (u64, Duration) {
        let of = |topic: &Topic| self.folded.get_or_create(&topic_labels(group, *topic)).get();
        let busy_seconds = self.busy.get_or_create(&group_labels(group)).get();
        (group.topics.iter().map(of).sum(), Duration::from_secs_f64(busy_seconds))
    }

    pub(crate) fn poisoned(&self, group: &Group, topic: Topic) {
        self.poisoned.get_or_create(&topic_labels(group, topic)).inc();
    }

    pub(crate) fn partitions(&self, group: &Group, partitions: usize) {
        let folded = self.partitions.get_or_create(&group_labels(group));
        folded.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    pub(crate) fn stopped(&self, group: &Group, partition: LogPartition, stopped: bool) {
        self.stopped.get_or_create(&partition_labels(group, partition)).set(i64::from(stopped));
    }

    pub(crate) fn lag(&self, group: &Group, partition: LogPartition, records: u64, ms: i64) {
        let labels = partition_labels(group, partition);
        self.lag_records.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
        self.lag_seconds.get_or_create(&labels).set(ms as f64 / 1_000.0);
    }
}

fn group_labels(group: &Group) -> GroupLabels {
    GroupLabels { group: group.consumer_group() }
}

fn topic_labels(group: &Group, topic: Topic) -> TopicLabels {
    TopicLabels { group: group.consumer_group(), topic: topic.name }
}

fn counts(family: &Family<AnswerLabels, Counter>, group: &Group) -> CacheCounts {
    let count = |from| family.get_or_create(&AnswerLabels { group: group.consumer_group(), from }).clone();
    CacheCounts { remembered: count(MEMORY), read: count(TABLES) }
}

fn partition_labels(group: &Group, partition: LogPartition) -> PartitionLabels {
    PartitionLabels {
        group: group.consumer_group(),
        topic: partition.topic.name,
        partition: u32::from(partition.index),
    }
}
