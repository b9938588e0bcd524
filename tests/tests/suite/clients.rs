//! What is published for callers in other languages.

mod samples;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use kith_tests::kith::{Launch, PORT};
use kith_tests::suite::Suite;
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use serde_json::{Value, json};

/// Packages are fetched in it the first time.
const SCRIPT_WITHIN: Duration = Duration::from_secs(300);
const CONNECTION_AGE_SECONDS: &str = "3";
/// What scripts exit with where a program is missing.
const EXIT_MISSING: i32 = 3;
/// How the names of calls begin that change nothing.
const READS: [&str; 9] = ["Get", "BatchGet", "List", "Resolve", "Explain", "Wait", "Merge", "Search", "Suggest"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// By full name.
type Named<T> = Vec<(String, T)>;

/// Every service that callers call, with its full name, and every message of the protos.
fn published() -> (Named<ServiceDescriptorProto>, Named<DescriptorProto>) {
    let set = FileDescriptorSet::decode(kith_proto::FILE_DESCRIPTOR_SET).unwrap();
    let (mut services, mut messages) = (Vec::new(), Vec::new());
    for file in set.file {
        let full = |name: &str| format!("{}.{name}", file.package());
        services.extend(file.service.iter().map(|service| (full(service.name()), service.clone())));
        messages.extend(file.message_type.iter().map(|message| (full(message.name()), message.clone())));
    }
    services.retain(|(name, _)| name.starts_with("kith.") && !name.starts_with("kith.ops."));
    (services, messages)
}

#[test]
fn the_service_config_names_every_service_of_callers_once() {
    let text = std::fs::read_to_string(root().join("proto/service_config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let names = config["methodConfig"].as_array().unwrap().iter().flat_map(|of| of["name"].as_array().unwrap());
    let names: Vec<&str> = names.map(|name| name["service"].as_str().unwrap()).collect();
    let (services, _) = published();
    let published: BTreeSet<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.iter().copied().collect::<BTreeSet<_>>(), published);
    assert_eq!(names.len(), published.len(), "one is named twice");
}

/// The config retries all calls of a service alike, so every one of them must bear it.
#[test]
fn every_call_that_is_retried_reads_or_has_a_request_id() {
    let (services, messages) = published();
    for (service, described) in services {
        for method in described.method {
            let input = method.input_type().trim_start_matches('.');
            let (_, request) = messages.iter().find(|(name, _)| name == input).unwrap();
            let has_request_id = request.field.iter().any(|field| field.name() == "request_id");
            // A repeat with the same refresh token gets the same one again.
            let is_read = method.name() == "RefreshSession"
                || method.server_streaming()
                || READS.iter().any(|verb| method.name().starts_with(verb));
            assert!(is_read || has_request_id, "{service}/{} has no request_id", method.name());
        }
    }
}

/// Whether a script could not run for want of a program, which is said on standard error.
///
/// # Panics
/// When it could not, though `CI=true`.
fn skipped(what: &str, ended: ExitStatus, said: &str) -> bool {
    let is_missing = ended.code() == Some(EXIT_MISSING);
    if is_missing {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true: this must run: {said}");
        let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {said}");
    }
    is_missing
}

/// What the client reports of calls that it had not sent yet when the connection grew old; `None`: no Python here.
async fn queued_calls(suite: &Suite, config: Option<&Path>) -> Option<Value> {
    let mut command = tokio::process::Command::new(root().join("tests/clients/python/run"));
    command.arg(suite.processes["suite"].socket(PORT).to_string()).args(config).kill_on_drop(true);
    let output = tokio::time::timeout(SCRIPT_WITHIN, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if skipped("clients", output.status, &said) {
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_calls_of_an_aged_connection_are_made_again() {
    let launch = Launch::run("suite").set("connection_age_seconds", CONNECTION_AGE_SECONDS);
    let suite = Suite::of("suite", launch).await.unwrap();
    // With retries off the client gives them up, and without a config a refusal too; the calls that had begun end well.
    let Some(given_up) = queued_calls(&suite, None).await else { return };
    assert_eq!(given_up["queued"], json!({"UNAVAILABLE": 20}), "{given_up}");
    assert_eq!(given_up["held"], json!({"OK": 256}), "{given_up}");
    assert_eq!(given_up["refused_twice"], json!({"code": "UNAVAILABLE", "attempts": 1, "request_ids": 1}));
    // With it they are made again elsewhere, once each, while those that had begun go on.
    let config = root().join("proto/service_config.json");
    let made = queued_calls(&suite, Some(&config)).await.unwrap();
    let expected = json!({
        "queued": {"OK": 20}, "held": {"OK": 256}, "held_when_the_queued_had_ended": 256, "made_once": true,
        "refused_twice": {"code": "OK", "attempts": 3, "request_ids": 1}
    });
    assert_eq!(made, expected);
}
