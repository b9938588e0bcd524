//! The operators' commands: clients of `kith.ops.v1`.

mod client;
pub mod projections;
mod table;
