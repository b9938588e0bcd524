//! The deterministic simulation: processes of the whole suite in one thread over simulated ports, clients that record
//! answers, a nemesis, and checkers. Everything is a function of the seed. docs/simulation.md says more.

mod board;
mod callers;
mod checks;
mod client;
mod founding;
mod history;
mod hot;
mod model;
mod nouns;
mod operation;
mod people;
mod plain;
mod plan;
pub mod planted;
mod process;
mod real;
mod services;
mod settled;
mod sweep;
mod target;
mod timeline;
mod upgrade;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use kith_log::Record;
use tokio::time::Instant;

pub use checks::Finding;
pub use plan::{Draws, Forgets, Mode, Plan};
pub use planted::Planted;
pub use real::{Lasts, Workload};
pub use services::Keys;
pub use sweep::{Caught, Sweep, Total, caught, command, mode_of, one, sweep};

use crate::simulated::Fault;
use client::{Client, Shared};
use history::Call;
use model::Model;
use process::Process;
use target::Target as _;
use world::World;

const HISTORY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The result of one seed.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub faults: BTreeMap<Fault, u64>,
    /// Commands that were answered OK, and checked.
    pub acknowledged: usize,
    /// Reads whose answers were checked, also those of the end.
    pub reads: usize,
    pub unknown: usize,
    /// Who asked for commands, under which request ids.
    pub asked: Vec<(String, String)>,
    /// The log at the end.
    pub log: Vec<Record>,
}

/// Runs one history, from a thread that is in no tokio runtime.
pub fn run(plan: Plan, planted: Option<Planted>, keys: &Arc<Keys>) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let plan = match planted {
        Some(planted) => planted.plan(plan),
        None => plan,
    };
    runtime.block_on(async {
        // On simulated time: a history that does not end is a failure like another.
        let history = history_of(plan, planted, Arc::clone(keys));
        tokio::time::timeout(HISTORY_TIMEOUT, history).await.context("the history does not end")?
    })
}

async fn history_of(plan: Plan, planted: Option<Planted>, keys: Arc<Keys>) -> Result<Report> {
    let world = World::make(plan.clone(), planted, keys).await?;
    let shared = Arc::new(Shared::default());
    let client = |number| Client::new(number, Arc::clone(&world) as _, Arc::clone(&shared)).run();
    let torment = world.runtime.spawn(Arc::clone(&world).torment());
    let jumps = world.runtime.spawn(Arc::clone(&world).jump());
    let operators = world.runtime.spawn(upgrade::lead(Arc::clone(&world)));
    futures::future::join_all((0..plan.clients).map(client)).await;
    world.nemesis.rest();
    torment.abort();
    jumps.abort();
    operators.abort();
    let mut report = Report { faults: world.nemesis.faults(), ..Report::default() };
    let history = shared.take_history();
    let process = match plan.mode {
        Mode::Safety => restarted(&world).await,
        Mode::Liveness => healed(&world).await,
    };
    match process {
        Ok(process) => at_the_end(&world, &process, &history, &mut report).await?,
        Err(behind) => report.findings.push(Finding::new("lag", format!("{behind:#}"))),
    }
    report.log = world.log.dump();
    let commands = history.iter().filter(|call| !call.op.is_read());
    report.asked = commands.map(|call| (call.actor.clone(), call.request_id.clone())).collect();
    for slot in 0..world.processes() {
        world.kill(slot);
    }
    Ok(report)
}

/// All processes die; one starts, without further faults.
async fn restarted(world: &Arc<World>) -> Result<Arc<Process>> {
    world.heal();
    for slot in 0..world.processes() {
        world.kill(slot);
    }
    world.install_goal();
    world.start(0);
    caught_up(world).await
}

/// The running processes continue by themselves.
async fn healed(world: &Arc<World>) -> Result<Arc<Process>> {
    world.heal();
    world.install_goal();
    for slot in 0..world.processes() {
        let is_as_wanted = |process: Arc<Process>| process.release == world.goal();
        if !world.process(slot).is_some_and(is_as_wanted) {
            world.kill(slot);
            world.start(slot);
        }
    }
    caught_up(world).await
}

/// Waits until the lag of every process is zero, and gives one.
async fn caught_up(world: &Arc<World>) -> Result<Arc<Process>> {
    let until = Instant::now() + Plan::HEALED_WITHIN;
    upgrade::settle(world, Plan::HEALED_WITHIN).await?;
    let (_, first) = world.some_process(0, Plan::HEALED_WITHIN).await.context("no process comes up")?;
    // Late copies and late writes have come by then.
    world.runtime.sleep(std::time::Duration::from_secs(4)).await;
    loop {
        let heads = world.log.ends();
        let all = (0..world.processes()).filter_map(|slot| world.process(slot));
        let behind: Vec<String> = all.flat_map(|process| process.behind(&heads)).collect();
        if behind.is_empty() {
            return Ok(first);
        }
        anyhow::ensure!(Instant::now() < until, "{behind:?}");
        world.runtime.sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn at_the_end(world: &World, process: &Arc<Process>, history: &[Call], report: &mut Report) -> Result<()> {
    let mut model = Model::of(&world.log.dump(), world.plan.partitions, world::EDIT_WINDOW);
    model.remember(history);
    let last = settled::read_all(&process.callers, &model, 1).await;
    report.findings.extend(checks::told(&model, history, &last));
    report.findings.extend(checks::rows(&world.tables, &process.groups(), &model));
    report.findings.extend(checks::rebuild(world, process.groups(), &process.states()).await?);
    let reads = history.iter().filter(|call| call.op.is_read()).chain(&last);
    report.reads = reads.filter(|call| call.reply().is_some()).count();
    report.acknowledged = history.iter().filter(|call| !call.op.is_read() && call.reply().is_some()).count();
    report.unknown = history.iter().filter(|call| matches!(call.outcome, history::Outcome::Unknown(_))).count();
    Ok(())
}
