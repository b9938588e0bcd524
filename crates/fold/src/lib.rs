//! The fold engine: from the log to tables, exactly once by construction.
//!
//! A service declares its [`Fold`]s; [`engine::start`] joins the consumer group, gives each log partition a worker, and
//! keeps these rules (ARCHITECTURE.md, invariants 2 to 5):
//!
//! 1. A record evolves one table partition per fold that it concerns. One batch writes the changes there and the mark.
//!    A record at or below the mark is not applied again.
//! 2. Its writes elsewhere are [`Effect`]s: absolute values at a position of the same log partition. They are emitted
//!    again on every replay, also for records at or below the mark.
//! 3. The watermark moves when all of that is durable.
//! 4. Appends are made only after the group's folds have reached the heads as they were when the worker started, and
//!    only if the tables do not show yet what the append would cause.
//!
//! Nothing here knows a service's rules; folds are pure and know neither clock nor store.

mod cache;
mod dead_letter;
pub mod engine;
mod error;
mod generations;
mod group;
mod metrics;
#[cfg(test)]
mod notes;
mod positions;
mod publish;
mod rules;
mod state;
mod trace;
pub mod verify;

pub use error::FoldError;
pub use generations::{
    Build, DecisionError, Estimate, Generation, GenerationError, Generations, LetterFate, MakeGroup, Measured,
    Operations, Projection, Rate, THE_SUITE, Unpromotable, WaitsFor, create_first, found, open_first_events,
};
pub use group::Group;
pub use positions::{Lag, Progress, Standstill, Token, WaitError, Watermarks};
pub use publish::{DependsOn, Publisher};
pub use rules::{
    APPLIED_IDS_PER_ROW, AWAY_EVENTS, Append, AppliedIds, Arbiter, CONSENT_EVENTS, Cause, Contest, EVENTS, Effect,
    FIRST_EVENTS, Fold, GRAPH_EVENTS, GROUP_EVENTS, HANDLE_EVENTS, MESSAGE_EVENTS, PRIVACY_EVENTS, PROFILE_EVENTS, Put,
    Record, Rows, SUGGESTION_EVENTS, Scope, Step, TAG_EVENTS, Then, Unless, Walk,
};
pub use state::{Found, State};
