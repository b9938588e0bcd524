//! The suite in five processes over a real Kafka and a real Cassandra.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_proto::feeds::v1::WaitForRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_runtime::Runtime;
use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tests::kith::{ADMIN_PORT, PORT};
use kith_tests::server::Server;
use kith_tests::suite::{self, Suite};
use kith_tests::{cassandra_server, digests, http, kafka_server, servers, wait};
use tonic::Code;

const NOBODY_IS_PULLED: u64 = 10_000;
/// Three topics of 16 partitions, shared by two.
const HALF_OF_IDENTITY: usize = 24;
const STOP_WITHIN: Duration = Duration::from_secs(30);
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(15);
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

fn tables(server: &Server) -> Arc<dyn TableStore> {
    CqlTables::connect(CqlSettings::new(vec![server.socket(cassandra_server::PORT).to_string()]))
}

async fn drop_keyspaces(server: &Server) {
    let tables = tables(server);
    for group in digests::groups(NOBODY_IS_PULLED, digests::PARTITIONS).unwrap() {
        tables.drop_keyspace(&group.keyspace()).await.unwrap();
    }
}

async fn digests_of(kafka: &Server, cassandra: &Server) -> BTreeMap<String, (u64, [u8; 32])> {
    let runtime = Runtime::system();
    let log = kafka_server::log(kafka, digests::PARTITIONS);
    let ports = Ports {
        runtime,
        log: log.unwrap(),
        tables: tables(cassandra),
        metrics: FoldMetrics::default(),
        pace: Pace::default(),
    };
    digests::of(&ports, NOBODY_IS_PULLED).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_finds_no_difference_and_dropped_keyspaces_come_back_the_same() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    suite.demo(60).await.unwrap();
    suite.stop_all(STOP_WITHIN).await.unwrap();
    let before = digests_of(&kafka, &cassandra).await;
    drop_keyspaces(&cassandra).await;
    suite::init(&kafka, &cassandra, keys.path()).await.unwrap();
    suite.restart_all().await.unwrap();
    suite.demo(60).await.unwrap();
    assert!(before.values().any(|(rows, _)| *rows > 1_000), "{before:?}");
    assert_eq!(before, digests_of(&kafka, &cassandra).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_killed_in_the_middle_the_demo_ends_without_a_difference() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    // The projector in its two roles, apart; the demo's calls go to `projector`.
    for (name, role) in [("projector", "serve"), ("projector-fold", "fold")] {
        let settings = [("services", "projector"), ("projector_role", role)];
        suite.add(name, &settings, &kafka, &cassandra, keys.path()).await.unwrap();
    }
    let demo = suite.start_demo(120).await.unwrap();
    for (service, folded) in [
        ("identity", 200),
        ("projector-fold", 1_000),
        ("projector", 0),
        ("posts", 1_500),
        ("engagement", 2_000),
        ("messaging", 1_500),
    ] {
        suite.folded(service, folded).await.unwrap();
        let process = suite.process(service).unwrap();
        process.kill_9().unwrap();
        process.restart().await.unwrap();
    }
    demo.passes().await.unwrap();
    assert_eq!(feeds_answer(&mut suite, "projector").await, Code::Unauthenticated, "serves, and wants to know whom");
    assert_eq!(feeds_answer(&mut suite, "projector-fold").await, Code::Unimplemented);
    assert!(!folds_feeds(&mut suite, "projector").await && folds_feeds(&mut suite, "projector-fold").await);
}

/// What a process answers to a caller of feeds whom it does not know.
async fn feeds_answer(suite: &mut Suite, process: &str) -> Code {
    let address = format!("http://{}", suite.process(process).unwrap().socket(PORT));
    let mut feeds = FeedServiceClient::connect(address).await.unwrap();
    feeds.wait_for(WaitForRequest::default()).await.unwrap_err().code()
}

async fn folds_feeds(suite: &mut Suite, process: &str) -> bool {
    let metrics = http::get(suite.process(process).unwrap().socket(ADMIN_PORT), "/metrics").await.unwrap();
    metrics.body.contains("kith_fold_records_total{group=\"kith.feeds.g1\"")
}

/// Waits until the process folds exactly so many partitions.
async fn folds(suite: &mut Suite, process: &str, partitions: usize) {
    let socket = suite.process(process).unwrap().socket(ADMIN_PORT);
    let line = format!("kith_fold_partitions{{group=\"kith.identity.g1\"}} {partitions}");
    wait::until(&format!("{process} folds {partitions} partitions"), HANDED_OVER_WITHIN, async || {
        Ok(http::get(socket, "/metrics").await?.body.lines().any(|found| found == line).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_partitions_and_one_takes_over_from_the_other() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    suite.add("identity-2", &[("services", "identity")], &kafka, &cassandra, keys.path()).await.unwrap();
    for replica in ["identity", "identity-2"] {
        folds(&mut suite, replica, HALF_OF_IDENTITY).await;
    }
    let demo = suite.start_demo(60).await.unwrap();
    for replica in ["identity", "identity-2"] {
        suite.folded(replica, 50).await.unwrap();
    }
    // The demo's calls go to `identity`: the claims of what `identity-2` folded must be answered all the while.
    suite.process("identity-2").unwrap().kill_9().unwrap();
    let killed = Instant::now();
    folds(&mut suite, "identity", 2 * HALF_OF_IDENTITY).await;
    println!("partitions were handed over after {:?}", killed.elapsed());
    demo.passes().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_go_and_come_back_lose_nothing() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    let demo = suite.start_demo(60).await.unwrap();
    suite.folded("identity", 300).await.unwrap();
    let readiness = suite.process("identity").unwrap().socket(ADMIN_PORT);
    for server in [&mut *kafka, &mut *cassandra] {
        server.kill_9().unwrap();
        wait::until("not ready without its servers", NOTICED_WITHIN, async || {
            Ok((http::get(readiness, "/readyz").await?.status == 503).then_some(()))
        })
        .await
        .unwrap();
        server.restart().await.unwrap();
        wait::until("ready again", NOTICED_WITHIN, async || {
            Ok((http::get(readiness, "/readyz").await?.status == 200).then_some(()))
        })
        .await
        .unwrap();
    }
    demo.passes().await.unwrap();
}
