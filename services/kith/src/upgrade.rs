//! Upgrades over embedded stores. Only one process can open them, so no process of the previous release can serve during the
//! upgrade. This process fills a new generation beside the old one, reports its progress, and promotes it. Each step depends
//! only on `kith.ops.v1`, so a killed process continues at its next start.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kith_fold::engine::Running;
use kith_fold::{DecisionError, FoldError, Generations, Projection, THE_SUITE, Unpromotable, WaitsFor};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Runs until the live generation of the group is this release's own and serves.
pub async fn follow(projection: Weak<Projection>) {
    let mut said = Said::default();
    while let Some(own) = projection.upgrade() {
        let (group, runtime) = (own.group_name(), own.ports().runtime.clone());
        let wait = match step(&own, &mut said).await {
            Ok(Step::Done) => return,
            Ok(Step::Again) => LOOK_EVERY,
            Err(error) => {
                tracing::error!(group, %error, "the tables of this release are not filled yet; trying again");
                AGAIN_AFTER
            }
        };
        drop(own);
        runtime.sleep(wait).await;
    }
}

enum Step {
    Done,
    Again,
}

async fn step(own: &Arc<Projection>, said: &mut Said) -> Result<Step, DecisionError> {
    let (group, build, now_ms) = (own.group_name(), own.build(), own.ports().runtime.now_ms());
    let now = own.operations().generations(group);
    if let Some(WaitsFor::LaterRelease(events)) = now.waits_for(build) {
        tracing::error!(
            group,
            events,
            reads = build.reads,
            "a later version of the events is open: run a later release"
        );
        return Ok(Step::Done);
    }
    if let Some(stray) = now.beside().filter(|number| !now.is_of(*number, build)) {
        // No other process is there to fill it.
        own.operations().announce(now.drop(group, stray, now_ms)?).await?;
        return Ok(Step::Again);
    }
    if now.is_of(now.live(), build) {
        if said.began && own.serving_number() != Some(now.live()) {
            return Ok(Step::Again);
        }
        if said.began {
            tracing::info!(group, generation = now.live(), "the tables of this release are filled, and serve");
        }
        return Ok(Step::Done);
    }
    said.began = true;
    match now.newest_of(build) {
        None => begin(own, &now).await?,
        Some(number) => promote(own, &now, number, said).await?,
    }
    Ok(Step::Again)
}

async fn begin(own: &Arc<Projection>, now: &Generations) -> Result<(), DecisionError> {
    // A process that was killed before it announced this number may have left tables with other columns.
    let left = own.group(now.next()).keyspace();
    own.ports().tables.drop_keyspace(&left).await.map_err(FoldError::from)?;
    let generation = own.begin("", THE_SUITE).await?;
    let group = own.group_name();
    tracing::info!(group, generation, "this release has other tables: they are filled beside the old ones");
    Ok(())
}

/// Promotes the generation once it is filled. One that served before is promoted even with a stopped partition: otherwise no
/// generation would append.
async fn promote(own: &Arc<Projection>, now: &Generations, number: u32, said: &mut Said) -> Result<(), DecisionError> {
    let served = now.all().get(&number).is_some_and(|generation| generation.served_until_ms.is_some());
    match own.promotable(number) {
        Ok(()) => {}
        Err(Unpromotable::Stopped(..)) if served => {}
        Err(why) => {
            if let Some(running) = own.generation(number) {
                said.progress(own.group_name(), &running, &why, now.paused().is_some());
            }
            return Ok(());
        }
    }
    let now_ms = own.ports().runtime.now_ms();
    Ok(own.operations().announce(now.promote(own.group_name(), number, now_ms)?).await?)
}

/// What was logged so far.
#[derive(Default)]
struct Said {
    began: bool,
    /// When progress was logged first, how many records were folded then, and when it was logged last.
    last: Option<(Instant, u64, Instant)>,
}

impl Said {
    fn progress(&mut self, group: &str, running: &Running, why: &Unpromotable, paused: bool) {
        let (folded, total) = running.lag.records();
        let (since, folded_then, last) = self.last.unwrap_or((Instant::now(), folded, Instant::now()));
        if self.last.is_some() && last.elapsed() < SAY_EVERY {
            return;
        }
        self.last = Some((since, folded_then, Instant::now()));
        let records_per_second = folded.saturating_sub(folded_then) as f64 / since.elapsed().as_secs_f64().max(1.0);
        let seconds_left = total.saturating_sub(folded) as f64 / records_per_second.max(1.0);
        let (generation, records_per_second, seconds_left) =
            (running.number(), records_per_second.round() as u64, seconds_left.round() as u64);
        let paused = if paused { "; the folds are paused: kith resume" } else { "" };
        tracing::info!(group, generation, folded, total, records_per_second, seconds_left, "filling: {why}{paused}");
    }
}
