//! The operators' commands.

mod client;
mod json;
mod table;

pub mod dead_letters;
pub mod doctor;
pub mod events;

#[cfg(test)]
mod tests;
