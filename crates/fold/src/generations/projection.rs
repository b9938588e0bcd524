//! The generations of one group's tables in this process. This release's own are folded, and one of them serves.
//!
//! A generation is a release's own if it was begun with the same [`Group::folds_version`]. Other generations are neither folded
//! nor read: this release's rules would write other rows at the same places. While the live generation is another release's,
//! this process answers from the previous one if that is its own; otherwise it does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kith_tables::StoreError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::failures::{DecisionError, NotYet, Unpromotable};
use super::{Build, Generations, Operations, WaitsFor};
use crate::engine::{self, Ports, Role, Running};
use crate::{FoldError, Group, Token, Watermarks};

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
    /// What this release brings.
    build: Build,
    ports: Ports,
    operations: Arc<Operations>,
    make: MakeGroup,
    folding: bool,
    known: Mutex<Known>,
    following: Mutex<Option<JoinHandle<()>>>,
}

struct Known {
    /// The generation from which this process answers callers; `None`: no generation of this release may serve yet.
    serving: Option<Arc<Running>>,
    running: BTreeMap<u32, Arc<Running>>,
    /// The watermarks of other releases' generations.
    foreign: BTreeMap<u32, Arc<Watermarks>>,
    /// Generations whose tables were deleted since this process started: each start tries it once more.
    deleted: BTreeSet<u32>,
}

impl Projection {
    /// A generation may be promoted with this lag, in records of its worst partition. The switch waits for it.
    pub const PROMOTABLE_LAG_RECORDS: u64 = 10_000;

    /// Opens the tables of the generation that is to serve here and, where `folding`, folds them; those beside it follow. `Err`
    /// when its tables or their topics are not as declared.
    pub async fn start(
        ports: &Ports,
        operations: &Arc<Operations>,
        make: MakeGroup,
        folding: bool,
    ) -> Result<Arc<Self>, FoldError> {
        let (name, build) = (make(0).name, make(0).build());
        let generations = operations.generations(name);
        let first = generations.to_serve(build);
        let (mut running, mut foreign) = (BTreeMap::new(), BTreeMap::new());
        let mut others = Vec::new();
        for &number in generations.all().keys().filter(|number| Some(**number) != first) {
            match engine::watermarks(ports, &make(number)).await {
                Ok(watermarks) => {
                    others.push(Arc::clone(&watermarks));
                    if !generations.is_of(number, build) {
                        foreign.insert(number, watermarks);
                    }
                }
                // Its appends must be searched for.
                Err(error) => {
                    tracing::warn!(group = name, generation = number, %error, "a generation beside is not there")
                }
            }
        }
        let mut serving = None;
        if let Some(number) = first {
            let role = Role::new(ports, number == generations.live());
            role.beside_others(others);
            role.pause(generations.paused().is_some());
            if number != generations.live() {
                role.hurry();
            }
            let started = Arc::new(engine::start_as(ports, make(number), folding, role).await?);
            running.insert(number, Arc::clone(&started));
            serving = Some(started);
        }
        let known = Mutex::new(Known { serving, running, foreign, deleted: BTreeSet::new() });
        let (ports, operations, following) = (ports.clone(), Arc::clone(operations), Mutex::default());
        let own = Arc::new(Self { name, build, ports, operations, make, folding, known, following });
        let following = own.ports.runtime.spawn(follow(Arc::downgrade(&own), Arc::clone(&own.operations)));
        *own.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
        Ok(own)
    }

    /// Ends all its folds here at once, like the end of the process, whoever still holds it.
    pub fn stop(&self) {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        following.inspect(JoinHandle::abort);
        self.all().iter().for_each(|running| running.stop());
    }

    /// The generation from which this process answers callers; `None`: no generation of this release may serve yet.
    pub fn serving(&self) -> Option<Arc<Running>> {
        self.known().serving.clone()
    }

    /// Its number.
    pub fn serving_number(&self) -> Option<u32> {
        self.known().serving.as_ref().map(|serving| serving.number())
    }

    /// What this release brings.
    pub fn build(&self) -> Build {
        self.build
    }

    /// The version of the events under whose rules intents are judged that this process appends: what operators opened.
    pub fn rules(&self) -> u32 {
        self.operations.events().min(self.build.reads)
    }

    /// Whether the generation has all that it needs to serve. Some lag is no obstacle: the switch waits for it.
    pub fn promotable(&self, number: u32) -> Result<(), Unpromotable> {
        let running = self.generation(number).ok_or(Unpromotable::NotOpen(number))?;
        let watermarks = running.state.watermarks();
        if let Some(stopped) = watermarks.partitions().find(|partition| watermarks.stopped(*partition).is_some()) {
            return Err(Unpromotable::Stopped(number, stopped));
        }
        if !running.lag.has_caught_up() {
            return Err(Unpromotable::Filling(number));
        }
        match running.lag.worst_records() {
            ..=Self::PROMOTABLE_LAG_RECORDS => Ok(()),
            behind => Err(Unpromotable::Behind(number, behind)),
        }
    }

    /// All generations that are open here.
    pub fn all(&self) -> Vec<Arc<Running>> {
        self.known().running.values().cloned().collect()
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

    /// Decides on a new generation of this release's folds and makes its tables; gives its number. Not while another is
    /// filled beside the live one. The decision's record names `by`.
    pub async fn begin(&self, request_id: &str, by: &str) -> Result<u32, DecisionError> {
        let decided = self.operations.generations(self.name);
        let now_ms = self.ports.runtime.now_ms();
        let event = decided.start_rebuild(self.name, request_id, self.build, now_ms)?;
        let number = decided.next();
        // Its tables first: once it is said, every process opens them.
        engine::create(&self.ports, &self.group(number)).await?;
        self.operations.announce_by(by, event).await?;
        Ok(number)
    }

    async fn become_like(&self, wanted: &Generations) -> Result<(), NotYet> {
        for running in self.all() {
            running.role.pause(wanted.paused().is_some());
            if running.number() != wanted.live() && running.role.is_live() {
                // Before anything that may fail: another generation appends from now on.
                running.role.stand_alone();
            }
        }
        if matches!(wanted.waits_for(self.build), Some(WaitsFor::LaterRelease(_))) {
            // Records come that this release must not fold: it looks at no table any more, since that may fail.
            self.switch(wanted, None).await?;
            self.end_all_but(wanted).await;
            return Ok(());
        }
        for &number in wanted.all().keys() {
            match wanted.is_of(number, self.build) {
                true => self.open(number, wanted).await?,
                false => self.look_at(number).await?,
            }
        }
        let to_serve = wanted.to_serve(self.build);
        if self.serving_number() != to_serve {
            self.switch(wanted, to_serve).await?;
        }
        self.give_roles(wanted);
        self.end_all_but(wanted).await;
        Ok(())
    }

    /// The serving generation appends if it is the live one. All others are folded beside it.
    fn give_roles(&self, wanted: &Generations) {
        let Some(serving) = self.serving() else { return };
        if serving.number() == wanted.live() && !serving.role.is_live() {
            serving.role.serve();
        }
        for other in self.all().iter().filter(|other| !Arc::ptr_eq(other, &serving)) {
            other.role.stand_beside(Arc::clone(&serving.lag));
        }
    }

    /// Ends dropped generations, and what is not this release's. The remaining ones are told first, so that they no longer read
    /// what ends.
    async fn end_all_but(&self, wanted: &Generations) {
        let ended: Vec<(u32, Arc<Running>)> = {
            let mut known = self.known();
            known.foreign.retain(|number, _| wanted.all().contains_key(number));
            known.running.extract_if(.., |number, _| !wanted.is_of(*number, self.build)).collect()
        };
        self.tell_of_each_other();
        for (number, running) in ended {
            // Requests that still read its tables keep them until they are deleted.
            running.end().await;
            tracing::info!(group = self.name, generation = number, "generation ended");
        }
    }

    /// Opens a generation that is folded beside the one that serves.
    async fn open(&self, number: u32, wanted: &Generations) -> Result<(), FoldError> {
        if self.generation(number).is_some() {
            return Ok(());
        }
        let role = Role::new(&self.ports, false);
        role.pause(wanted.paused().is_some());
        match self.serving() {
            Some(serving) => role.stand_beside(Arc::clone(&serving.lag)),
            // Nobody here waits for other folds of the group.
            None => role.hurry(),
        }
        let running = engine::start_as(&self.ports, self.group(number), self.folding, role).await?;
        self.known().running.insert(number, Arc::new(running));
        self.tell_of_each_other();
        tracing::info!(group = self.name, generation = number, self.folding, "generation opened beside the live one");
        Ok(())
    }

    /// Opens the watermarks of another release's generation, if its tables exist.
    async fn look_at(&self, number: u32) -> Result<(), FoldError> {
        if self.known().foreign.contains_key(&number) {
            return Ok(());
        }
        match engine::watermarks(&self.ports, &self.group(number)).await {
            Ok(watermarks) => {
                self.known().foreign.insert(number, watermarks);
                self.tell_of_each_other();
                let (group, own) = (self.name, self.build.folds_version);
                tracing::warn!(
                    group,
                    generation = number,
                    own,
                    "neither folded nor read here: of another release, or later events are open"
                );
            }
            // Its tables are gone, by hand: its appends must be searched for.
            Err(FoldError::Store(StoreError::Contract(error))) => {
                tracing::warn!(
                    group = self.name,
                    generation = number,
                    error,
                    "another release's generation is not there"
                );
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Another generation serves, once it has folded everything that the previous one is known to have folded, in this process
    /// or in another release's: no caller's view goes back. If the previous one is to be dropped, there is no wait.
    async fn switch(&self, wanted: &Generations, to: Option<u32>) -> Result<(), NotYet> {
        let before = self.serving_number();
        let Some(to) = to else {
            self.known().serving = None;
            tracing::error!(group = self.name, own = ?self.build, "no generation that this release folds may serve");
            return Ok(());
        };
        let after = self.generation(to).ok_or(NotYet::NotOpen(to))?;
        after.role.hurry();
        let from = before.or(wanted.previous());
        if let Some(from) = from.filter(|from| wanted.all().contains_key(from)) {
            let until = Instant::now() + CATCH_UP_WITHIN;
            // Read before the heads: the log must have everything that the tables had then. No generation can fold what
            // the log has lost.
            let seen = self.seen(from).await?;
            let heads = engine::heads(&*self.ports.log, &self.group(to)).await.map_err(FoldError::from)?;
            let seen = seen.below(&heads);
            after.state.at_least(&seen, until).await?;
        }
        self.known().serving = Some(after);
        self.tell_of_each_other();
        tracing::info!(group = self.name, ?from, to, "another generation serves");
        Ok(())
    }

    /// Everything that callers may have seen from a generation.
    async fn seen(&self, number: u32) -> Result<Token, FoldError> {
        if let Some(here) = self.generation(number) {
            return Ok(here.state.as_of());
        }
        let foreign = self.known().foreign.get(&number).cloned();
        let Some(watermarks) = foreign else { return Ok(Token::default()) };
        match watermarks.refresh_all().await {
            Ok(()) => Ok(watermarks.known().collect()),
            // Its tables were deleted by hand: nobody is shown them any more.
            Err(StoreError::Contract(_)) => Ok(Token::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Each may have to continue where another stopped appending.
    fn tell_of_each_other(&self) {
        let all = self.all();
        let foreign: Vec<_> = self.known().foreign.values().cloned().collect();
        for running in &all {
            let others = all.iter().filter(|other| !Arc::ptr_eq(other, running));
            let others = others.map(|other| Arc::clone(&other.state.watermarks));
            running.role.beside_others(others.chain(foreign.iter().cloned()).collect());
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

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what operators decide, as long as the projection is there.
async fn follow(follower: Weak<Projection>, operations: Arc<Operations>) {
    let Some((name, runtime)) = follower.upgrade().map(|own| (own.name, own.ports.runtime.clone())) else { return };
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
}

impl Drop for Projection {
    fn drop(&mut self) {
        self.stop();
    }
}
