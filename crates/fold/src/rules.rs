//! A service's declarations of views and nouns, all pure: which rows a record evolves, what it changes there, and its
//! effects elsewhere. Nothing here knows a store, a log or a clock.

mod applied;
mod contest;
mod effect;
mod fold;
mod record;
mod rows;
mod scope;

pub use applied::{APPLIED_IDS_PER_ROW, AppliedIds};
pub use contest::{Arbiter, Contest};
pub use effect::{Append, Effect, Put, Step, Then, Unless, Walk};
pub use fold::Fold;
pub use record::{
    AWAY_EVENTS, CONSENT_EVENTS, Cause, EVENTS, FIRST_EVENTS, GRAPH_EVENTS, GROUP_EVENTS, HANDLE_EVENTS,
    MESSAGE_EVENTS, PRIVACY_EVENTS, PROFILE_EVENTS, Record, SUGGESTION_EVENTS, TAG_EVENTS,
};
pub(crate) use record::{Decoded, made_at, needs};
pub use rows::Rows;
pub use scope::Scope;
