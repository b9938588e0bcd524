//! The whole suite from outside. One binary, so that its tests share one Kafka and one Cassandra.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod amends;
mod audit;
mod bad_input;
mod callers;
mod clients;
mod consent;
mod determinism;
mod doctor;
mod embedded;
mod faithful;
mod golden;
mod graph;
mod groups;
mod handles;
mod harness;
mod hostile;
mod keys;
mod large_inbox;
mod live;
mod log_contract;
mod made_followers;
mod operators;
mod rebuild;
mod registry;
mod rights;
mod rpc_table;
mod secured;
mod sessions;
mod simulation;
mod table_contract;
mod tidy;
mod torture;
mod traces;
mod updates;
mod upgrades;
mod waiting;

/// Every `pub async fn` of the Rust files in `folder`, seen from the workspace: to notice a rule that nobody lists.
fn rules_in(folder: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let files = std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut names = Vec::new();
    for text in files {
        let lines = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        names.extend(lines.filter_map(|rest| rest.split('(').next().map(str::to_owned)));
    }
    assert!(!names.is_empty(), "no rules in {}", folder.display());
    names
}
