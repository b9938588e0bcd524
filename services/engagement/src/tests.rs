//! The group on an embedded log and embedded tables, its handlers called as the server calls them.

mod commands;
pub(crate) mod history;
mod queries;
mod refold;
mod refusals;
mod standstill;
mod suite;
