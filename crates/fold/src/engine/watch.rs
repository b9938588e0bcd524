//! The watch over lag: how far the folds are behind the log, and whether a fold is stalled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_log::{LogPartition, Offset};
use tokio::time::Instant;

use super::context::Context;
use super::heads::{Heads, heads};
use crate::positions::Fill;
use crate::{FoldError, Lag, Progress, Standstill};

/// How often heads and other processes' watermarks are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Until the tables have caught up: callers wait for that.
const LOOK_AT_START_EVERY: Duration = Duration::from_millis(50);
/// Fewer records are folded too quickly to say how many are folded in a second.
pub(crate) const MEASURED_RECORDS_MIN: u64 = 1_000;
/// If a fold lags, log and tables answer, and it folds nothing for this long, its reader is stalled (consumers have
/// done so in the past), and the process rejoins the group.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Checks periodically, until the task is ended.
pub(crate) async fn watch(context: Arc<Context>, lag: Arc<Lag>) {
    let mut seen = Seen::default();
    loop {
        let looked = look(&context, &lag, &mut seen).await;
        lag.ended(looked.err().as_ref());
        context.runtime.sleep(if lag.has_caught_up() { LOOK_EVERY } else { LOOK_AT_START_EVERY }).await;
    }
}

/// The results of earlier checks.
#[derive(Default)]
struct Seen {
    behind: BTreeMap<LogPartition, Behind>,
    first: Option<First>,
    /// The heads of the first check after the last standstill of the folds, and the number of standstills by then.
    resumed: Option<(u64, Heads)>,
}

/// The first successful check.
struct First {
    heads: Heads,
    /// Records in the tables.
    folded: u64,
    stood_still: u64,
    at: Instant,
}

/// A partition that is behind.
struct Behind {
    since_ms: i64,
    /// The fold's step count here, and since when it has not changed.
    steps: u64,
    still_since: Instant,
}

async fn look(context: &Context, lag: &Lag, seen: &mut Seen) -> Result<(), FoldError> {
    context.store.check().await?;
    context.state.watermarks.refresh_all().await?;
    let watermarks = &context.state.watermarks;
    let now_ms = context.runtime.now_ms();
    let stood_still = context.state.standing.so_far();
    // Read before the heads: the log must have everything that the tables had then.
    let before: BTreeMap<LogPartition, Offset> =
        watermarks.partitions().map(|partition| (partition, watermarks.next_offset(partition))).collect();
    let heads = heads(&*context.log, &context.group).await?;
    let (mut worst, mut looked, mut lost) = (0, BTreeMap::new(), None);
    for (&partition, &head) in &heads {
        let tables_next = before.get(&partition).copied().unwrap_or(0);
        if !watermarks.fits(partition, tables_next, head) {
            // The other partitions are still checked.
            lost = lost.or(Some(FoldError::LostTail { partition, from: head }));
            continue;
        }
        let next = watermarks.next_offset(partition);
        let behind = head.saturating_sub(next);
        // Commands are not refused because of a stopped partition, which needs an operator: reads that need it report
        // it.
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
    make_good(context, seen, (stood_still, &heads), has);
    let folded = looked.values().map(|progress| progress.next).sum();
    let first = seen.first.get_or_insert_with(|| First { heads, folded, stood_still, at: Instant::now() });
    if !lag.has_caught_up() && first.heads.iter().all(has) {
        let fill = Fill { records: folded - first.folded, took: first.at.elapsed(), at: Instant::now() };
        // At least half of what the tables have was folded since. A process that starts with full tables and catches up folds few
        // records in the time that it needs to start.
        let is_fill = first.folded <= fill.records;
        let is_measured = is_fill && fill.records >= MEASURED_RECORDS_MIN && first.stood_still == stood_still;
        lag.has_reached_first_heads(is_measured.then_some(fill));
    }
    lag.saw(looked, worst);
    Ok(())
}

/// Checks whether the folds, after `stood_still` standstills, have reached the heads as they were when they continued.
fn make_good(
    context: &Context,
    seen: &mut Seen,
    (stood_still, heads): (u64, &Heads),
    has: impl Fn((&LogPartition, &Offset)) -> bool,
) {
    let standing = &context.state.standing;
    match context.state.standstill() {
        None => seen.resumed = None,
        Some(Standstill::Paused | Standstill::Stopped { .. }) => {
            standing.count();
            seen.resumed = None;
        }
        Some(Standstill::CatchingUp) => {
            let resumed = seen.resumed.take().filter(|(times, _)| *times == stood_still);
            let resumed = resumed.unwrap_or_else(|| (stood_still, heads.clone()));
            match resumed.1.iter().all(has) {
                true => standing.make_good(stood_still),
                false => seen.resumed = Some(resumed),
            }
        }
    }
}

/// Since when the partition is behind; handles one whose fold is stalled.
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
        tracing::error!(group = context.group.consumer_group(), %partition, "the fold stands still; joining again");
        context.rejoin.notify_one();
    }
    known.since_ms
}
