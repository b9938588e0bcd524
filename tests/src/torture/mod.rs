//! The suite under real faults: processes killed and frozen, servers killed, connections cut, slowed and silenced,
//! disks that fail, clocks that jump, records doubled and poisoned. The clients' answers are compared with the log and
//! the tables.

mod disk;
mod embedded;
mod generations;
mod letters;
mod live;
mod nemesis;
mod proxy;
mod report;

pub use disk::How;
pub use embedded::{every_write, kinds as embedded_kinds, rounds as embedded_rounds};
pub use live::{Rounds, rounds as live_rounds};
pub use report::Report;
