//! The processes, their ports and their nemesis.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use kith_fold::Group;
use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_log::{EventLog as _, LogPartition, topics};
use kith_runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::founding;
use super::history::{Heads, Outcome};
use super::operation::{Ask, Op};
use super::plan::{Forgets, Plan};
use super::planted::Planted;
use super::process::Process;
use super::services::Keys;
use super::target::{Patience, Target, outcome};
use super::upgrade::Release;
use crate::simulated::{Chance, Fault, Gate, Nemesis, ProcessTables, SimulatedLog, SimulatedTables};
use crate::{digests, next};

/// 2026-01-01T00:00:00Z.
pub const EPOCH_MS: i64 = 1_767_225_600_000;
/// How wide a place in an inbox is: a history takes seconds, in which a conversation should move.
pub const PLACE: Duration = Duration::from_millis(50);
/// For how long messages may be edited: minutes do not pass here either.
pub const EDIT_WINDOW: Duration = Duration::from_millis(700);
/// How long a process is frozen before the others get its partitions.
const SESSION_TIMEOUT_MS: u64 = 300;
const PROCESS_TIMEOUT: Duration = Duration::from_secs(3);
const PATIENCE: Patience =
    Patience { attempts: 6, retry_ms: (5, 150), think_ms: (0, 60), call_timeout: Duration::from_secs(6) };
/// From one jump of a clock to the next.
const JUMP_EVERY_MS: (u64, u64) = (100, 1_500);

pub struct World {
    pub plan: Plan,
    pub planted: Option<Planted>,
    pub runtime: Runtime,
    pub log: Arc<SimulatedLog>,
    pub tables: Arc<SimulatedTables>,
    pub nemesis: Arc<Nemesis>,
    keys: Arc<Keys>,
    /// Those of this release, without planted defects.
    groups: Vec<Group>,
    started: Instant,
    slots: Vec<Slot>,
    /// A process came up.
    up: Notify,
    lost_tail: AtomicBool,
    /// The release that operators want.
    goal: Mutex<Release>,
}

struct Slot {
    /// What is installed there.
    release: Mutex<Release>,
    lives: AtomicU64,
    process: Mutex<Option<Arc<Process>>>,
    starting: Mutex<Option<AbortHandle>>,
}

impl Slot {
    fn new() -> Self {
        let release = Mutex::new(Release::This);
        Self { release, lives: AtomicU64::new(0), process: Mutex::default(), starting: Mutex::default() }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn groups_of_this(plan: &Plan) -> Result<Vec<Group>> {
    let mut groups = digests::groups(plan.push_threshold, plan.partitions)?;
    let messaging = kith_messaging::group_with_times(1, PLACE, EDIT_WINDOW);
    groups.iter_mut().filter(|group| group.name == messaging.name).for_each(|group| *group = messaging.clone());
    Ok(groups)
}

impl World {
    pub async fn make(plan: Plan, planted: Option<Planted>, keys: Arc<Keys>) -> Result<Arc<Self>> {
        let runtime = Runtime::simulated(plan.seed, EPOCH_MS);
        let nemesis = Nemesis::new(Chance::new(plan.seed, "nemesis"), plan.fault_rates());
        let log = SimulatedLog::of(runtime.clone(), Arc::clone(&nemesis), plan.partitions);
        let tables = SimulatedTables::of(runtime.clone(), Arc::clone(&nemesis), plan.tables());
        let slots = (0..plan.processes).map(|_| Slot::new()).collect();
        let (up, lost_tail, started) = (Notify::new(), AtomicBool::new(false), Instant::now());
        let goal = Mutex::new(Release::This);
        let groups = groups_of_this(&plan)?;
        let world = Arc::new(Self {
            plan,
            planted,
            runtime,
            log,
            tables,
            nemesis,
            keys,
            groups,
            started,
            slots,
            up,
            lost_tail,
            goal,
        });
        world.log.create_topics(&topics::ALL).await?;
        world.init(Release::This).await?;
        if planted.is_some_and(Planted::founds_later) {
            let ports = world.ports(0, &Gate::new(), 0);
            for group in world.groups_of(Release::Later) {
                kith_fold::engine::create(&ports, &Group { generation: 1, ..group }).await?;
            }
        }
        (0..world.slots.len()).for_each(|slot| world.start(slot));
        Ok(world)
    }

    /// As `kith init` of that release: it makes the tables of the groups that no release before it has.
    pub async fn init(&self, release: Release) -> Result<()> {
        let (life, before) = match release {
            Release::This => (founding::LIFE, Vec::new()),
            Release::Later => (founding::LIFE + 1, self.groups_of(Release::This)),
        };
        let groups = self.groups_of(release);
        let new = groups.iter().filter(|group| before.iter().all(|known| known.name != group.name));
        founding::found_all(&self.ports(0, &Gate::new(), life), new).await
    }

    /// The groups of a release.
    pub fn groups_of(&self, release: Release) -> Vec<Group> {
        let groups = match release {
            Release::This => self.groups.clone(),
            Release::Later if self.plan.later_views => next::groups(self.groups.clone()),
            Release::Later => self.groups.iter().cloned().map(next::with_rules).collect(),
        };
        match self.planted {
            Some(planted) => planted.groups(groups, release, &self.runtime),
            None => groups,
        }
    }

    /// Which release is installed in a slot from its next start on.
    pub fn install(&self, slot: usize, release: Release) {
        *locked(&self.slots[slot].release) = release;
    }

    fn installed(&self, slot: usize) -> Release {
        *locked(&self.slots[slot].release)
    }

    pub fn set_goal(&self, release: Release) {
        *locked(&self.goal) = release;
    }

    /// The release that operators want.
    pub fn goal(&self) -> Release {
        *locked(&self.goal)
    }

    /// It is installed everywhere from the next starts on.
    pub fn install_goal(&self) {
        (0..self.slots.len()).for_each(|slot| self.install(slot, self.goal()));
    }

    /// Processes of the release that operators want.
    pub fn of_goal(&self) -> Vec<Arc<Process>> {
        let up = (0..self.slots.len()).filter_map(|slot| self.process(slot));
        up.filter(|process| process.release == self.goal()).collect()
    }

    /// What a process of a slot runs on.
    pub fn ports(&self, slot: usize, gate: &Arc<Gate>, life: u64) -> Ports {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(0);
        let seed = self.plan.seed.wrapping_mul(1_000_003).wrapping_add((slot as u64) << 32 | life);
        let clock = Chance::new(self.plan.seed, &format!("clock {slot}"));
        let skew = i64::try_from(clock.between(0, self.plan.skew_ms)).unwrap_or(0);
        let runtime = Runtime::simulated(seed, EPOCH_MS + elapsed + skew);
        let tables = ProcessTables { inner: Arc::clone(&self.tables) as _, gate: Arc::clone(gate) };
        let log = self.log.of_process(slot, Arc::clone(gate));
        let ports =
            Ports { runtime, log, tables: Arc::new(tables), metrics: FoldMetrics::default(), pace: Pace::default() };
        match self.planted {
            Some(planted) => planted.ports(ports, self.installed(slot)),
            None => ports,
        }
    }

    /// Starts a process in a slot, in the background.
    pub fn start(self: &Arc<Self>, slot: usize) {
        let (world, gate) = (Arc::clone(self), Gate::new());
        let life = self.slots[slot].lives.fetch_add(1, Ordering::Relaxed);
        let starting = self.runtime.spawn(async move {
            let ports = world.ports(slot, &gate, life);
            let (release, window) = (world.installed(slot), world.plan.backfill_window_seconds);
            let groups = world.groups_of(release);
            let process = Process::start(&ports, groups, &world.keys, window, (gate, life, release)).await;
            *locked(&world.slots[slot].process) = process.map(Arc::new);
            world.up.notify_waiters();
        });
        *locked(&self.slots[slot].starting) = Some(starting.abort_handle());
    }

    pub fn kill(&self, slot: usize) {
        if let Some(starting) = locked(&self.slots[slot].starting).take() {
            starting.abort();
        }
        if let Some(process) = locked(&self.slots[slot].process).take() {
            process.kill();
        }
    }

    pub fn process(&self, slot: usize) -> Option<Arc<Process>> {
        locked(&self.slots[slot].process).clone()
    }

    /// A process of the wanted slot or, while that is down, of the next one that is up; `None`: none in time.
    pub async fn some_process(&self, wanted: usize, within: Duration) -> Option<(usize, Arc<Process>)> {
        let until = Instant::now() + within;
        loop {
            let up = self.up.notified();
            let slots = (0..self.slots.len()).map(|n| (wanted + n) % self.slots.len());
            if let Some(found) = slots.filter_map(|slot| Some((slot, self.process(slot)?))).next() {
                return Some(found);
            }
            tokio::time::timeout_at(until, up).await.ok()?;
        }
    }

    /// Clocks of processes jump, forward and back, until faults stop.
    pub async fn jump(self: Arc<Self>) {
        let chance = Chance::new(self.plan.seed, "jumps");
        if self.plan.jump_ms == 0 {
            return;
        }
        loop {
            self.runtime.sleep(chance.ms(JUMP_EVERY_MS.0, JUMP_EVERY_MS.1)).await;
            if self.nemesis.is_calm() {
                return;
            }
            let process = self.process(chance.below(self.slots.len()));
            let (ahead, by) = (chance.per_mille(500), chance.between(1, self.plan.jump_ms));
            if let Some(process) = process {
                self.nemesis.count(Fault::ClockJump);
                let by = i64::try_from(by).unwrap_or(0);
                process.runtime.jump(if ahead { by } else { -by });
            }
        }
    }

    /// Injects faults until they stop.
    pub async fn torment(self: Arc<Self>) {
        let Some((low, high)) = self.plan.strike_every_ms else { return };
        let chance = Chance::new(self.plan.seed, "strikes");
        loop {
            self.runtime.sleep(chance.ms(low, high)).await;
            if self.nemesis.is_calm() {
                return;
            }
            self.strike(&chance).await;
        }
    }

    async fn strike(self: &Arc<Self>, chance: &Chance) {
        let slot = chance.below(self.slots.len());
        match chance.below(10) {
            0 | 1 => self.crash(slot, chance).await,
            2 | 3 => self.stand_still(slot, chance),
            4 | 5 => {
                let groups = self.groups_of(Release::This);
                if let Some(group) = chance.pick(&groups) {
                    let group = Group { generation: self.some_generation(chance), ..group.clone() };
                    self.log.rebalance(&group.consumer_group());
                }
            }
            6 | 7 => {
                let all: Vec<LogPartition> = self.log.ends().into_keys().collect();
                if let Some(&partition) = chance.pick(&all) {
                    self.log.move_leader(partition, chance.ms(5, 1_400));
                }
            }
            8 if self.plan.shape.may_miss() => self.tables.take_down(chance.below(3), chance.ms(20, 1_500)),
            8 | 9 if self.plan.shape.forgets == Forgets::Server => {
                self.lost_tail.store(true, Ordering::Relaxed);
                // Always the same one: if two servers lose writes, one after the other, a mark may survive without its
                // rows.
                let victim = self.plan.seed as usize % self.plan.shape.replicas;
                self.tables.lose_tail(victim, chance.ms(50, self.plan.restart_margin_ms.min(20_000)));
            }
            _ => {}
        }
    }

    fn some_generation(&self, chance: &Chance) -> u32 {
        if self.plan.upgrades { chance.between(1, 2) as u32 } else { 1 }
    }

    async fn crash(self: &Arc<Self>, slot: usize, chance: &Chance) {
        self.nemesis.count(Fault::Crash);
        self.kill(slot);
        if self.plan.shape.forgets == Forgets::WithTheProcess {
            self.tables.lose_tail(0, chance.ms(1, 3_000));
        }
        self.runtime.sleep(chance.ms(0, 300)).await;
        self.start(slot);
    }

    /// The process freezes; after a while the others get its partitions; later it wakes and continues.
    fn stand_still(self: &Arc<Self>, slot: usize, chance: &Chance) {
        let Some(process) = self.process(slot) else { return };
        self.nemesis.count(Fault::Zombie);
        process.gate.shut();
        let (world, asleep) = (Arc::clone(self), chance.ms(10, 3_000));
        self.runtime.spawn(async move {
            let timeout = Duration::from_millis(SESSION_TIMEOUT_MS);
            world.runtime.sleep(asleep.min(timeout)).await;
            if asleep > timeout {
                world.log.evict(slot);
                world.runtime.sleep(asleep - timeout).await;
            }
            // Unless it was killed meanwhile.
            if world.process(slot).is_some_and(|now| Arc::ptr_eq(&now, &process)) {
                process.gate.open();
            }
        });
    }

    /// No faults any more.
    pub fn heal(&self) {
        self.nemesis.rest();
        self.tables.heal();
        for slot in 0..self.slots.len() {
            if let Some(process) = self.process(slot) {
                process.gate.open();
            }
        }
    }
}

#[async_trait]
impl Target for World {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn heads(&self) -> Heads {
        self.log.ends()
    }

    fn is_shaken(&self) -> bool {
        self.lost_tail.load(Ordering::Relaxed)
    }

    fn processes(&self) -> usize {
        self.slots.len()
    }

    async fn ask(&self, wanted: usize, op: &Op, ask: Ask, attempt: u32) -> (Option<(usize, u64)>, Outcome) {
        let Some((slot, process)) = self.some_process(wanted, PROCESS_TIMEOUT).await else {
            return (None, Outcome::Unknown("no process is up".to_owned()));
        };
        let by = Some((slot, process.life));
        let ask = match self.planted {
            Some(planted) => planted.ask(ask, attempt),
            None => ask,
        };
        let early = self.planted.and_then(|planted| planted.answers_early(op, &ask));
        let (op, callers) = (Arc::clone(op), process.callers.clone());
        let task = self.runtime.spawn(async move { op.call(&callers, ask).await });
        process.owns(task.abort_handle());
        if let Some(early) = early {
            return (by, Outcome::Ok(early));
        }
        let outcome = match tokio::time::timeout(PATIENCE.call_timeout, task).await {
            Ok(Ok(Err(status))) if self.planted.is_some_and(Planted::calls_unknown_a_no) => {
                Outcome::Fail(status.code(), status.message().to_owned())
            }
            Ok(Ok(answer)) => outcome(answer),
            Ok(Err(_)) => Outcome::Unknown("the process died".to_owned()),
            Err(_) => Outcome::Unknown("no answer in time".to_owned()),
        };
        (by, outcome)
    }
}
