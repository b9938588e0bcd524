//! Runs a group's folds in this process: membership, workers, catching up, the watch over lag.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use kith_log::{EventLog, LogError, LogPartition, Membership, Position, topics};
use kith_runtime::Runtime;
use kith_tables::{Keyspace, TableStore};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::alone::Alone;
use crate::calls::{By, Timed};
use crate::duty::Duty;
use crate::memory::Memory;
use crate::worker::Worker;
use crate::{FoldError, Group, Lag, Publisher, State, WaitError, Watermarks};

pub use crate::lag::FoldMetrics;

const REJOIN_AFTER: Duration = Duration::from_millis(500);
const REPLAYS_AT_ONCE: usize = 8;
/// How often the group is told how far we are, and the wait for the heads is asked anew.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What a group runs on.
#[derive(Clone)]
pub struct Ports {
    pub runtime: Runtime,
    pub log: Arc<dyn EventLog>,
    pub tables: Arc<dyn TableStore>,
    pub metrics: FoldMetrics,
}

/// What all workers of a group share.
pub(crate) struct Context {
    pub group: Group,
    pub runtime: Runtime,
    pub log: Arc<dyn EventLog>,
    pub store: Arc<dyn TableStore>,
    pub state: State,
    pub publisher: Publisher,
    pub metrics: FoldMetrics,
    pub duty: Arc<Duty>,
    /// Replays under way: each opens a reader of its own, outside the group.
    pub replays: Semaphore,
    /// A worker's reader failed in a way that may pass: the process joins the group anew.
    pub rejoin: Notify,
}

/// A group at work. Dropping it ends its tasks: what they had not finished is folded again by whoever comes next.
pub struct Running {
    pub state: State,
    pub publisher: Publisher,
    pub lag: Arc<Lag>,
    pub(crate) duty: Arc<Duty>,
    group: Group,
    metrics: FoldMetrics,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    /// Which generation.
    pub fn number(&self) -> u32 {
        self.group.generation
    }

    /// Ends its tasks, and waits until they hold the log and the tables no longer.
    pub async fn end(&self) {
        for task in self.take_tasks() {
            task.abort();
            // Cancelled, as asked.
            let _ = task.await;
        }
        self.metrics.forget(&self.group, self.state.watermarks.partitions());
    }

    /// Ends its tasks between two of their awaits, and waits for nothing.
    pub(crate) fn stop(&self) {
        self.take_tasks().iter().for_each(JoinHandle::abort);
    }

    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Creates what the group needs: its keyspace and tables. Idempotent; `kith init` alone calls it.
pub async fn create(ports: &Ports, group: &Group) -> Result<(), FoldError> {
    let topics: Vec<_> = group.topics.iter().copied().chain([topics::OPS]).collect();
    ports.log.create_topics(&topics).await?;
    Ok(ports.tables.create(&group.keyspace(), &group.tables()).await?)
}

/// Opens the group's tables and, where `folding`, joins its consumer group and folds. `Err` when topics or tables are
/// not as declared.
pub async fn start(ports: &Ports, group: Group, folding: bool) -> Result<Running, FoldError> {
    start_as(ports, group, folding, Duty::new(ports.runtime.clone(), true)).await
}

/// As [`start`], for a generation that may not serve yet.
pub(crate) async fn start_as(
    ports: &Ports,
    group: Group,
    folding: bool,
    duty: Arc<Duty>,
) -> Result<Running, FoldError> {
    ports.log.check_topics(&group.topics).await?;
    let [state, state_of_folds] = states(ports, &group).await?;
    let publisher = |by| {
        let publisher = Publisher::new(Arc::clone(&ports.log), ports.runtime.clone(), group.service);
        publisher.timed(ports.metrics.calls(&group, by).append)
    };
    let (publisher, publisher_of_folds) = (publisher(By::Handlers), publisher(By::Folds));
    let lag = Arc::new(Lag::default());
    let (own_group, metrics) = (group.clone(), ports.metrics.clone());
    let context = Arc::new(Context {
        group,
        runtime: ports.runtime.clone(),
        log: Arc::clone(&ports.log),
        store: Arc::clone(&ports.tables),
        state: state_of_folds,
        publisher: publisher_of_folds,
        metrics: ports.metrics.clone(),
        duty: Arc::clone(&duty),
        replays: Semaphore::new(REPLAYS_AT_ONCE),
        rejoin: Notify::new(),
    });
    // Before anyone may ask: whether the log is still the one that the tables are of.
    state.watermarks.refresh_all().await?;
    for (partition, head) in heads(&*context.log, &context.group).await? {
        state.watermarks.fits(partition, state.watermarks.next_offset(partition), head);
    }
    let mut tasks = vec![ports.runtime.spawn(crate::lag::watch(Arc::clone(&context), Arc::clone(&lag)))];
    if folding {
        tasks.push(ports.runtime.spawn(fold(context)));
    }
    Ok(Running { state, publisher, lag, duty, group: own_group, metrics, tasks: Mutex::new(tasks) })
}

/// The tables as handlers see them, and as folds do: the same, but for whose calls are timed as whose.
async fn states(ports: &Ports, group: &Group) -> Result<[State; 2], FoldError> {
    let is_shared = ports.tables.is_shared();
    let timed = |tables: &Arc<dyn Keyspace>, by| -> Arc<dyn Keyspace> {
        match is_shared {
            true => Arc::new(Timed::new(Arc::clone(tables), ports.metrics.calls(group, by))),
            // A call of a function: it takes less than to ask the clock.
            false => Arc::clone(tables),
        }
    };
    let tables = ports.tables.open(&group.keyspace(), &group.tables()).await?;
    let alone = is_shared.then(|| Arc::new(Alone::new(Arc::clone(&tables), ports.metrics.row_memory(group))));
    let row_memory = alone.as_ref().map(|alone| Arc::clone(alone.rows()));
    let watermarks = watermarks_in(ports, group, timed(&tables, By::Folds), alone.clone());
    let keyspace = alone.map_or(tables, |alone| alone as Arc<dyn Keyspace>);
    let memory = Arc::new(Memory::new(ports.metrics.memory(group)));
    let (of_handlers, of_folds) = (timed(&keyspace, By::Handlers), timed(&keyspace, By::Folds));
    let partition_count = ports.log.partition_count();
    let state = State { keyspace: of_handlers, watermarks, partition_count, memory, row_memory };
    Ok([state.clone(), State { keyspace: of_folds, ..state }])
}

/// Where the folds of a group are that does not run here.
pub(crate) async fn watermarks(ports: &Ports, group: &Group) -> Result<Arc<Watermarks>, FoldError> {
    let keyspace = ports.tables.open(&group.keyspace(), &group.tables()).await?;
    Ok(watermarks_in(ports, group, keyspace, None))
}

fn watermarks_in(
    ports: &Ports,
    group: &Group,
    keyspace: Arc<dyn Keyspace>,
    alone: Option<Arc<Alone>>,
) -> Arc<Watermarks> {
    let (runtime, count) = (ports.runtime.clone(), ports.log.partition_count());
    Arc::new(Watermarks::new(runtime, keyspace, &group.topics, count, alone))
}

/// Stays a member of the group, whatever happens.
async fn fold(context: Arc<Context>) {
    loop {
        if let Err(error) = fold_as_member(&context).await {
            tracing::warn!(group = context.group.name(), %error, "membership lost; joining again");
        }
        folds_here(&context, &[]);
        context.runtime.sleep(REJOIN_AFTER).await;
    }
}

async fn fold_as_member(context: &Arc<Context>) -> Result<(), FoldError> {
    let mut membership = context.log.join(&context.group.name(), &context.group.topics).await?;
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
        // Everything granted before is void: its workers end here, between two of their awaits. What they have half
        // written is written again by whoever folds the partition next, at the same positions.
        drop(std::mem::take(&mut working));
        tracing::info!(group = context.group.name(), partitions = partitions.len(), "partitions assigned");
        folds_here(context, &partitions);
        working = start_workers(context, &mut *membership, partitions).await?;
    }
}

fn folds_here(context: &Context, partitions: &[LogPartition]) {
    context.state.watermarks.folds_here(partitions);
    context.metrics.partitions(&context.group, partitions.len());
    // What stopped here before may be another replica's now.
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
            // What panics is a defect of a fold: met again and again it would take the whole group down.
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

/// A worker, or why the partition must stand still.
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

/// Says that the fold has stopped, and goes on trying until the other replicas can know.
async fn stop(context: &Context, partition: LogPartition, error: &FoldError) {
    tracing::error!(group = context.group.name(), %partition, %error, "fold stopped");
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

/// For each partition of a group the offset that its next record will get.
pub(crate) type Heads = BTreeMap<LogPartition, u64>;

pub(crate) async fn heads(log: &dyn EventLog, group: &Group) -> Result<Heads, LogError> {
    let mut heads = Heads::new();
    for &topic in &group.topics {
        let next = log.heads(topic).await?;
        heads.extend((0..).zip(next).map(|(index, head)| (LogPartition { topic, index }, head)));
    }
    Ok(heads)
}

/// The last record of each partition that has any.
pub(crate) fn last_positions(heads: &Heads) -> Vec<Position> {
    let last =
        |(&partition, &next): (&LogPartition, &u64)| next.checked_sub(1).map(|offset| Position { partition, offset });
    heads.iter().filter_map(last).collect()
}

/// Says when the whole group, on whatever replicas, has reached the heads that stood at the start: there are permits then,
/// for workers in the order in which they wait.
async fn catch_up(context: Arc<Context>, heads: Heads, reached: Arc<Semaphore>) {
    let mut wanted = last_positions(&heads);
    loop {
        let until = Instant::now() + REPORT_EVERY;
        match context.state.watermarks.wait(wanted.iter().copied(), until).await {
            Ok(()) => {
                reached.add_permits(Semaphore::MAX_PERMITS);
                return;
            }
            // What stands still is for an operator; the other partitions' appends do not wait for that.
            Err(WaitError::Stopped { partition, .. }) => wanted.retain(|position| position.partition != partition),
            Err(error) => tracing::info!(group = context.group.name(), %error, "catching up before appending"),
        }
        context.runtime.sleep(Duration::from_millis(50)).await;
    }
}
