//! Upgrades over embedded stores. One process has them, so that no process of the release before can serve while this
//! release's tables are filled: this process fills them beside the old ones by itself, says how far it is, and promotes
//! them. Every step is decided by what `kith.ops.v1` says, so that a process killed in the middle goes on when it starts.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kith_fold::engine::Running;
use kith_fold::{BeginError, Projection};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(5);
/// A generation is promoted once it is no further behind than this, in records of its worst partition.
const PROMOTED_LAG_RECORDS: u64 = 500;

/// Until the live generation of the group is one of this release's folds.
pub async fn follow(projection: Weak<Projection>) {
    let mut said = Said { since: Instant::now(), next: Instant::now() };
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
        return Ok(Step::Done);
    }
    let Some(number) = now.newest_of(version) else {
        let number = own.begin("").await?;
        note!("{group}: this release has other tables; generation {number} is filled with them, beside the old ones");
        *said = Said { since: Instant::now(), next: Instant::now() };
        return Ok(Step::Again);
    };
    let Some(running) = own.generation(number) else { return Ok(Step::Again) };
    if !running.lag.has_caught_up() || running.lag.worst_records() > PROMOTED_LAG_RECORDS {
        said.progress(group, number, &running);
        return Ok(Step::Again);
    }
    own.operations().announce(now.promote(group, number, now_ms)?).await?;
    note!("{group}: generation {number} is filled, and serves");
    Ok(Step::Again)
}

/// What an operator who watches was told.
struct Said {
    since: Instant,
    next: Instant,
}

impl Said {
    fn progress(&mut self, group: &str, number: u32, running: &Running) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + SAY_EVERY;
        let partitions = running.lag.partitions();
        let folded: u64 = partitions.values().map(|progress| progress.next).sum();
        let total: u64 = partitions.values().map(|progress| progress.head).sum();
        let rate = folded as f64 / self.since.elapsed().as_secs_f64().max(1.0);
        let left = (total - folded.min(total)) as f64 / rate.max(1.0);
        note!(
            "{group}: generation {number}: {folded} of {total} records, {rate:.0} per second, about {left:.0} s left"
        );
    }
}
