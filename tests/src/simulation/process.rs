//! One replica of the suite: all fold groups and all services, in one process that can die and freeze.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_fold::engine::Ports;
use kith_fold::{Group, MakeGroup, Operations, Projection};
use kith_runtime::Runtime;
use kith_service::auth::Revocations;
use tokio::task::AbortHandle;

use super::callers::Callers;
use super::services::{Keys, handlers};
use super::upgrade::Release;
use crate::simulated::Gate;

const START_AGAIN_AFTER: Duration = Duration::from_millis(20);

pub struct Process {
    pub callers: Callers,
    /// What its clock shows is a matter of this.
    pub runtime: Runtime,
    /// Which life of its slot this is.
    pub life: u64,
    pub gate: Arc<Gate>,
    pub release: Release,
    projections: Mutex<Vec<Arc<Projection>>>,
    /// Handlers at work.
    calls: Mutex<Vec<AbortHandle>>,
}

impl Process {
    /// Starts every group, as the binary does while its servers do not answer: again and again. `None`: the services
    /// cannot be made at all.
    pub async fn start(
        ports: &Ports,
        groups: Vec<Group>,
        keys: &Keys,
        backfill_window_seconds: u64,
        (gate, life, release): (Arc<Gate>, u64, Release),
    ) -> Option<Self> {
        let open = || Operations::open(Arc::clone(&ports.log), ports.runtime.clone());
        let operations = Arc::new(again_and_again(ports, open).await);
        let mut projections = Vec::new();
        for group in groups {
            let make: MakeGroup = Arc::new(move |generation| Group { generation, ..group.clone() });
            let start = || Projection::start(ports, &operations, Arc::clone(&make), true);
            projections.push(again_and_again(ports, start).await);
        }
        let open = || Revocations::open(Arc::clone(&ports.log), ports.runtime.clone());
        let revocations = again_and_again(ports, open).await;
        let callers = handlers(ports, &projections, revocations, keys, backfill_window_seconds).ok()?;
        let (runtime, projections) = (ports.runtime.clone(), Mutex::new(projections));
        Some(Self { callers, runtime, life, gate, release, projections, calls: Mutex::default() })
    }

    /// A handler at work here: it dies with the process.
    pub fn owns(&self, call: AbortHandle) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|call| !call.is_finished());
        calls.push(call);
    }

    /// As kill -9: nothing is finished, nothing is reported.
    pub fn kill(&self) {
        self.gate.shut();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|call| call.abort());
        // The services still hold them.
        self.projections().drain(..).for_each(|projection| projection.stop());
    }

    /// Whether every group here has seen all of the log in its tables, and why not.
    pub fn behind(&self, heads: &super::history::Heads) -> Vec<String> {
        let mut behind = Vec::new();
        for state in self.states() {
            let watermarks = state.watermarks();
            for partition in watermarks.partitions() {
                let (next, head) = (watermarks.next_offset(partition), heads.get(&partition).copied().unwrap_or(0));
                if next < head || watermarks.stopped(partition).is_some() {
                    behind.push(format!("{partition}: {next} of {head} {:?}", watermarks.stopped(partition)));
                }
            }
        }
        behind
    }

    pub fn states(&self) -> Vec<kith_fold::State> {
        self.projections().iter().filter_map(|projection| Some(projection.serving()?.state.clone())).collect()
    }

    /// The groups as this process folds them, each of the generation that it serves.
    pub fn groups(&self) -> Vec<Group> {
        let serving = |projection: &Arc<Projection>| Some(projection.group(projection.serving_number()?));
        self.projections().iter().filter_map(serving).collect()
    }

    /// Its groups, for operators.
    pub fn all(&self) -> Vec<Arc<Projection>> {
        self.projections().clone()
    }

    fn projections(&self) -> MutexGuard<'_, Vec<Arc<Projection>>> {
        self.projections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn again_and_again<T, E, F>(ports: &Ports, start: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        match start().await {
            Ok(started) => return started,
            Err(_) => ports.runtime.sleep(START_AGAIN_AFTER).await,
        }
    }
}
