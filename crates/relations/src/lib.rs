//! Folds of identity's facts that more than one fold group keeps for itself: who an account is, who blocks
//! whom; and who sees whom.
//!
//! Each group folds them into its own tables, as everything that it needs of another service.

pub mod account;
pub mod block;
pub mod sight;
