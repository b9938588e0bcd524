//! One thread, one seed, ports in memory: the same log, byte for byte.

use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_log::{EventLog, Record, topics};
use kith_runtime::Runtime;
use kith_tests::digests;
use kith_tests::simulated::{SimulatedLog, SimulatedTables};

mod slice;

const PARTITIONS: u16 = 4;
/// 2026-01-01T00:00:00Z.
const EPOCH_MS: i64 = 1_767_225_600_000;

async fn run(seed: u64) -> Vec<Record> {
    let runtime = Runtime::simulated(seed, EPOCH_MS);
    let log = SimulatedLog::new(runtime.clone(), PARTITIONS);
    let tables = SimulatedTables::new();
    let ports = Ports { runtime, log: log.clone(), tables, metrics: FoldMetrics::default(), pace: Pace::default() };
    log.create_topics(&topics::ALL).await.unwrap();
    let projections = digests::start(&ports, 10_000).await.unwrap();
    slice::play(&ports, &projections).await;
    log.dump()
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_runs_of_one_seed_write_the_same_log() {
    let (one, same, other) = (run(7).await, run(7).await, run(8).await);
    assert!(one.len() > 30, "only {} records", one.len());
    assert_eq!(one, same);
    assert_ne!(one, other);
}
