//! Both ports in memory, a function of one seed: the whole suite in one thread.

mod log;
mod tables;

pub use log::SimulatedLog;
pub use tables::SimulatedTables;
