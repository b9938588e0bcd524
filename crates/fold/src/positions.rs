//! Positions of folds: the watermark per log partition, the lag, standstill, and the tokens that name positions.

mod lag;
mod standstill;
mod token;
mod watermarks;

pub(crate) use lag::Fill;
pub use lag::{Lag, Progress};
pub(crate) use standstill::Standing;
pub use standstill::Standstill;
pub use token::Token;
pub(crate) use watermarks::{AppendedRow, Reached, ReachedRow, RestartRow, StoredMarks, WATERMARKS};
pub use watermarks::{WaitError, Watermarks};
