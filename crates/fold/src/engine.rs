//! Runs a group's folds in this process: membership, workers, catching up, the watch over lag.

mod batch;
mod context;
mod heads;
mod letters;
mod member;
mod note;
mod restart_history;
mod role;
mod side_by_side;
mod spread;
mod watch;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_log::{EventLog, topics};
use kith_runtime::Runtime;
use kith_tables::{Keyspace, TableStore};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use crate::cache::{PageCache, SoleWriter};
use crate::metrics::{By, Timed};
use crate::positions::{Standing, WATERMARKS};
use crate::{FoldError, Group, Lag, Publisher, State, Watermarks};
use context::Context;

pub use crate::metrics::FoldMetrics;
pub(crate) use heads::{head_of, heads, last_positions};
pub(crate) use role::Role;
pub(crate) use watch::MEASURED_RECORDS_MIN;

/// Partitions replayed concurrently, outside the group: each opens a separate reader.
const REPLAYS_AT_ONCE: usize = 8;

/// What a group runs on.
#[derive(Clone)]
pub struct Ports {
    pub runtime: Runtime,
    pub log: Arc<dyn EventLog>,
    pub tables: Arc<dyn TableStore>,
    pub metrics: FoldMetrics,
    pub pace: Pace,
}

/// How much a generation that is filled beside the live one may slow that one down.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// While the live folds lag by more records than this in their worst partition, no other generation is folded here. Under
    /// load without an end a batch is folded every few seconds all the same, so that a rebuild ends.
    pub live_lag_records: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { live_lag_records: 500 }
    }
}

/// A running group. Dropping it ends its tasks: the next owner folds their unfinished work again.
pub struct Running {
    pub state: State,
    pub publisher: Publisher,
    pub lag: Arc<Lag>,
    pub(crate) role: Arc<Role>,
    group: Group,
    metrics: FoldMetrics,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    /// Which generation.
    pub fn number(&self) -> u32 {
        self.group.generation
    }

    /// Records folded in this process since it started, and how long their micro-batches took, one after the other.
    pub(crate) fn folded_so_far(&self) -> (u64, Duration) {
        self.metrics.folded_so_far(&self.group)
    }

    /// Ends its tasks, and waits until they have released the log and the tables.
    pub async fn end(&self) {
        for task in self.take_tasks() {
            task.abort();
            // Cancelled, as asked.
            let _ = task.await;
        }
        self.metrics.forget(&self.group, self.state.watermarks.partitions());
    }

    /// Ends its tasks at an await, without waiting for them.
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

/// Creates what the group needs: its keyspace and tables. Idempotent; only `kith init` calls it.
pub async fn create(ports: &Ports, group: &Group) -> Result<(), FoldError> {
    let topics: Vec<_> = group.topics.iter().copied().chain([topics::OPS]).collect();
    ports.log.create_topics(&topics).await?;
    Ok(ports.tables.create(&group.keyspace(), &group.tables()).await?)
}

/// Opens the group's tables and, where `folding`, joins its consumer group and folds. `Err` when topics or tables are
/// not as declared.
pub async fn start(ports: &Ports, group: Group, folding: bool) -> Result<Running, FoldError> {
    start_as(ports, group, folding, Role::new(ports, true)).await
}

/// As [`start`], for a generation that may not serve yet.
pub(crate) async fn start_as(
    ports: &Ports,
    group: Group,
    folding: bool,
    role: Arc<Role>,
) -> Result<Running, FoldError> {
    ports.log.check_topics(&group.topics).await?;
    let [state, state_of_folds] = states(ports, &group, role.standing()).await?;
    let publisher = |by| {
        let publisher = Publisher::new(Arc::clone(&ports.log), ports.runtime.clone(), group.name);
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
        role: Arc::clone(&role),
        replays: Semaphore::new(REPLAYS_AT_ONCE),
        reading_letters: Semaphore::new(1),
        rejoin: Notify::new(),
    });
    // Before any request: check that the tables belong to this log.
    state.watermarks.refresh_all().await?;
    for (partition, head) in heads(&*context.log, &context.group).await? {
        state.watermarks.fits(partition, state.watermarks.next_offset(partition), head);
    }
    let mut tasks = vec![ports.runtime.spawn(watch::watch(Arc::clone(&context), Arc::clone(&lag)))];
    if folding {
        tasks.push(ports.runtime.spawn(member::fold(context)));
    }
    Ok(Running { state, publisher, lag, role, group: own_group, metrics, tasks: Mutex::new(tasks) })
}

/// The tables for handlers and for folds: the same tables, but their calls are timed separately.
async fn states(ports: &Ports, group: &Group, standing: &Arc<Standing>) -> Result<[State; 2], FoldError> {
    let is_shared = ports.tables.is_shared();
    let timed = |tables: &Arc<dyn Keyspace>, by| -> Arc<dyn Keyspace> {
        match is_shared {
            true => Arc::new(Timed::new(Arc::clone(tables), ports.metrics.calls(group, by))),
            // A function call: it takes less time than reading the clock.
            false => Arc::clone(tables),
        }
    };
    let tables = ports.tables.open(&group.keyspace(), &group.tables()).await?;
    let sole_writer = is_shared.then(|| Arc::new(SoleWriter::new(Arc::clone(&tables), ports.metrics.row_cache(group))));
    let row_cache = sole_writer.as_ref().map(|sole_writer| Arc::clone(sole_writer.rows()));
    let watermarks = watermarks_in(ports, group, timed(&tables, By::Folds), sole_writer.clone());
    let keyspace = sole_writer.map_or(tables, |sole_writer| sole_writer as Arc<dyn Keyspace>);
    let page_cache = Arc::new(PageCache::new(ports.metrics.page_cache(group)));
    let (of_handlers, of_folds) = (timed(&keyspace, By::Handlers), timed(&keyspace, By::Folds));
    let partition_count = ports.log.partition_count();
    let state = State {
        keyspace: of_handlers,
        watermarks,
        standing: Arc::clone(standing),
        partition_count,
        page_cache,
        row_cache,
    };
    Ok([state.clone(), State { keyspace: of_folds, ..state }])
}

/// The watermarks of a generation that this process does not fold. Only their table is opened: the others may be another
/// release's.
pub(crate) async fn watermarks(ports: &Ports, group: &Group) -> Result<Arc<Watermarks>, FoldError> {
    let keyspace = ports.tables.open(&group.keyspace(), &[&WATERMARKS]).await?;
    Ok(watermarks_in(ports, group, keyspace, None))
}

fn watermarks_in(
    ports: &Ports,
    group: &Group,
    keyspace: Arc<dyn Keyspace>,
    sole_writer: Option<Arc<SoleWriter>>,
) -> Arc<Watermarks> {
    let (runtime, count) = (ports.runtime.clone(), ports.log.partition_count());
    Arc::new(Watermarks::new(runtime, keyspace, &group.topics, count, sole_writer))
}
