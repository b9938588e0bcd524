//! What each fold group makes of recorded histories, held to a golden file per group (`tests/golden/folds`). A change of what a
//! fold writes, of a table or of a column, must raise the group's `folds_version`: tables that other folds began are not
//! folded on. The histories (`tests/golden/histories`) are files, so that only a change of the folds changes the digests.
//!
//! `make golden` writes the files anew, and refuses while the version is not raised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kith_fold::engine::{self, FoldMetrics, Pace, Ports};
use kith_fold::{Group, Token};
use kith_log::{EventLog, Header, LogPartition, NewRecord, Position, Record, headers, topics};
use kith_runtime::Runtime;

use kith_tests::digests;
use kith_tests::simulated::{SimulatedLog, SimulatedTables};
use kith_tests::simulation::{Draws, Keys, Mode, Plan, run};
use prost_reflect::DescriptorPool;
use tokio::time::Instant;

/// Set to anything: files are written, where the versions allow it.
const WRITE: &str = "WRITE_GOLDEN";
/// Recorded from the simulation, each once: what is in a file is never changed. A new event needs a new history.
const HISTORIES: &[(&str, u64)] = &[
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("4", 4),
    ("5", 5),
    ("6", 6),
    ("7", 7),
    ("8", 8),
    ("9", 9),
    ("10", 10),
    ("11", 11),
    ("12", 12),
    ("13", 13),
    ("14", 14),
    ("15", 15),
    ("16", 16),
    ("18", 31),
    ("17", 94),
    ("graph", 140),
    ("groups-1", 203),
    ("groups-2", 209),
    ("groups-3", 215),
    ("19", 209),
    ("tags", 312),
    ("handles", 401),
    ("suggestions", 406),
    (TALKS, 119),
    (CIRCLES, 408),
];
/// Of people who do nothing but talk: what becomes of messages is rare where there is everything.
const TALKS: &str = "talks";
/// Of people who follow and ask to: for requests of private accounts and their answers.
const CIRCLES: &str = "circles";
/// Of each client. Longer histories have so many posts that nobody meets one twice.
const STEPS: usize = 40;
/// 2026-06-01T00:00:00Z: after everything that was recorded.
const NOW_MS: i64 = 1_780_272_000_000;
/// Of every second history the authors are pulled as soon as they have two followers.
const PUSH_THRESHOLDS: [u64; 2] = [10_000, 1];
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// A recorded history, of a log with so many partitions per topic.
struct History {
    name: &'static str,
    partitions: u16,
    records: Vec<NewRecord>,
}

/// How a golden file and what the folds make now go together.
#[derive(Debug, PartialEq)]
enum Standing {
    Same,
    /// It says less: of a history that was recorded since.
    Grows,
    /// Something differs, and the version does too.
    Raised,
    /// Something differs under the same version.
    NotRaised(Vec<String>),
}

/// The first line of a file is the group and its version; the others are compared.
fn standing(golden: &str, now: &str) -> Standing {
    if golden == now {
        return Standing::Same;
    }
    let version = |text: &str| text.lines().next()?.rsplit(' ').next()?.parse::<u32>().ok();
    if version(golden) < version(now) {
        return Standing::Raised;
    }
    let missing = |from: &str, of: &str| -> Vec<String> {
        of.lines().filter(|line| !from.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    let (gone, new) = (missing(now, golden), missing(golden, now));
    let is_of_new_history = |line: &String| {
        let name = line.split(':').next().unwrap_or_default();
        line.starts_with("history ") && !golden.contains(&format!("{name}: "))
    };
    match gone.is_empty() && new.iter().all(is_of_new_history) {
        true => Standing::Grows,
        false => Standing::NotRaised(gone.into_iter().chain(new).collect()),
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

pub fn writes() -> bool {
    std::env::var_os(WRITE).is_some()
}

#[test]
fn folds_write_what_their_version_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let histories: Vec<History> = HISTORIES.iter().map(|(name, seed)| history(name, *seed)).collect();
    let mut wrong = Vec::new();
    for group in digests::groups(PUSH_THRESHOLDS[0], 1).unwrap() {
        let now = runtime.block_on(written(&group, &histories));
        let path = folder("folds").join(format!("{}.txt", group.name));
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        match standing(&golden, &now) {
            Standing::Same => {}
            Standing::Grows | Standing::Raised if writes() => std::fs::write(&path, now).unwrap(),
            Standing::Grows | Standing::Raised => wrong.push(format!("{}: run `make golden`", group.name)),
            Standing::NotRaised(lines) => wrong.push(format!(
                "{}: its folds write other rows than folds version {} does; raise `folds_version` in its `group`, then run \
                 `make golden`\n  {}",
                group.name,
                group.folds_version,
                lines.join("\n  ")
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file of a history; recorded, if there is none yet and files are written.
fn history(name: &'static str, seed: u64) -> History {
    let path = folder("histories").join(format!("{name}.jsonl"));
    if !path.exists() && writes() {
        std::fs::write(&path, recorded(name, seed)).unwrap();
    }
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; `make golden`", path.display()));
    let mut lines = text.lines();
    let partitions = lines.next().unwrap().parse().unwrap();
    History { name, partitions, records: lines.map(|line| read(line).unwrap()).collect() }
}

fn recorded(name: &str, seed: u64) -> String {
    let plan = Plan { steps: STEPS, ..Plan::of(seed, Mode::Safety) };
    let plan = match name {
        TALKS => Plan { people: 3, clients: 3, steps: 4 * STEPS, draws: Draws::Talks, ..plan },
        CIRCLES => Plan { people: 3, clients: 3, steps: 2 * STEPS, draws: Draws::Circles, ..plan },
        _ => plan,
    };
    let partitions = plan.partitions;
    let report = run(plan, None, &Arc::new(Keys::make().unwrap())).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let mut text = format!("{partitions}\n");
    report.log.iter().for_each(|record| writeln!(text, "{}", line(record)).unwrap());
    text
}

fn line(record: &Record) -> serde_json::Value {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: Vec<[String; 2]> =
        record.headers.iter().map(|header| [header.name.to_string(), text(&header.value)]).collect();
    let value: String = record.value.iter().map(|byte| format!("{byte:02x}")).collect();
    let topic = record.position.partition.topic.name;
    serde_json::json!({"topic": topic, "key": text(&record.key), "headers": headers, "value": value})
}

fn read(line: &str) -> Option<NewRecord> {
    let json: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |value: &serde_json::Value| Some(value.as_str()?.to_owned());
    let topic = topics::ALL.into_iter().find(|topic| json["topic"] == topic.name)?;
    let header = |pair: &serde_json::Value| Some(Header::new(pair[0].as_str()?, text(&pair[1])?));
    let headers = json["headers"].as_array()?.iter().map(header).collect::<Option<_>>()?;
    let hex = text(&json["value"])?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let value = (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?.into();
    Some(NewRecord { topic, key: text(&json["key"])?, headers, value })
}

/// What the golden file should say.
async fn written(group: &Group, histories: &[History]) -> String {
    let mut text = format!("{}, folds version {}\n", group.name, group.folds_version);
    group.folded_tables().into_iter().for_each(|table| text += &table.declaration());
    for (history, push_threshold) in histories.iter().zip(PUSH_THRESHOLDS.into_iter().cycle()) {
        let tables = fold(group, history, push_threshold).await;
        assert!(tables.values().any(|(rows, _)| *rows > 0), "{} makes nothing of {}", group.name, history.name);
        for (table, (rows, digest)) in tables {
            let digest: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "history {}: {table} {rows} rows {digest}", history.name).unwrap();
        }
    }
    text
}

/// Rows and digest of each table of the group once it has folded the history.
async fn fold(group: &Group, history: &History, push_threshold: u64) -> BTreeMap<String, (u64, [u8; 32])> {
    let runtime = Runtime::simulated(1, NOW_MS);
    let log = SimulatedLog::new(runtime.clone(), history.partitions);
    log.create_topics(&topics::ALL).await.unwrap();
    for record in &history.records {
        log.append(record.clone()).await.unwrap();
    }
    let before = log.dump().len();
    let ports = Ports {
        runtime,
        log: log.clone(),
        tables: SimulatedTables::new(),
        metrics: FoldMetrics::default(),
        pace: Pace::default(),
    };
    let groups = digests::groups(push_threshold, history.partitions).unwrap();
    let group = groups.into_iter().find(|of| of.name == group.name).unwrap();
    engine::create(&ports, &group).await.unwrap();
    let running = engine::start(&ports, group.clone(), true).await.unwrap();
    let of_group = |partition: &LogPartition| group.topics.contains(&partition.topic);
    let ends = log.ends();
    let ends = ends.iter().filter(|(partition, end)| of_group(partition) && **end > 0);
    let all: Token = ends.map(|(&partition, end)| Position { partition, offset: end - 1 }).collect();
    running.state.at_least(&all, Instant::now() + PATIENCE).await.unwrap();
    let digests = digests::of_group(&group, &running.state, push_threshold, history.partitions, NOW_MS).await.unwrap();
    running.end().await;
    assert_eq!(log.dump().len(), before, "the folds of {} appended to history {}", group.name, history.name);
    digests
}

/// Every recorded history: how many partitions its log has, and its records.
pub fn recorded_histories() -> Vec<(u16, Vec<NewRecord>)> {
    let histories = HISTORIES.iter().map(|(name, seed)| history(name, *seed));
    histories.map(|history| (history.partitions, history.records)).collect()
}

#[test]
fn every_event_is_in_a_history() {
    let pool = DescriptorPool::decode(kith_proto::FILE_DESCRIPTOR_SET).unwrap();
    let histories: Vec<History> = HISTORIES.iter().map(|(name, seed)| history(name, *seed)).collect();
    let records = histories.iter().flat_map(|history| &history.records);
    let of = |record: &NewRecord| record.headers.iter().find(|header| &*header.name == headers::TYPE).cloned();
    let recorded: BTreeSet<String> =
        records.filter_map(of).map(|header| String::from_utf8(header.value.to_vec()).unwrap()).collect();
    let of_none = [topics::OPS, topics::DEAD_LETTERS, topics::SECURITY];
    let of_services = topics::ALL.into_iter().filter(|topic| !of_none.contains(topic));
    let wires = of_services.filter_map(|topic| pool.get_message_by_name(kith_proto::Event::wire_name(topic.name)?));
    let events = wires.flat_map(|wire| wire.fields().collect::<Vec<_>>());
    let names = events.filter_map(|field| Some(field.kind().as_message()?.full_name().to_owned()));
    let missing: Vec<String> = names.filter(|name| !recorded.contains(name)).collect();
    assert!(missing.is_empty(), "no history has {missing:?}: add one, and run `make golden`");
}

#[test]
fn a_change_without_a_new_version_is_told() {
    let golden = "feeds, folds version 1\ntable a: by (id Text)\n  a.summary: \nhistory one: a 3 rows ff\n";
    let change = |from: &str, to: &str| golden.replace(from, to);
    let is_told = |now: String| matches!(standing(golden, &now), Standing::NotRaised(_));
    assert_eq!(standing(golden, golden), Standing::Same);
    assert!(is_told(change("rows ff", "rows fe")), "the body of a fold");
    assert!(is_told(change("a.summary: ", "a.summary: count BigInt")), "a column");
    assert!(is_told(change("table a", "table b: by (id Text)\ntable a")), "a table");
    assert!(is_told(change("history one: a 3 rows ff\n", "")), "less");
    assert_eq!(standing(golden, &change("version 1", "version 2")), Standing::Raised);
    assert!(is_told(change("version 1", "version 0")), "an older version");
    assert_eq!(standing("", golden), Standing::Raised, "a new group");
    let two = "history two: a 1 rows aa\n";
    assert_eq!(standing(golden, &(golden.to_owned() + two)), Standing::Grows);
    assert!(is_told(change("rows ff", "rows fe") + two));
}
