//! The generations of a group's tables: operators' decisions, and their execution in this process.

mod decided;
mod estimate;
mod failures;
mod operations;
mod projection;

use std::sync::Arc;

use crate::engine::{self, Ports};
use crate::rules::FIRST_EVENTS;
use crate::{FoldError, Group};

pub use decided::{Build, Generation, GenerationError, Generations, WaitsFor};
pub use estimate::{Estimate, Measured, Rate};
pub use failures::{DecisionError, Unpromotable};
pub use operations::{LetterFate, Operations, THE_SUITE};
pub use projection::{MakeGroup, Projection};

/// Announces that the first generation belongs to releases with the folds of `first`, if nothing of the group exists yet. Call
/// it before its tables are made, so that no other release takes them for its own.
pub async fn found(ports: &Ports, operations: &Operations, first: &Group) -> Result<(), FoldError> {
    let decided = operations.generations(first.name);
    let Some(event) = decided.found(first.name, first.folds_version, ports.runtime.now_ms()) else { return Ok(()) };
    if ports.tables.has_keyspace(&first.keyspace()).await? {
        return Ok(());
    }
    operations.announce(event).await
}

/// Opens the version of the events that all these groups read, where nothing was decided yet and none of them has tables: no
/// release came before this one that could not read it, so operators need not say so. Call it before [`found`].
pub async fn open_first_events(ports: &Ports, operations: &Operations, firsts: &[Group]) -> Result<(), FoldError> {
    let reads = firsts.iter().map(|first| first.reads).min().unwrap_or(FIRST_EVENTS);
    if reads == FIRST_EVENTS || !operations.is_undecided() {
        return Ok(());
    }
    for first in firsts {
        if ports.tables.has_keyspace(&first.keyspace()).await? {
            return Ok(());
        }
    }
    operations.announce_events(reads).await
}

/// Creates the first generation of a new group, for a log and tables that only one release uses.
pub async fn create_first(ports: &Ports, first: &Group) -> Result<(), FoldError> {
    if (first.folds_version, first.reads) != (Generations::FIRST_FOLDS, FIRST_EVENTS) {
        let operations = Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?;
        open_first_events(ports, &operations, std::slice::from_ref(first)).await?;
        found(ports, &operations, first).await?;
    }
    engine::create(ports, first).await
}
