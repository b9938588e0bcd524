//! The suite in one process over the embedded log and tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, topics};
use kith_runtime::Runtime;
use kith_tables::embedded::EmbeddedTables;
use kith_tests::digests;
use kith_tests::suite::Suite;

const STOP_WITHIN: Duration = Duration::from_secs(20);
const NOBODY_IS_PULLED: u64 = 10_000;
/// Half of 120 people have more friends than this among them.
const HALF_ARE_PULLED: u64 = 6;

fn folder(suite: &mut Suite, name: &str) -> PathBuf {
    suite.process("suite").unwrap().folder().join(".kith").join(name)
}

pub async fn stop(suite: &mut Suite) {
    suite.process("suite").unwrap().stop(STOP_WITHIN).await.unwrap();
}

/// Of all topics but the one that is about attempts and starts.
pub async fn heads(suite: &mut Suite) -> BTreeMap<&'static str, Vec<u64>> {
    let log = EmbeddedLog::open(&folder(suite, "log"), digests::PARTITIONS, Runtime::system()).unwrap();
    let mut heads = BTreeMap::new();
    for topic in topics::ALL.into_iter().filter(|topic| *topic != topics::SECURITY) {
        heads.insert(topic.name, log.heads(topic).await.unwrap());
    }
    heads
}

async fn digests(suite: &mut Suite, push_threshold: u64) -> BTreeMap<String, (u64, [u8; 32])> {
    let runtime = Runtime::system();
    let log = EmbeddedLog::open(&folder(suite, "log"), digests::PARTITIONS, runtime.clone()).unwrap();
    let tables = EmbeddedTables::open(folder(suite, "tables"), runtime.clone()).unwrap();
    let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default(), pace: Pace::default() };
    digests::of(&ports, push_threshold).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_finds_no_difference_and_run_again_adds_nothing() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(60).await.unwrap();
    stop(&mut suite).await;
    let before = heads(&mut suite).await;
    suite.process("suite").unwrap().restart().await.unwrap();
    suite.demo(60).await.unwrap();
    stop(&mut suite).await;
    assert_eq!(before, heads(&mut suite).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_authors_are_pulled_and_no_feed_differs() {
    let suite = Suite::embedded(HALF_ARE_PULLED).await.unwrap();
    suite.demo(120).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_deleted_come_back_the_same() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(60).await.unwrap();
    stop(&mut suite).await;
    let before = digests(&mut suite, NOBODY_IS_PULLED).await;
    std::fs::remove_dir_all(folder(&mut suite, "tables")).unwrap();
    suite.process("suite").unwrap().restart().await.unwrap();
    // The demo, run again, waits for its tokens and compares every feed.
    suite.demo(60).await.unwrap();
    stop(&mut suite).await;
    assert!(before.values().any(|(rows, _)| *rows > 1_000), "{before:?}");
    assert_eq!(before, digests(&mut suite, NOBODY_IS_PULLED).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_the_demo_ends_without_a_difference() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    let demo = suite.start_demo(120).await.unwrap();
    for folded in [500, 1_500, 2_500, 4_000] {
        suite.folded("suite", folded).await.unwrap();
        let process = suite.process("suite").unwrap();
        process.kill_9().unwrap();
        process.restart().await.unwrap();
    }
    demo.passes().await.unwrap();
}
