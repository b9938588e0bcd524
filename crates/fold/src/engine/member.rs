//! A process's membership in a group: each assigned partition gets a worker, until it is revoked.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use kith_log::{LogError, LogPartition, Membership};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::context::Context;
use super::heads::{Heads, heads, last_positions};
use super::worker::Worker;
use crate::{FoldError, WaitError};

const REJOIN_AFTER: Duration = Duration::from_millis(500);
/// How often our progress is reported to the group, and the wait for the heads is checked again.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Stays a member of the group, whatever happens.
pub(super) async fn fold(context: Arc<Context>) {
    loop {
        if let Err(error) = fold_as_member(&context).await {
            tracing::warn!(group = context.group.consumer_group(), %error, "membership lost; joining again");
        }
        folds_here(&context, &[]);
        context.runtime.sleep(REJOIN_AFTER).await;
    }
}

async fn fold_as_member(context: &Arc<Context>) -> Result<(), FoldError> {
    let mut membership = context.log.join(&context.group.consumer_group(), &context.group.topics).await?;
    let mut working = Working::default();
    loop {
        let partitions = tokio::select! {
            biased;
            partitions = membership.assigned() => partitions?,
            () = context.rejoin.notified() => return Err(LogError::Closed.into()),
            () = context.runtime.sleep(REPORT_EVERY) => {
                let at = |&p| (p, context.state.watermarks.next_offset(p));
                membership.report(&working.partitions.iter().map(at).collect::<Vec<_>>()).await;
                continue;
            }
        };
        // All earlier assignments are void: their workers end here, at an await. The partition's next owner writes
        // their unfinished writes again, at the same positions.
        drop(std::mem::take(&mut working));
        tracing::info!(group = context.group.consumer_group(), partitions = partitions.len(), "partitions assigned");
        folds_here(context, &partitions);
        working = start_workers(context, &mut *membership, partitions).await?;
    }
}

fn folds_here(context: &Context, partitions: &[LogPartition]) {
    context.state.watermarks.folds_here(partitions);
    context.metrics.partitions(&context.group, partitions.len());
    // A partition that stopped here may now belong to another replica.
    context.state.watermarks.partitions().for_each(|p| context.metrics.stopped(&context.group, p, false));
}

/// The workers of one assignment.
#[derive(Default)]
struct Working {
    partitions: Vec<LogPartition>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn start_workers(
    context: &Arc<Context>,
    membership: &mut dyn Membership,
    partitions: Vec<LogPartition>,
) -> Result<Working, FoldError> {
    let heads = heads(&*context.log, &context.group).await?;
    let resumed = try_join_all(partitions.iter().map(|&partition| resume(context, partition, &heads))).await?;
    context.state.watermarks.all_resumed();
    let (mut workers, mut tasks) = (BTreeMap::new(), Vec::new());
    for (&partition, resumed) in partitions.iter().zip(resumed) {
        match resumed {
            Ok(worker) => _ = workers.insert(partition, worker),
            Err(stopped) => {
                let context = Arc::clone(context);
                tasks.push(context.runtime.clone().spawn(async move { stop(&context, partition, &stopped).await }));
            }
        }
    }
    let from: Vec<_> = workers.iter().map(|(&partition, worker)| (partition, worker.start_offset())).collect();
    let mut readers: BTreeMap<_, _> =
        membership.start(&from).await?.into_iter().map(|reader| (reader.partition, reader)).collect();
    let caught_up = Arc::new(Semaphore::new(0));
    tasks.push(context.runtime.spawn(catch_up(Arc::clone(context), heads, Arc::clone(&caught_up))));
    for (partition, worker) in workers {
        let Some(reader) = readers.remove(&partition) else { continue };
        let context = Arc::clone(context);
        let caught_up = Arc::clone(&caught_up);
        tasks.push(context.runtime.clone().spawn(async move {
            // A panic is a defect of a fold: repeated on each replica it would take the whole group down.
            let ended = AssertUnwindSafe(worker.run(reader, caught_up)).catch_unwind().await;
            match ended.unwrap_or_else(|_| Err(FoldError::Stopped("the fold panicked".to_owned()))) {
                Ok(()) => {}
                Err(error) if error.may_pass() => {
                    tracing::warn!(%partition, %error, "reading failed; joining again");
                    context.rejoin.notify_one();
                }
                Err(error) => stop(&context, partition, &error).await,
            }
        }));
    }
    Ok(Working { partitions, tasks })
}

/// A worker, or why the partition must stop.
async fn resume(
    context: &Arc<Context>,
    partition: LogPartition,
    heads: &Heads,
) -> Result<Result<Worker, FoldError>, FoldError> {
    let head = heads.get(&partition).copied().unwrap_or(0);
    match Worker::resume(Arc::clone(context), partition, head).await {
        Ok(worker) => Ok(Ok(worker)),
        Err(stopped @ (FoldError::Stopped(_) | FoldError::LostTail { .. })) => Ok(Err(stopped)),
        Err(error) => Err(error),
    }
}

/// Reports that the fold has stopped, and retries until the other replicas can see it.
async fn stop(context: &Context, partition: LogPartition, error: &FoldError) {
    tracing::error!(group = context.group.consumer_group(), %partition, %error, "fold stopped");
    context.metrics.stopped(&context.group, partition, true);
    let watermarks = &context.state.watermarks;
    let from = match error {
        FoldError::LostTail { from, .. } => *from,
        _ => watermarks.next_offset(partition),
    };
    while let Err(unsaid) = watermarks.stop(partition, from, &error.to_string()).await {
        tracing::warn!(%partition, error = %unsaid, "other replicas are not told yet that the fold stopped");
        context.runtime.sleep(REPORT_EVERY).await;
    }
}

/// Signals when the whole group, on all replicas, has reached the heads as they were at the start: it then gives
/// permits to workers in the order in which they wait.
async fn catch_up(context: Arc<Context>, heads: Heads, reached: Arc<Semaphore>) {
    let mut wanted = last_positions(&heads);
    loop {
        let until = Instant::now() + REPORT_EVERY;
        match context.state.watermarks.wait(wanted.iter().copied(), until).await {
            Ok(()) => {
                reached.add_permits(Semaphore::MAX_PERMITS);
                return;
            }
            // A stopped partition needs an operator; the other partitions' appends do not wait for it.
            Err(WaitError::Stopped { partition, .. }) => wanted.retain(|position| position.partition != partition),
            Err(error) => {
                tracing::info!(group = context.group.consumer_group(), %error, "catching up before appending")
            }
        }
        context.runtime.sleep(Duration::from_millis(50)).await;
    }
}
