//! A process whose stores do not answer is alive, is not ready, says for what it waits, and ends when it is asked to.

use std::time::Duration;

use kith_runtime::Runtime;
use kith_service::keys::KeyFolder;
use kith_tests::http;
use kith_tests::kith::{ADMIN_PORT, Launch};

/// Well within what a supervisor waits for after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_waits_for_its_stores_says_so_and_ends_when_asked() {
    let keys = tempfile::tempdir().unwrap();
    KeyFolder::at(keys.path()).create_missing(&Runtime::system()).unwrap();
    let launch = Launch::run("waits").alive();
    let launch = launch.set("log", format!("kafka:{NOBODY}")).set("tables", format!("cql:{NOBODY}"));
    let launch = launch.set("keys_dir", keys.path().display().to_string()).set("services", "posts");
    let mut process = launch.start().await.unwrap();
    let admin = process.socket(ADMIN_PORT);
    assert_eq!(http::get(admin, "/livez").await.unwrap().status, 200);
    let ready = http::get(admin, "/readyz").await.unwrap();
    assert!(ready.status == 503 && ready.body.contains("stores"), "{ready:?}");
    let status = process.stop(STOP_WITHIN).await.unwrap();
    assert!(status.success(), "{status}");
}
