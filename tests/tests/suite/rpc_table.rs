//! What each RPC appends, which tables have it then, and which tests call it: `docs/rpcs.md`, written by `make golden`.
//!
//! What an RPC appends is declared in `causes.rs`, and held to what the simulation's clients cause. The tables are those of the
//! folds that take the event, by the recorded histories. An RPC that is in the protos and not declared fails, as does one that
//! no test calls.

mod causes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kith_fold::Record;
use kith_log::{LogPartition, Position, RecordId, headers, topics};
use kith_proto::Event;
use kith_runtime::Runtime;
use kith_service::ids::{self, RequestId};
use kith_tests::digests;
use kith_tests::simulation::{Keys, Mode, Plan, run};
use prost_reflect::MethodDescriptor;

use crate::bad_input::rules::callers_rpcs;
use crate::golden;
use causes::CAUSES;

const PAGE: &str = "docs/rpcs.md";
const HEAD: &str = "# RPCs, events, tables, tests

Written by `make golden`; a test holds it to the protos and the code. An RPC appends the first event itself; those behind the arrow follow
from it, where they do. The tables are those that folds of these events write. An RPC without events reads. The tests are the files
that call the RPC, three at most.
";
/// Where tests call RPCs.
const TESTS: [&str; 8] = [
    "tests/tests/suite",
    "tests/src/simulation/nouns",
    "services/identity/src",
    "services/posts/src",
    "services/engagement/src",
    "services/messaging/src",
    "services/projector/src",
    "crates/service/src",
];
/// Its tests stand in it.
const TOKENS: &str = "crates/service/src/tokens.rs";
const TESTS_SHOWN: usize = 3;
const SEEDS: std::ops::Range<u64> = 1..7;
/// So many RPCs at the least are known by the records that they made.
const OBSERVED_MIN: usize = 15;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn full_name(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().full_name(), rpc.name())
}

/// `Service/Method`, as it is declared.
fn short_name(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().name(), rpc.name())
}

fn declared() -> BTreeMap<&'static str, &'static [&'static str]> {
    CAUSES.iter().copied().collect()
}

/// An event without its package.
fn event_name(event: &Event) -> &'static str {
    event.type_name().rsplit('.').next().unwrap_or_default()
}

/// By event the tables of the folds that take it.
fn tables() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut tables = BTreeMap::<_, BTreeSet<String>>::new();
    for (partitions, records) in golden::recorded_histories() {
        let groups = digests::groups(10_000, partitions).unwrap();
        // What operators decide goes by no RPC of callers.
        let records = records.into_iter().filter(|record| record.topic != topics::OPS);
        for (offset, record) in (0..).zip(records) {
            let event = Event::decode(record.topic.name, &record.value).unwrap();
            let partition = LogPartition::of_key(record.topic, &record.key, partitions);
            let record = Record::new(Position { partition, offset }, RecordId([9; 16]), event);
            let takers = groups.iter().filter(|group| group.topics.contains(&partition.topic));
            let folds = takers.flat_map(|group| group.folds.iter().map(move |fold| (group.name, fold)));
            let taken = folds.filter(|(_, fold)| fold.scope(&record).is_some());
            let written =
                taken.flat_map(|(group, fold)| fold.tables().into_iter().map(move |table| (group, table.name)));
            let of_event = tables.entry(event_name(&record.event)).or_default();
            of_event.extend(written.map(|(group, table)| format!("{group}.{table}")));
        }
    }
    tables
}

/// The Rust files of tests, with what they say.
fn test_files() -> Vec<(String, String)> {
    let (mut folders, mut files) = (TESTS.map(|folder| root().join(folder)).to_vec(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let is_test = name.starts_with("tests") || name.contains("/tests") || name == TOKENS;
            if path.is_dir() {
                folders.push(path);
            } else if is_test && name.ends_with(".rs") {
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort_unstable();
    files
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn page() -> String {
    let (declared, tables, files) = (declared(), tables(), test_files());
    let mut text = HEAD.to_owned();
    let mut service = String::new();
    for rpc in callers_rpcs() {
        let of = rpc.parent_service().full_name().to_owned();
        if of != service {
            let _ = write!(text, "\n## {of}\n\n| RPC | Events | Tables | Tests |\n|---|---|---|---|\n");
            service = of;
        }
        let events = declared.get(short_name(&rpc).as_str()).copied().unwrap_or_default();
        let shown = events.split_first().map(|(own, rest)| match rest {
            [] => format!("`{own}`"),
            rest => format!("`{own}` → `{}`", rest.join("`, `")),
        });
        let written: BTreeSet<&String> = events.iter().filter_map(|event| tables.get(event)).flatten().collect();
        let written = written.into_iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(", ");
        let call = format!(".{}(", snake_case(rpc.name()));
        let callers = files.iter().filter(|(_, text)| text.contains(&call)).map(|(name, _)| name.as_str());
        let callers: Vec<&str> = callers.take(TESTS_SHOWN).collect();
        assert!(!callers.is_empty(), "no test calls {}", full_name(&rpc));
        let line = [format!("`{}`", rpc.name()), shown.unwrap_or_default(), written, callers.join(", ")];
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text
}

#[test]
fn the_page_is_as_the_code() {
    let (path, now) = (root().join(PAGE), page());
    if golden::writes() {
        std::fs::write(&path, &now).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == now, "{PAGE} is not what the code says: run `make golden`");
}

#[test]
fn every_rpc_is_declared_and_every_declared_one_is_there() {
    let declared = declared();
    assert_eq!(declared.len(), CAUSES.len(), "one is declared twice");
    let rpcs: BTreeSet<String> = callers_rpcs().iter().map(short_name).collect();
    let names: BTreeSet<String> = declared.keys().map(|name| (*name).to_owned()).collect();
    let missing: Vec<_> = rpcs.difference(&names).collect();
    assert!(missing.is_empty(), "not in causes.rs: {missing:?}");
    let gone: Vec<_> = names.difference(&rpcs).collect();
    assert!(gone.is_empty(), "no RPCs: {gone:?}");
    let known: BTreeSet<&str> = tables().into_keys().collect();
    let unknown: Vec<_> =
        CAUSES.iter().flat_map(|(_, events)| *events).filter(|event| !known.contains(*event)).collect();
    assert!(unknown.is_empty(), "no events: {unknown:?}");
    let caused: BTreeSet<&str> = CAUSES.iter().flat_map(|(_, events)| events.iter().copied()).collect();
    let uncaused: Vec<_> = known.difference(&caused).collect();
    assert!(uncaused.is_empty(), "caused by no RPC: {uncaused:?}");
}

/// By the ids of records, which are functions of who asked for what under which request id.
#[test]
fn rpcs_cause_what_is_declared() {
    let (declared, keys, rpcs) = (declared(), Arc::new(Keys::make().unwrap()), callers_rpcs());
    let mut observed = BTreeMap::<String, BTreeSet<&str>>::new();
    for seed in SEEDS {
        let report = run(Plan::of(seed, Mode::Safety), None, &keys).unwrap();
        let mut asked = BTreeMap::new();
        for (actor, request_id) in &report.asked {
            let request_id = RequestId::parse("request_id", request_id, &Runtime::system()).unwrap();
            let Some(actor) = RecordId::parse(actor) else { continue };
            asked.extend(rpcs.iter().map(|rpc| (ids::record_id(actor, &full_name(rpc), &request_id), short_name(rpc))));
        }
        for record in &report.log {
            let cause = record.header(headers::CORRELATION_ID).and_then(RecordId::parse).or_else(|| record.id());
            let Some(rpc) = cause.and_then(|cause| asked.get(&cause)) else { continue };
            let event = Event::decode(record.position.partition.topic.name, &record.value).unwrap();
            observed.entry(rpc.clone()).or_default().insert(event_name(&event));
        }
    }
    assert!(observed.len() >= OBSERVED_MIN, "only {observed:?}");
    for (rpc, events) in &observed {
        let said: BTreeSet<&str> = declared[rpc.as_str()].iter().copied().collect();
        let more: Vec<_> = events.difference(&said).collect();
        assert!(more.is_empty(), "{rpc} caused {more:?} too");
    }
}
