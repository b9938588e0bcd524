//! Upgrades over embedded stores. One process has them, so that no process of the release before can serve while this
//! release's tables are filled: this process fills them beside the old ones by itself, reports its progress, and promotes
//! them. Every step follows from `kith.ops.v1`, so that a process killed in the middle goes on when it starts.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kith_fold::engine::Running;
use kith_fold::{BeginError, FoldError, Generations, Projection, Unpromotable};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Until the live generation of the group is one of this release's folds, and serves.
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

async fn step(own: &Arc<Projection>, said: &mut Said) -> Result<Step, BeginError> {
    let (group, version, now_ms) = (own.group_name(), own.version(), own.ports().runtime.now_ms());
    let now = own.operations().generations(group);
    if let Some(stray) = now.beside().filter(|number| !now.is_of(*number, version)) {
        // No other process is there to fill it.
        own.operations().announce(now.drop(group, stray, now_ms)?).await?;
        return Ok(Step::Again);
    }
    if now.is_of(now.live(), version) {
        if said.began && own.serving_number() != Some(now.live()) {
            return Ok(Step::Again);
        }
        if said.began {
            tracing::info!(group, generation = now.live(), "the tables of this release are filled, and serve");
        }
        return Ok(Step::Done);
    }
    said.began = true;
    match now.newest_of(version) {
        None => begin(own, &now).await?,
        Some(number) => promote(own, &now, number, said).await?,
    }
    Ok(Step::Again)
}

async fn begin(own: &Arc<Projection>, now: &Generations) -> Result<(), BeginError> {
    // A process that was killed before it announced the number may have left other tables there.
    let left = own.group(now.next()).keyspace();
    own.ports().tables.drop_keyspace(&left).await.map_err(FoldError::from)?;
    let generation = own.begin("").await?;
    let group = own.group_name();
    tracing::info!(group, generation, "this release has other tables: they are filled beside the old ones");
    Ok(())
}

/// Promotes the generation once it is filled. One that served before goes on even where a partition stands still: nothing else
/// would append.
async fn promote(own: &Arc<Projection>, now: &Generations, number: u32, said: &mut Said) -> Result<(), BeginError> {
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

/// What an operator who watches was told.
#[derive(Default)]
struct Said {
    began: bool,
    /// When it was said last, and how many records were folded when it was said first.
    last: Option<(Instant, u64, Instant)>,
}

impl Said {
    fn progress(&mut self, group: &str, running: &Running, why: &Unpromotable, paused: bool) {
        let partitions = running.lag.partitions();
        let folded: u64 = partitions.values().map(|progress| progress.next).sum();
        let total: u64 = partitions.values().map(|progress| progress.head).sum();
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
