//! Two releases in one world: processes of a later one come and go beside those of this one, and operators lead over and back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kith_fold::{DecisionError, Projection, THE_SUITE};
use kith_proto::ops::v1::EventsOpened;
use kith_proto::ops::v1::ops_event::Event as Ops;

use super::planted::Planted;
use super::target::Target as _;
use super::world::World;
use crate::next;
use crate::simulated::{Chance, Fault};

const LOOK_EVERY: Duration = Duration::from_millis(30);

/// A build of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The sources as they are.
    This,
    /// With the changes of [`crate::next`]: of two groups, and a new one.
    Later,
}

/// From release to release, while faults go on.
pub async fn lead(world: Arc<World>) {
    if !world.plan.upgrades {
        return;
    }
    let chance = Chance::new(world.plan.seed, "upgrades");
    let goals = [Release::Later, Release::This, Release::Later];
    for goal in goals.into_iter().take(chance.between(1, 3) as usize) {
        world.runtime.sleep(chance.ms(0, 1_200)).await;
        world.set_goal(goal);
        while world.init(goal).await.is_err() {
            world.runtime.sleep(LOOK_EVERY).await;
        }
        let first = chance.below(world.processes());
        let (before, after) = slots(&world, first, chance.per_mille(300));
        replace(&world, before, goal, &chance).await;
        if goal == Release::Later && world.planted.is_some_and(Planted::opens_early) {
            open_early(&world).await;
        }
        lead_over(&world).await;
        replace(&world, after, goal, &chance).await;
    }
    if world.goal() == Release::Later && chance.per_mille(600) {
        world.runtime.sleep(chance.ms(0, 400)).await;
        open(&world).await;
        world.nemesis.count(Fault::Opened);
        come_back(&world, &chance).await;
    }
}

/// There is no way back from here: the older release's generations go, and later events are appended.
async fn open(world: &World) {
    while !is_opened(world).await.unwrap_or(false) {
        world.runtime.sleep(LOOK_EVERY).await;
    }
}

/// One look, as `kith drop-generation` and `kith open-events`.
async fn is_opened(world: &World) -> Result<bool, DecisionError> {
    let processes = world.of_goal();
    let Some(process) = processes.first() else { return Ok(false) };
    for own in process.all() {
        let (group, now_ms) = (own.group_name(), own.ports().runtime.now_ms());
        let now = own.operations().generations(group);
        if let Some(number) = now.foreign_to(own.build().folds_version) {
            own.operations().announce(now.drop(group, number, now_ms)?).await?;
            return Ok(false);
        }
    }
    let all = process.all();
    let builds: Vec<_> = all.iter().map(|own| (own.group_name(), own.build())).collect();
    let Some(operations) = all.first().map(|own| own.operations()) else { return Ok(false) };
    if operations.events() < next::EVENTS {
        operations.open_events(next::EVENTS, &builds, THE_SUITE).await?;
    }
    Ok(operations.events() == next::EVENTS)
}

/// The decision alone, whatever there is: a planted defect.
async fn open_early(world: &World) {
    let Some(own) = world.of_goal().iter().flat_map(|process| process.all()).next() else { return };
    let opened = EventsOpened { version: next::EVENTS, known_until: u64::MAX, ..EventsOpened::default() };
    // What is not made is not planted in this history.
    let _ = own.operations().announce(Ops::EventsOpened(opened)).await;
}

/// Somebody starts the older release once more, by mistake: it folds and answers nothing.
async fn come_back(world: &Arc<World>, chance: &Chance) {
    let slot = chance.below(world.processes());
    world.runtime.sleep(chance.ms(0, 400)).await;
    replace(world, vec![slot], Release::This, chance).await;
    world.runtime.sleep(chance.ms(0, 800)).await;
    replace(world, vec![slot], Release::Later, chance).await;
}

/// Those that are replaced before the decisions, and those after: at least one before.
fn slots(world: &World, first: usize, all_at_once: bool) -> (Vec<usize>, Vec<usize>) {
    let others = (0..world.processes()).filter(|slot| *slot != first);
    if all_at_once {
        (std::iter::once(first).chain(others).collect(), Vec::new())
    } else {
        (vec![first], others.collect())
    }
}

async fn replace(world: &Arc<World>, slots: Vec<usize>, by: Release, chance: &Chance) {
    for slot in slots {
        world.nemesis.count(Fault::Replaced);
        world.install(slot, by);
        world.kill(slot);
        world.start(slot);
        world.runtime.sleep(chance.ms(0, 400)).await;
    }
}

/// What operators do until the generation that serves is of the release that is wanted: as docs/upgrades.md says. Each look
/// rests on the decisions in the log alone, so it goes on after any death, and after an append of which nothing is known.
async fn lead_over(world: &World) {
    while !look(world).await {
        world.runtime.sleep(LOOK_EVERY).await;
    }
}

/// One look at every process of the release that is wanted: true when there is one, and all of them serve every group.
async fn look(world: &World) -> bool {
    let processes = world.of_goal();
    let mut serve = !processes.is_empty();
    for projection in processes.iter().flat_map(|process| process.all()) {
        // What could not be decided is decided at the next look.
        serve &= step(&projection).await.unwrap_or(false);
    }
    serve
}

/// One look at one group. Whether this process's release serves there.
async fn step(own: &Arc<Projection>) -> Result<bool, DecisionError> {
    let (group, build, now_ms) = (own.group_name(), own.build(), own.ports().runtime.now_ms());
    let now = own.operations().generations(group);
    if now.is_of(now.live(), build) {
        return Ok(own.serving_number() == Some(now.live()));
    }
    match now.newest_of(build) {
        None => drop(own.begin("", THE_SUITE).await?),
        Some(number) if own.promotable(number).is_ok() => {
            own.operations().announce(now.promote(group, number, now_ms)?).await?;
        }
        Some(_) => {}
    }
    Ok(false)
}

/// Faults are over: every process is of the release that is wanted, and it serves. The end of the faults may have cut operators off in
/// `kith init`, without which a new group never starts: they finish it first.
pub async fn settle(world: &World, within: Duration) -> Result<()> {
    if world.plan.upgrades {
        world.init(world.goal()).await?;
    }
    tokio::time::timeout(within, lead_over(world))
        .await
        .context("the release that operators want does not come to serve")
}
