//! The operators' commands: clients of `kith.ops.v1`, and `kith doctor`, which checks the machine and the servers.

pub mod audit;
pub mod client;
pub mod dead_letters;
pub mod doctor;
pub mod events;
pub mod json;
pub mod projections;
mod table;

#[cfg(test)]
mod tests;
