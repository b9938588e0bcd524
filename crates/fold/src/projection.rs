//! The generations of one service's tables in this process: all are folded, one serves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::duty::Duty;
use crate::engine::{self, Ports, Running};
use crate::{FoldError, Generations, Group, Operations, WaitError};

const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A generation that is to serve and is further behind than it can make good in this time is waited for once more.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);

/// Makes the group of a generation.
pub type MakeGroup = Arc<dyn Fn(u32) -> Group + Send + Sync>;

/// One for a service in a process. Dropping it ends all its folds here.
pub struct Projection {
    service: &'static str,
    ports: Ports,
    operations: Arc<Operations>,
    make: MakeGroup,
    folding: bool,
    known: Mutex<Known>,
    following: Mutex<Option<JoinHandle<()>>>,
}

struct Known {
    live: u32,
    serving: Arc<Running>,
    running: BTreeMap<u32, Arc<Running>>,
}

/// Why the generations here are not yet as they were decided to be.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("generation {0} is not open")]
    NotOpen(u32),
}

impl Projection {
    /// Opens the tables of every generation and, where `folding`, folds them. `Err` when those of the live one or their
    /// topics are not as declared.
    pub async fn start(
        ports: &Ports,
        operations: &Arc<Operations>,
        make: MakeGroup,
        folding: bool,
    ) -> Result<Arc<Self>, FoldError> {
        let service = make(0).service;
        let generations = operations.generations(service);
        let live = generations.live();
        let duty = Duty::new(ports.runtime.clone(), true);
        let mut others = Vec::new();
        for &number in generations.all().keys().filter(|number| **number != live) {
            others.push(engine::watermarks(ports, &make(number)).await?);
        }
        duty.serve(others);
        duty.pause(generations.paused().is_some());
        let first = Arc::new(engine::start_as(ports, make(live), folding, duty).await?);
        let running = BTreeMap::from([(live, Arc::clone(&first))]);
        let known = Mutex::new(Known { live, serving: first, running });
        let (ports, operations, following) = (ports.clone(), Arc::clone(operations), Mutex::default());
        let own = Arc::new(Self { service, ports, operations, make, folding, known, following });
        let follower = Arc::downgrade(&own);
        let (operations, runtime) = (Arc::clone(&own.operations), own.ports.runtime.clone());
        let following = runtime.clone().spawn(async move {
            let mut done = None;
            loop {
                let wanted = operations.when(service, |now| done.as_ref() != Some(now)).await;
                let Some(own) = follower.upgrade() else { return };
                match own.become_like(&wanted).await {
                    Ok(()) => done = Some(wanted),
                    Err(error) => {
                        tracing::warn!(service, %error, "the generations are not yet as decided; trying again");
                        drop(own);
                        runtime.sleep(AGAIN_AFTER).await;
                    }
                }
            }
        });
        *own.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
        Ok(own)
    }

    /// The generation that serves here.
    pub fn live(&self) -> Arc<Running> {
        Arc::clone(&self.known().serving)
    }

    /// Its number.
    pub fn live_number(&self) -> u32 {
        self.known().live
    }

    /// A generation's folds and tables, if it is open here.
    pub fn generation(&self, number: u32) -> Option<Arc<Running>> {
        self.known().running.get(&number).cloned()
    }

    pub fn service(&self) -> &'static str {
        self.service
    }

    pub fn operations(&self) -> &Arc<Operations> {
        &self.operations
    }

    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The group of a generation, whether it is there or not.
    pub fn group(&self, number: u32) -> Group {
        (self.make)(number)
    }

    async fn become_like(&self, wanted: &Generations) -> Result<(), NotYet> {
        for &number in wanted.all().keys() {
            self.open(number).await?;
        }
        let now = self.live_number();
        if now != wanted.live() {
            self.switch(now, wanted.live()).await?;
        }
        self.end_all_but(wanted).await;
        for running in self.all() {
            running.duty.pause(wanted.paused().is_some());
        }
        Ok(())
    }

    async fn end_all_but(&self, wanted: &Generations) {
        let gone: Vec<u32> = {
            let known = self.known();
            let is_gone = |number: &u32| *number != known.live && !wanted.all().contains_key(number);
            known.running.keys().copied().filter(is_gone).collect()
        };
        for number in gone {
            let running = self.known().running.remove(&number);
            // Requests that still look at it have it until they end.
            if let Some(running) = running {
                running.end().await;
                tracing::info!(service = self.service, generation = number, "generation ended");
            }
        }
    }

    /// Opens a generation that is folded beside the live one.
    async fn open(&self, number: u32) -> Result<(), FoldError> {
        if self.generation(number).is_some() {
            return Ok(());
        }
        let duty = Duty::new(self.ports.runtime.clone(), false);
        duty.stand_beside(Arc::clone(&self.live().lag));
        let running = engine::start_as(&self.ports, self.group(number), self.folding, duty).await?;
        self.known().running.insert(number, Arc::new(running));
        tracing::info!(service = self.service, generation = number, "generation opened beside the live one");
        Ok(())
    }

    /// Callers are answered from another generation, once it has all that the one before is known to have: whoever saw
    /// something sees it still.
    async fn switch(&self, from: u32, to: u32) -> Result<(), NotYet> {
        let (before, after) = (self.live(), self.generation(to).ok_or(NotYet::NotOpen(to))?);
        let until = Instant::now() + CATCH_UP_WITHIN;
        after.state.at_least(&before.state.as_of(), until).await?;
        let others = self.all().into_iter().filter(|running| !Arc::ptr_eq(running, &after));
        let watermarks = others.map(|running| running.state.watermarks.clone()).collect();
        {
            let mut known = self.known();
            (known.live, known.serving) = (to, Arc::clone(&after));
        }
        after.duty.serve(watermarks);
        before.duty.stand_beside(Arc::clone(&after.lag));
        tracing::info!(service = self.service, from, to, "another generation serves");
        Ok(())
    }

    fn all(&self) -> Vec<Arc<Running>> {
        self.known().running.values().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Projection {
    fn drop(&mut self) {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        following.inspect(JoinHandle::abort);
    }
}
