//! Two releases in one world: processes of a later one come and go beside those of this one, and operators lead over and back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kith_fold::{BeginError, Projection};

use super::target::Target as _;
use super::world::World;
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
        init(&world, goal).await;
        let first = chance.below(world.processes());
        let (before, after) = slots(&world, first, chance.per_mille(300));
        replace(&world, before, goal, &chance).await;
        lead_over(&world).await;
        replace(&world, after, goal, &chance).await;
    }
}

/// `kith init` of a release: it makes the tables of the groups that this one does not have.
async fn init(world: &World, release: Release) {
    let known: Vec<&str> = world.groups_of(Release::This).iter().map(|group| group.name).collect();
    for group in world.groups_of(release).iter().filter(|group| !known.contains(&group.name)) {
        while world.found(group).await.is_err() {
            world.runtime.sleep(LOOK_EVERY).await;
        }
    }
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
async fn step(own: &Arc<Projection>) -> Result<bool, BeginError> {
    let (group, version, now_ms) = (own.group_name(), own.version(), own.ports().runtime.now_ms());
    let now = own.operations().generations(group);
    if now.is_of(now.live(), version) {
        return Ok(own.serving_number() == Some(now.live()));
    }
    match now.newest_of(version) {
        None => drop(own.begin("").await?),
        Some(number) if own.promotable(number).is_ok() => {
            own.operations().announce(now.promote(group, number, now_ms)?).await?;
        }
        Some(_) => {}
    }
    Ok(false)
}

/// Faults are over: every process is of the release that is wanted, and it serves.
pub async fn settle(world: &World, within: Duration) -> Result<()> {
    tokio::time::timeout(within, lead_over(world))
        .await
        .context("the release that operators want does not come to serve")
}
