//! The generations of a group's tables: what operators decided about them, and what of it has come about in this process.

mod decided;
mod operations;
mod projection;

pub use decided::{Generation, GenerationError, Generations};
pub use operations::{LetterFate, Operations};
pub use projection::{MakeGroup, Projection};
