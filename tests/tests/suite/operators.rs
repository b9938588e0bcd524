//! What operators see of the log, and what they do about dead letters, through real processes.

use bytes::Bytes;
use kith_log::{EventLog, Header, NewRecord, headers, topics};
use kith_tests::suite::Suite;
use kith_tests::{digests, kafka_server, kith, servers, wait};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

const NOBODY_IS_PULLED: u64 = 10_000;
const SET_ASIDE_WITHIN: Duration = Duration::from_secs(60);

async fn operate(suite: &Suite, process: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&suite.operate(process, arguments).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_from_a_process_that_has_it_to_itself() {
    let suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    suite.demo(20).await.unwrap();
    let accounts = operate(&suite, "suite", &["events", "--topic", "kith.identity.v1", "--limit", "5000"]).await;
    let of_type = |name: &str| {
        let events = accounts["events"].as_array().unwrap().iter();
        events.filter(|event| !event["event"][name].is_null()).collect::<Vec<_>>()
    };
    assert_eq!((of_type("accountCreated").len(), &accounts["more"]), (20, &false.into()));
    let key = of_type("accountCreated")[0]["key"].as_str().unwrap().to_owned();
    let of_key = operate(&suite, "suite", &["events", "--topic", "kith.identity.v1", "--key", &key]).await;
    let of_key = of_key["events"].as_array().unwrap();
    assert!(!of_key.is_empty() && of_key.iter().all(|event| event["key"] == *key));
    let secrets = suite.operate("suite", &["events", "--topic", "kith.identity.private.v1"]).await.unwrap();
    assert!(secrets.contains("not shown") && !secrets.contains("argon2"), "{secrets}");
    assert_eq!(operate(&suite, "suite", &["dead-letters"]).await["more"], false);
    let messaging = operate(&suite, "suite", &["projections", "messaging", "--views"]).await;
    let inbox = kith_messaging::INBOX.fingerprint();
    assert_eq!(messaging["projections"][0]["views"]["inbox"], inbox, "{messaging}");
}

#[tokio::test]
async fn a_command_that_nobody_reads_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = kith::command().await.unwrap();
    let output = command.arg("settings").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(141), "".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_what_is_not_understood_from_what_is_refused() {
    let mut suite = Suite::embedded(NOBODY_IS_PULLED).await.unwrap();
    let ops = suite.process("suite").unwrap().socket(kith::OPS_PORT).to_string();
    let id = "0".repeat(32);
    for (arguments, code, said) in [
        (&["events", "--topic", "kith.posts.v1"][..], 0, "0 events"),
        (&["events", "--topic", "kith.posts.v1", "--key", &id], 0, "0 events"),
        (&["events", "--topic", "kith.posts.v1", "--key", "hello"], 2, "`hello` is no key of kith.posts.v1"),
        (&["events", "--topic", "kith.post.v1"], 2, "those are kith.identity.v1, "),
        (&["dead-letters", "show", "hello"], 2, "ID_MALFORMED"),
        (&["dead-letters", "show", &id], 1, "DEAD_LETTER_NOT_FOUND"),
        (&["projections", "mail"], 2, "FIELD_INVALID"),
        (&["verify", "projector"], 2, "runs in this process: engagement, feeds, "),
        (&["verify", "feeds"], 1, "GENERATION_STATE"),
        (&["drop-generation", "feeds", "--generation", "7"], 1, "GENERATION_NOT_FOUND"),
        (&["projections", "--config", "/nowhere/kith.toml"], 2, "/nowhere/kith.toml"),
    ] {
        let mut command = kith::command().await.unwrap();
        let output = command.args(arguments).args(["--ops", &ops]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.contains(said), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn a_bad_socket_address_is_named_with_its_setting() {
    for (arguments, environment) in [
        (&["settings", "--listen", "localhost:7400"][..], &[][..]),
        (&["projections"], &[("KITH_OPS_LISTEN", "localhost:7400")]),
        (&["projections", "--ops", "localhost"], &[]),
    ] {
        let mut command = kith::command().await.unwrap();
        let output = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let named = ["`listen`", "`ops_listen`", "--ops"].iter().any(|key| stderr.contains(key));
        assert!(output.status.code() == Some(2) && named && stderr.contains("localhost"), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_retried_and_discarded_over_kafka() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    let log = kafka_server::log(&kafka, digests::PARTITIONS).unwrap();
    let headers = vec![Header::new(headers::ID, "0".repeat(32))];
    let value = Bytes::from_static(b"\xff\xff\xff\xff");
    let garbage = NewRecord { topic: topics::POSTS, key: "p".to_owned(), headers, value };
    let at = log.append(garbage).await.unwrap();

    let first = letters(&suite, 1).await.remove(0);
    let id = first["letterId"].as_str().unwrap();
    assert_eq!(
        (&first["originTopic"], &first["originOffset"]),
        (&"kith.posts.v1".into(), &at.offset.to_string().into())
    );
    // A restart over CQL folds the last minute again, and sets nothing aside again.
    let process = suite.process("posts").unwrap();
    process.kill_9().unwrap();
    process.restart().await.unwrap();
    let shown = operate(&suite, "posts", &["dead-letters", "show", id]).await;
    assert_eq!((&shown["key"], &shown["value"]), (&"cA==".into(), &"/////w==".into()));
    let retried = operate(&suite, "posts", &["dead-letters", "retry", id]).await;
    assert_eq!(retried["offset"], (at.offset + 1).to_string());
    // It still does not decode. Another process knows what was decided.
    let second = letters(&suite, 1).await.remove(0);
    let second = second["letterId"].as_str().unwrap();
    assert_ne!(id, second);
    operate(&suite, "identity", &["dead-letters", "discard", second, "--note", "a test"]).await;
    let refused = suite.operate("posts", &["dead-letters", "retry", second]).await.unwrap_err().to_string();
    assert!(refused.contains("DEAD_LETTER_STATE"), "{refused}");
    let all = operate(&suite, "posts", &["dead-letters"]).await;
    let states: Vec<_> = all["letters"].as_array().unwrap().iter().map(|letter| letter["state"].clone()).collect();
    assert_eq!(states, ["DEAD_LETTER_STATE_RETRIED", "DEAD_LETTER_STATE_DISCARDED"]);
    let heads = log.heads(topics::DEAD_LETTERS).await.unwrap();
    assert_eq!(heads.iter().sum::<u64>(), 2, "each letter stands in the log once");
    let decided = operate(&suite, "identity", &["audit", "--kind", "operator-decided"]).await;
    let decided: Vec<_> = decided["entries"].as_array().unwrap().iter().map(|entry| &entry["event"]).collect();
    let reasons: Vec<_> = decided.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    assert!(reasons.ends_with(&["DeadLetterRetried", "DeadLetterDiscarded"]), "{decided:?}");
    assert!(decided.iter().rev().take(2).all(|event| event["principal"] == "anyone"), "{decided:?}");
    let elsewhere = suite.operate("posts", &["audit"]).await.unwrap_err().to_string();
    assert!(elsewhere.contains("METHOD_UNKNOWN") && elsewhere.contains("identity"), "{elsewhere}");
    let records = operate(&suite, "posts", &["events", "--topic", "kith.posts.v1", "--key", "p"]).await;
    assert_eq!(records["events"].as_array().unwrap().len(), 2);
}

/// The open ones, when there are so many.
async fn letters(suite: &Suite, count: usize) -> Vec<Value> {
    wait::until("the letters are there", SET_ASIDE_WITHIN, async || {
        let listed = operate(suite, "posts", &["dead-letters", "list", "--open"]).await;
        let letters = listed["letters"].as_array().cloned().unwrap_or_default();
        Ok((letters.len() == count).then_some(letters))
    })
    .await
    .unwrap()
}
