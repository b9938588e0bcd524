//! What more than one fold group keeps for itself: the folds of identity's facts (who an account is, who blocks whom, who mutes whom); the
//! rules of follows, posts, shares and reactions, which their folds go by; and who sees whom.
//!
//! Each group folds them into its own tables, as everything that it needs of another service.

pub mod account;
pub mod away;
pub mod block;
pub mod comment;
pub mod edge;
pub mod follow;
pub mod hold;
pub mod mention;
pub mod mute;
pub mod origin;
pub mod post;
pub mod reaction;
pub mod revision;
pub mod share;
pub mod sight;

use kith_log::{Offset, RecordId};

/// An offset as a column holds it. Offsets come from our own log, where none is too large; a hostile one is cut.
pub fn signed(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// Whether all of these are ids. What an event names otherwise can be in no key: the event concerns nobody.
pub fn are_ids(ids: &[&str]) -> bool {
    ids.iter().all(|id| RecordId::parse(id).is_some())
}
