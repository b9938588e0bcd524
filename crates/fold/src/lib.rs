//! The fold engine: from the log to tables, exactly once by construction.
//!
//! A service declares its [`Fold`]s; [`engine::start`] joins the consumer group, gives each log partition a worker, and
//! keeps these rules (ARCHITECTURE.md, invariants 2 to 5):
//!
//! 1. A record evolves one table partition in each fold that it concerns. What changed there is written together with
//!    the mark, in one batch. A record at or below the mark is not applied again.
//! 2. What a record causes elsewhere are [`Effect`]s: absolute values at a position of the same log partition. They are
//!    emitted again on every replay, also for records at or below the mark.
//! 3. The watermark moves when all of that is durable.
//! 4. Appends are made only after the group's folds have reached the heads that stood when the worker started, and each
//!    is preceded by a look whether what it would say is in the tables already.
//!
//! Nothing here knows a service's rules; folds are pure and know neither clock nor store.

mod alone;
mod applied;
mod batch;
mod cache;
mod calls;
mod dead_letter;
mod duty;
pub mod engine;
mod fold;
mod generations;
mod group;
mod lag;
mod memory;
#[cfg(test)]
mod notes;
mod operations;
mod projection;
mod publish;
mod record;
mod restart_history;
mod row_memory;
mod rows;
mod side_by_side;
mod spread;
mod state;
mod steps;
mod token;
mod trace;
pub mod verify;
mod watermark;
mod worker;

pub use applied::{APPLIED_IDS_PER_ROW, AppliedIds};
pub use fold::{Append, Effect, Fold, Home, Put, Step, Then, Unless, Walk};
pub use generations::{Generation, GenerationError, Generations};
pub use group::Group;
pub use lag::{Lag, Progress};
pub use operations::{LetterFate, Operations};
pub use projection::{MakeGroup, Projection};
pub use publish::{Cause, Publisher};
pub use record::Record;
pub use rows::Rows;
pub use state::{Found, State};
pub use token::{MAX_TOKEN_BYTES, Token, TokenError};
pub use watermark::{WaitError, Watermarks};

/// Why a fold cannot go on for now, or at all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Store(#[from] kith_tables::StoreError),
    #[error(transparent)]
    Log(#[from] kith_log::LogError),
    #[error(transparent)]
    Append(#[from] kith_log::AppendError),
    /// The partition stops until an operator or an upgrade helps: an unknown event type, a fold that reads a row it did
    /// not ask for.
    #[error("stopped: {0}")]
    Stopped(String),
    /// The same, for a log that has other records than the tables, or none, from `from` on.
    #[error(
        "stopped: the log lost its tail, {partition} differs from its tables at offset {from}: fill them anew from what \
         the log has, by a rebuild and a promotion"
    )]
    LostTail { partition: kith_log::LogPartition, from: kith_log::Offset },
}

impl FoldError {
    /// Whether trying again can help: a server that is down may come back; a row too large stays too large, and tables
    /// or a log that are not what they were are for an operator.
    pub(crate) fn may_pass(&self) -> bool {
        use kith_log::LogError::{Closed, Unavailable};
        match self {
            Self::Store(kith_tables::StoreError::Unavailable(_))
            | Self::Log(Unavailable(_) | Closed)
            | Self::Append(_) => true,
            // With the process, which is about to start anew.
            _ if self.needs_restart() => true,
            Self::Store(_) | Self::Log(_) | Self::Stopped(_) | Self::LostTail { .. } => false,
        }
    }

    /// Whether nothing more can be written until the process starts anew, and reads the disk back.
    pub(crate) fn needs_restart(&self) -> bool {
        use kith_log::LogError;
        use kith_tables::StoreError;
        matches!(self, Self::Store(StoreError::Broken(_)) | Self::Log(LogError::Broken(_)))
    }
}
