//! Why generations are not, or not yet, as an operator wants them.

use kith_log::LogPartition;

use super::GenerationError;
use crate::{FoldError, WaitError};

/// Why a generation may not serve yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpromotable {
    #[error("generation {0} is not open in this process")]
    NotOpen(u32),
    #[error("generation {0} stands still in {1}")]
    Stopped(u32, LogPartition),
    #[error("generation {0} has not yet folded here what the log had when it was opened: wait for it")]
    Filling(u32),
    #[error("generation {0} is {1} records behind in one partition: wait for it")]
    Behind(u32, u64),
}

/// Why an operator's decision was not made.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    #[error(transparent)]
    Refused(#[from] GenerationError),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Why the generations here do not match the decisions yet.
#[derive(Debug, thiserror::Error)]
pub enum NotYet {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("generation {0} is not open")]
    NotOpen(u32),
}
