//! One replica of the suite: all fold groups and all services, in one process that can die and stand still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_fold::Group;
use kith_fold::engine::{self, Ports, Running};
use tokio::task::AbortHandle;

use super::services::{Keys, Services};
use crate::simulated::Gate;

const START_AGAIN_AFTER: Duration = Duration::from_millis(20);

pub struct Process {
    pub services: Services,
    /// Which life of its slot this is.
    pub life: u64,
    pub gate: Arc<Gate>,
    running: Mutex<Vec<Running>>,
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
        (gate, life): (Arc<Gate>, u64),
    ) -> Option<Self> {
        let mut running = Vec::new();
        for group in groups {
            loop {
                match engine::start(ports, group.clone(), true).await {
                    Ok(started) => break running.push(started),
                    Err(_) => ports.runtime.sleep(START_AGAIN_AFTER).await,
                }
            }
        }
        let services = Services::over(ports, &running, keys, backfill_window_seconds).ok()?;
        Some(Self { services, life, gate, running: Mutex::new(running), calls: Mutex::default() })
    }

    /// A handler at work here: it dies with the process.
    pub fn owns(&self, call: AbortHandle) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|call| !call.is_finished());
        calls.push(call);
    }

    /// As kill -9: nothing is finished, nothing is told.
    pub fn kill(&self) {
        self.gate.shut();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|call| call.abort());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether every group here has seen all of the log in its tables, and why not.
    pub fn behind(&self, heads: &super::history::Heads) -> Vec<String> {
        let mut behind = Vec::new();
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let watermarks = running.state.watermarks();
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
        self.running.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|of| of.state.clone()).collect()
    }
}
