//! Where folds are: the watermarks of each log partition, how far they are behind the log, whether they
//! stand still, and the tokens that name places.

mod lag;
mod standstill;
mod token;
mod watermarks;

pub use lag::{Lag, Progress};
pub(crate) use standstill::Standing;
pub use standstill::Standstill;
pub use token::{MAX_TOKEN_BYTES, Token, TokenError};
pub(crate) use watermarks::{AppendedRow, Reached, ReachedRow, RestartRow, StoredMarks, WATERMARKS};
pub use watermarks::{WaitError, Watermarks};
