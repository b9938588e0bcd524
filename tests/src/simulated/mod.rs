//! Both ports in memory, a function of one seed: the whole suite in one thread, with the nemesis between the suite and
//! the ports.

mod chance;
mod gate;
mod group;
mod log;
mod nemesis;
mod process;
mod replica;
mod tables;

pub use chance::Chance;
pub use gate::Gate;
pub use log::SimulatedLog;
pub use nemesis::{Fault, Nemesis, Rates};
pub use process::ProcessTables;
pub use tables::{Shape, SimulatedTables};
