//! `kith init` in a simulation.

use std::time::Duration;

use anyhow::{Context, Result};
use kith_fold::Group;
use kith_fold::engine::Ports;

/// At least one of so many attempts is answered, whatever the faults.
const ATTEMPTS: usize = 40;
const AGAIN_AFTER: Duration = Duration::from_millis(30);
/// The number of the life in which `kith init` runs. No process is started so often. So no process draws the random numbers, and
/// with them the ids of records, that `kith init` draws.
pub const LIFE: u64 = 1 << 31;

/// Makes the tables of new groups.
pub async fn found_all(ports: &Ports, groups: impl Iterator<Item = &Group>) -> Result<()> {
    for group in groups {
        found(ports, group).await.with_context(|| format!("founding {}", group.name))?;
    }
    Ok(())
}

/// What is appended for a group may go unanswered; then `kith init` is run again.
async fn found(ports: &Ports, group: &Group) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if kith_fold::create_first(ports, group).await.is_ok() {
            return Ok(());
        }
        ports.runtime.sleep(AGAIN_AFTER).await;
    }
    Ok(kith_fold::create_first(ports, group).await?)
}
