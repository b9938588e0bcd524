//! One thread, one seed, ports in memory: the same log, byte for byte.

use std::sync::Arc;

use kith_fold::engine::{self, FoldMetrics, Ports};
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
    let ports = Ports { runtime, log: log.clone(), tables, metrics: FoldMetrics::default() };
    log.create_topics(&topics::ALL).await.unwrap();
    let mut running = Vec::new();
    for group in digests::groups(10_000, PARTITIONS) {
        engine::create(&ports, &group).await.unwrap();
        running.push(Arc::new(engine::start(&ports, group, true).await.unwrap()));
    }
    slice::play(&ports, &running).await;
    log.dump()
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_runs_of_one_seed_write_the_same_log() {
    let (one, same, other) = (run(7).await, run(7).await, run(8).await);
    assert!(one.len() > 30, "only {} records", one.len());
    assert_eq!(one, same);
    assert_ne!(one, other);
}
