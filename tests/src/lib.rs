//! The harness of the whole suite's tests: real servers and processes, started, killed and awaited.

mod guard;
mod jars;

pub mod cassandra_server;
pub mod digests;
pub mod http;
pub mod kafka_server;
pub mod kith;
pub mod next;
pub mod process;
pub mod records;
pub mod secured;
pub mod server;
pub mod servers;
pub mod simulated;
pub mod simulation;
pub mod suite;
pub mod torture;
pub mod wait;
pub mod wire;
