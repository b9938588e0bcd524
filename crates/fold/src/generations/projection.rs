//! The generations of one group's tables in this process: all are folded, one serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Generations, Operations};
use crate::engine::{self, Ports, Role, Running};
use crate::{FoldError, Group, WaitError};

const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// If a generation that is to serve cannot catch up in this time, it is waited for once more.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);

/// Requests that started before a generation was dropped may read its tables for this long; the longest deadline is 30
/// s.
const DELETED_AFTER: Duration = Duration::from_secs(35);
const LOOK_FOR_DROPPED_EVERY: Duration = Duration::from_secs(5);

/// Makes the group of a generation.
pub type MakeGroup = Arc<dyn Fn(u32) -> Group + Send + Sync>;

/// One per group in a process. Dropping it ends all its folds here.
pub struct Projection {
    name: &'static str,
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
    /// Generations whose tables were deleted since this process started: each start tries it once more.
    deleted: BTreeSet<u32>,
}

/// Why the generations here do not match the decisions yet.
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
        let name = make(0).name;
        let generations = operations.generations(name);
        let live = generations.live();
        let role = Role::new(ports.runtime.clone(), true);
        let mut others = Vec::new();
        for &number in generations.all().keys().filter(|number| **number != live) {
            match engine::watermarks(ports, &make(number)).await {
                Ok(watermarks) => others.push(watermarks),
                // Its appends must be searched for.
                Err(error) => {
                    tracing::warn!(group = name, generation = number, %error, "a generation beside is not there")
                }
            }
        }
        role.beside_others(others);
        role.pause(generations.paused().is_some());
        let folds = folding && is_own(&generations, &make(live));
        let first = Arc::new(engine::start_as(ports, make(live), folds, role).await?);
        let running = BTreeMap::from([(live, Arc::clone(&first))]);
        let known = Mutex::new(Known { live, serving: first, running, deleted: BTreeSet::new() });
        let (ports, operations, following) = (ports.clone(), Arc::clone(operations), Mutex::default());
        let own = Arc::new(Self { name, ports, operations, make, folding, known, following });
        let follower = Arc::downgrade(&own);
        let (operations, runtime) = (Arc::clone(&own.operations), own.ports.runtime.clone());
        let following = runtime.clone().spawn(async move {
            let mut done = None;
            loop {
                let wanted = tokio::select! {
                    biased;
                    wanted = operations.when(name, |now| done.as_ref() != Some(now)) => wanted,
                    () = runtime.sleep(LOOK_FOR_DROPPED_EVERY) => {
                        let Some(own) = follower.upgrade() else { return };
                        own.delete_dropped().await;
                        continue;
                    }
                };
                let Some(own) = follower.upgrade() else { return };
                match own.become_like(&wanted).await {
                    Ok(()) => done = Some(wanted),
                    Err(error) => {
                        tracing::warn!(group = name, %error, "the generations are not yet as decided; trying again");
                        drop(own);
                        runtime.sleep(AGAIN_AFTER).await;
                    }
                }
            }
        });
        *own.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
        Ok(own)
    }

    /// Ends all its folds here at once, like the end of the process, whoever still holds it.
    pub fn stop(&self) {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        following.inspect(JoinHandle::abort);
        self.all().iter().for_each(|running| running.stop());
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

    /// The name of the fold group.
    pub fn group_name(&self) -> &'static str {
        self.name
    }

    pub fn operations(&self) -> &Arc<Operations> {
        &self.operations
    }

    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The group of a generation, whether it exists or not.
    pub fn group(&self, number: u32) -> Group {
        (self.make)(number)
    }

    async fn become_like(&self, wanted: &Generations) -> Result<(), NotYet> {
        for running in self.all() {
            running.role.pause(wanted.paused().is_some());
        }
        for &number in wanted.all().keys() {
            self.open(number, wanted).await?;
        }
        if self.live_number() != wanted.live() {
            self.switch(wanted).await?;
        }
        self.end_all_but(wanted).await;
        Ok(())
    }

    /// Ends dropped generations. The remaining ones are told first, so that they no longer read what ends.
    async fn end_all_but(&self, wanted: &Generations) {
        let ended: Vec<(u32, Arc<Running>)> = {
            let mut known = self.known();
            let live = known.live;
            known.running.extract_if(.., |number, _| *number != live && !wanted.all().contains_key(number)).collect()
        };
        self.tell_of_each_other();
        for (number, running) in ended {
            // Requests that still read its tables keep them until they are deleted.
            running.end().await;
            tracing::info!(group = self.name, generation = number, "generation ended");
        }
    }

    /// Opens a generation that is folded beside the live one.
    async fn open(&self, number: u32, wanted: &Generations) -> Result<(), FoldError> {
        if self.generation(number).is_some() {
            return Ok(());
        }
        let role = Role::new(self.ports.runtime.clone(), false);
        role.pause(wanted.paused().is_some());
        role.stand_beside(Arc::clone(&self.live().lag));
        let group = self.group(number);
        let folding = self.folding && is_own(wanted, &group);
        let running = engine::start_as(&self.ports, group, folding, role).await?;
        self.known().running.insert(number, Arc::new(running));
        self.tell_of_each_other();
        tracing::info!(group = self.name, generation = number, folding, "generation opened beside the live one");
        Ok(())
    }

    /// Another generation serves, once it has folded everything that the previous one is known to have folded: no
    /// caller's view goes back. If the previous one is to be dropped, there is no wait.
    async fn switch(&self, wanted: &Generations) -> Result<(), NotYet> {
        let (from, to) = (self.live_number(), wanted.live());
        let (before, after) = (self.live(), self.generation(to).ok_or(NotYet::NotOpen(to))?);
        after.role.hurry();
        if wanted.all().contains_key(&from) {
            let until = Instant::now() + CATCH_UP_WITHIN;
            // Read before the heads: the log must have everything that the tables had then. No generation can fold what
            // the log has lost.
            let seen = before.state.as_of();
            let heads = engine::heads(&*self.ports.log, &self.group(to)).await.map_err(FoldError::from)?;
            let seen = seen.below(&heads);
            after.state.at_least(&seen, until).await?;
        }
        {
            let mut known = self.known();
            (known.live, known.serving) = (to, Arc::clone(&after));
        }
        self.tell_of_each_other();
        after.role.serve();
        before.role.stand_beside(Arc::clone(&after.lag));
        tracing::info!(group = self.name, from, to, "another generation serves");
        Ok(())
    }

    /// Each may have to continue where another stopped appending.
    fn tell_of_each_other(&self) {
        let all = self.all();
        for running in &all {
            let others = all.iter().filter(|other| !Arc::ptr_eq(other, running));
            running.role.beside_others(others.map(|other| Arc::clone(&other.state.watermarks)).collect());
        }
    }

    /// Deletes the tables of dropped generations, once no request can read them any more.
    async fn delete_dropped(&self) {
        let dropped = self.operations.generations(self.name).dropped().clone();
        for (number, since_ms) in dropped {
            let due = self.ports.runtime.now_ms() - since_ms >= DELETED_AFTER.as_millis() as i64;
            if !due || self.generation(number).is_some() || !self.known().deleted.insert(number) {
                continue;
            }
            if let Err(error) = self.ports.tables.drop_keyspace(&self.group(number).keyspace()).await {
                tracing::warn!(group = self.name, generation = number, %error, "its tables are not deleted yet");
                self.known().deleted.remove(&number);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Running>> {
        self.known().running.values().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this release folds the generation: another release's folds would write other rows at the same positions.
fn is_own(generations: &Generations, group: &Group) -> bool {
    let filled_by = generations.all().get(&group.generation).map(|generation| generation.folds_version);
    let own = filled_by.is_none_or(|version| version == group.folds_version);
    if !own {
        let (generation, own) = (group.generation, group.folds_version);
        tracing::error!(
            group = group.name,
            generation,
            ?filled_by,
            own,
            "not folded by this release: `kith rebuild` makes its own"
        );
    }
    own
}

impl Drop for Projection {
    fn drop(&mut self) {
        self.stop();
    }
}
