//! Tables filled anew under load, promoted and rolled back: nobody who reads notices.

use std::time::Duration;

use kith_proto::ops::v1::StartRebuildRequest;
use kith_proto::ops::v1::projection_service_client::ProjectionServiceClient;
use kith_tests::kith::OPS_PORT;
use kith_tests::process::Process;
use kith_tests::suite::{Suite, groups};
use kith_tests::{kith, servers, wait};
use serde_json::Value;
use tonic::{Code, Status};

const NOBODY_IS_PULLED: u64 = 10_000;
const ACCOUNTS: usize = 120;
/// So many that they go on for as long as the generations change.
const POSTS: usize = 400;
const WATCHED_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// `late`: statuses that a caller may get of servers that share a busy machine, whatever is rebuilt; it asks again.
async fn generations_come_and_go(suite: &Suite, groups: &[(&'static str, &'static str)], late: &[&str]) {
    let (demo, reads) = (suite.start_demo(ACCOUNTS).await.unwrap(), suite.start_posts_and_reads(POSTS).await.unwrap());
    for (group, process) in groups {
        let operate = async |command: &str| suite.operate(process, &[command, group]).await.unwrap();
        operate("rebuild").await;
        let verdict = operate("verify").await;
        assert!(verdict.contains("\"equal\":true"), "{group}: {verdict}");
        assert!(operate("promote").await.contains("\"generation\":2"));
        assert!(operate("verify").await.contains("\"equal\":true"));
        assert!(operate("rollback").await.contains("\"generation\":1"));
        assert!(operate("promote").await.contains("\"generation\":2"));
    }
    reads.passes().await.unwrap();
    demo.passes().await.unwrap();
    let mut failed = suite.failed_calls().await.unwrap();
    failed.retain(|call| !late.iter().any(|status| call.contains(status)));
    assert_eq!(failed, Vec::<String>::new());
    for (group, process) in groups {
        let listed = suite.operate(process, &["projections", group]).await.unwrap();
        assert!(listed.contains("\"state\":\"live\"") && listed.contains("\"state\":\"previous\""), "{listed}");
        let next = would_take(suite, process, group).await;
        assert_eq!(
            (&next["generation"], &next["live_generation"], &next["refusal"]),
            (&3.into(), &2.into(), &Value::Null)
        );
        assert!(next["seconds"].is_u64() && next["live_bytes"].is_u64(), "{next}");
    }
}

/// What a rebuild would take: all records of the log, as the progress of the folds shows them.
async fn would_take(suite: &Suite, process: &str, group: &str) -> Value {
    let said = suite.operate(process, &["rebuild", group, "--dry-run"]).await.unwrap();
    let listed = suite.operate(process, &["projections", group]).await.unwrap();
    let (next, listed): (Value, Value) = (serde_json::from_str(&said).unwrap(), serde_json::from_str(&listed).unwrap());
    let partitions = listed["projections"][0]["partitions"].as_array().unwrap().iter();
    let heads: u64 = partitions.map(|partition| partition["head_offset"].as_u64().unwrap()).sum();
    assert!(heads > 0 && next["records_total"] == heads, "{next}: {heads}");
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_a_rebuild_would_take_and_starts_none() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(ACCOUNTS).await.unwrap();
    let first = would_take(&suite, "suite", "feeds").await;
    assert_eq!((&first["generation"], &first["refusal"]), (&2.into(), &Value::Null));
    assert_eq!((&first["rate_source"], &first["live_generation"]), (&"live folds".into(), &1.into()));
    let (rate, bytes) = (first["records_per_second"].as_f64().unwrap(), first["live_bytes"].as_u64().unwrap());
    let records = first["records_total"].as_u64().unwrap();
    assert!(rate > 0.0 && first["seconds"].as_f64().unwrap() <= records as f64 / rate, "{first}");
    assert!(bytes > records, "{first}");
    assert_eq!(would_take(&suite, "suite", "feeds").await["generation"], 2, "it was started");
    suite.operate("suite", &["rebuild", "feeds"]).await.unwrap();
    let second = would_take(&suite, "suite", "feeds").await;
    assert_eq!((&second["rate_source"], &second["live_generation"]), (&"last fill".into(), &1.into()));
    assert!(second["refusal"].as_str().unwrap().contains("generation 2 stands beside"), "{second}");
    // A process that has folded nothing yet does not know how long it takes.
    suite.operate("suite", &["drop-generation", "feeds", "--generation", "2"]).await.unwrap();
    let process = suite.process("suite").unwrap();
    process.kill_9().unwrap();
    process.restart().await.unwrap();
    let third = would_take(&suite, "suite", "feeds").await;
    assert_eq!(
        (&third["seconds"], &third["records_per_second"], &third["rate_source"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_tables_are_filled_anew_under_load() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    let groups: Vec<_> = groups().unwrap().into_iter().map(|(group, _)| (group, "suite")).collect();
    generations_come_and_go(&suite, &groups, &[]).await;
    // It starts with what was promoted, and the recount of the demo's inputs still finds no difference.
    let process = suite.process("suite").unwrap();
    process.kill_9().unwrap();
    process.restart().await.unwrap();
    suite.demo(ACCOUNTS).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_goes_on_after_kill_9() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(ACCOUNTS).await.unwrap();
    for _ in 0..3 {
        let started = suite.operate("suite", &["rebuild", "feeds", "--no-wait"]).await;
        let process = suite.process("suite").unwrap();
        process.kill_9().unwrap();
        process.restart().await.unwrap();
        // The first one has begun; the others are refused while it is filled.
        drop(started);
    }
    suite.demo(ACCOUNTS).await.unwrap();
    assert!(suite.operate("suite", &["verify", "feeds"]).await.unwrap().contains("\"equal\":true"));
    assert!(suite.operate("suite", &["promote", "feeds"]).await.unwrap().contains("\"generation\":2"));
    suite.demo(ACCOUNTS).await.unwrap();
    let refused = suite.operate("suite", &["drop-generation", "feeds", "--generation", "2"]).await;
    assert!(refused.unwrap_err().to_string().contains("generation 2 serves"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_nobody_watches_any_more_is_said_to_go_on() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(20).await.unwrap();
    // A paused one never ends by itself.
    suite.operate("suite", &["pause", "feeds"]).await.unwrap();
    let process = suite.process("suite").unwrap();
    let (ops, output) = (process.socket(OPS_PORT).to_string(), process.folder().join("rebuild.out"));
    let mut command = kith::command().await.unwrap();
    command.args(["rebuild", "feeds", "--ops", &ops]);
    let mut watching = Process::start("kith rebuild", command, &output).unwrap();
    wait::until("the rebuild is watched", WATCHED_WITHIN, async || {
        Ok(watching.output()?.contains("its folds are paused").then_some(()))
    })
    .await
    .unwrap();
    let ended = watching.stop(ENDS_WITHIN).await.unwrap();
    let said = watching.output().unwrap();
    assert!(ended.code() == Some(1) && said.contains("the rebuild of feeds goes on in the server"), "{ended}: {said}");
    assert!(said.contains("`kith projections feeds`"), "{said}");
    suite.operate("suite", &["resume", "feeds"]).await.unwrap();
    wait::until("the rebuild has caught up", WATCHED_WITHIN, async || {
        let status = suite.operate("suite", &["rebuild", "feeds", "--status"]).await?;
        Ok(status.contains("\"caught_up\":true").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cql_tables_are_filled_anew_under_load() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    // Two that fold and serve feeds: both must switch.
    suite.add("projector-too", &[("services", "projector")], &kafka, &cassandra, keys.path()).await.unwrap();
    // One whose folds append facts, and one that two processes serve; the others' generations come and go by the same code.
    let mut groups = groups().unwrap();
    groups.retain(|(group, _)| ["identity", "feeds"].contains(group));
    assert_eq!(groups.len(), 2);
    generations_come_and_go(&suite, &groups, &["UNAVAILABLE", "DEADLINE_EXCEEDED"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_asked_for_again_is_the_same_one() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    let address = suite.process("suite").unwrap().socket(OPS_PORT);
    let client = ProjectionServiceClient::connect(format!("http://{address}")).await.unwrap();
    let start = async |request_id: &str| {
        let asked = StartRebuildRequest { service: "feeds".to_owned(), request_id: request_id.to_owned() };
        let started = client.clone().start_rebuild(asked).await?;
        Ok::<_, Status>(started.into_inner().generation.unwrap().number)
    };
    let (one, other) = tokio::join!(start("a"), start("a"));
    assert_eq!((one.unwrap(), other.unwrap(), start("a").await.unwrap()), (2, 2, 2));
    assert_eq!(start("b").await.unwrap_err().code(), Code::FailedPrecondition, "one is being filled");
    assert_eq!(start("").await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(start(&"a".repeat(65)).await.unwrap_err().code(), Code::InvalidArgument);
}
