//! The generations of a group's tables: operators' decisions, and their execution in this process.

mod decided;
mod operations;
mod projection;

pub use decided::{Generation, GenerationError, Generations, WaitsFor};
pub use operations::{LetterFate, Operations};
pub use projection::{BeginError, MakeGroup, Projection};
