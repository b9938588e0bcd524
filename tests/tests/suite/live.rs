//! The suite in five processes over a real Kafka and a real Cassandra.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tests::kith::ADMIN_PORT;
use kith_tests::server::Server;
use kith_tests::suite::{self, SERVICES, Suite};
use kith_tests::{cassandra_server, digests, http, servers, wait};

const NOBODY_IS_PULLED: u64 = 10_000;
const STOP_WITHIN: Duration = Duration::from_secs(30);
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(15);
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

fn cql(server: &Server) -> Arc<dyn TableStore> {
    CqlTables::connect(CqlSettings {
        contact_points: vec![server.socket(cassandra_server::PORT).to_string()],
        ..CqlSettings::default()
    })
}

async fn drop_keyspaces(server: &Server) {
    for group in digests::groups(NOBODY_IS_PULLED) {
        cql(server).drop_keyspace(&group.keyspace()).await.unwrap();
    }
}

async fn digests_of(server: &Server) -> BTreeMap<String, (u64, [u8; 32])> {
    digests::of(cql(server), NOBODY_IS_PULLED).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_finds_no_difference_and_dropped_keyspaces_come_back_the_same() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    suite.demo(60).await.unwrap();
    for service in SERVICES {
        suite.process(service).unwrap().stop(STOP_WITHIN).await.unwrap();
    }
    let before = digests_of(&cassandra).await;
    drop_keyspaces(&cassandra).await;
    suite::init(&kafka, &cassandra, keys.path()).await.unwrap();
    for service in SERVICES {
        suite.process(service).unwrap().restart().await.unwrap();
    }
    suite.demo(60).await.unwrap();
    assert!(before.values().any(|(rows, _)| *rows > 1_000), "{before:?}");
    assert_eq!(before, digests_of(&cassandra).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_killed_in_the_middle_the_demo_ends_without_a_difference() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    let demo = suite.start_demo(120).await.unwrap();
    for (service, folded) in [("identity", 200), ("projector", 1_000), ("posts", 1_500), ("engagement", 2_000), ("messaging", 1_500)] {
        suite.folded(service, folded).await.unwrap();
        let process = suite.process(service).unwrap();
        process.kill_9().unwrap();
        process.restart().await.unwrap();
    }
    demo.passes().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_partitions_and_one_takes_over_from_the_other() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    suite.add("identity-2", "identity", &kafka, &cassandra, keys.path()).await.unwrap();
    let demo = suite.start_demo(60).await.unwrap();
    for replica in ["identity", "identity-2"] {
        suite.folded(replica, 50).await.unwrap();
    }
    // The demo's calls go to `identity`: the claims of what `identity-2` folded must be answered all the while.
    suite.process("identity-2").unwrap().kill_9().unwrap();
    let killed = Instant::now();
    let socket = suite.process("identity").unwrap().socket(ADMIN_PORT);
    wait::until("the first replica folds everything", HANDED_OVER_WITHIN, async || {
        let metrics = http::get(socket, "/metrics").await?.body;
        let owned = metrics.lines().filter(|line| line.starts_with("kith_fold_stopped")).count();
        Ok((owned >= 32).then_some(()))
    })
    .await
    .unwrap();
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
