//! The generations of a group's tables: operators' decisions, and their execution in this process.

mod decided;
mod failures;
mod operations;
mod projection;

use std::sync::Arc;

use crate::engine::{self, Ports};
use crate::{FoldError, Group};

pub use decided::{Generation, GenerationError, Generations, WaitsFor};
pub use failures::{BeginError, Unpromotable};
pub use operations::{LetterFate, Operations};
pub use projection::{MakeGroup, Projection};

/// Says whose the first generation is, where nothing has been made of the group yet: of releases with the folds of `first`.
/// Before its tables are made, so that no other release takes them for its own.
pub async fn found(ports: &Ports, operations: &Operations, first: &Group) -> Result<(), FoldError> {
    let decided = operations.generations(first.name);
    let Some(event) = decided.found(first.name, first.folds_version, ports.runtime.now_ms()) else { return Ok(()) };
    if ports.tables.has_keyspace(&first.keyspace()).await? {
        return Ok(());
    }
    operations.announce(event).await
}

/// Makes the first generation of a group of which nothing has been made, for a log and tables of one release only.
pub async fn create_first(ports: &Ports, first: &Group) -> Result<(), FoldError> {
    if first.folds_version != Generations::FIRST_FOLDS {
        let operations = Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?;
        found(ports, &operations, first).await?;
    }
    engine::create(ports, first).await
}
