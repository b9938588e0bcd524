//! Folds of identity's facts that more than one fold group keeps for itself: who an account is, who blocks
//! whom; the rules of follows and blocks, which their folds go by; and who sees whom.
//!
//! Each group folds them into its own tables, as everything that it needs of another service.

pub mod account;
pub mod block;
pub mod edge;
pub mod sight;
