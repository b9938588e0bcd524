//! The group on an embedded log and embedded tables, its handlers called as the server calls them.

mod counted;
mod explanations;
mod feeds;
mod history;
mod jitter;
mod join;
mod mutes;
mod naive;
mod standstill;
pub(crate) mod suite;
