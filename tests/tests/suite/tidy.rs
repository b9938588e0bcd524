//! House rules that no linter knows.

mod circles;

use std::path::{Path, PathBuf};

use kith::services::RELEASE;
use kith_tests::digests;
use kith_tests::suite::services;

const MAX_LINES: usize = 400;
const FORBIDDEN_NAMES: [&str; 5] = ["common", "utils", "helpers", "types", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of the project, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["proto", "crates", "services", "demo", "tests"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where they were");
    found
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:#?}");
}

#[test]
fn nothing_is_called_utils() {
    for (path, _) in sources() {
        let named = path
            .components()
            .filter_map(|part| part.as_os_str().to_str())
            .any(|part| FORBIDDEN_NAMES.contains(&part.trim_end_matches(".rs")));
        assert!(!named, "{}", path.display());
    }
}

/// A file that implements `Fold` or `Noun` holds rules: pure, but for the queries at its side, which only await.
#[test]
fn rules_know_no_clock_and_no_store() {
    for (path, text) in sources() {
        let tests_begin = text.find("#[cfg(test)]").unwrap_or(text.len());
        let rules = &text[..tests_begin];
        if rules.contains("impl Fold for") || rules.contains("impl Noun for") {
            for forbidden in ["now_ms()", "fill_random(", ".spawn(", "Instant::now", "HashMap", "HashSet"] {
                assert!(!rules.contains(forbidden), "{} holds rules and says `{forbidden}`", path.display());
            }
        }
    }
}

/// What is done in few places, so that a change of how it is done is made there: closing what people say and opening it, and
/// looking at blocks to say who sees whom.
const FEW_PLACES: [(&str, &[&str]); 4] = [
    ("Content::close(", &["crates/service/src/command.rs"]),
    ("Opener::new(", &["crates/service/src/kit.rs"]),
    ("BlockRow", &["crates/relations/src/block.rs", "crates/relations/src/sight.rs"]),
    ("::block::{BLOCK", &["crates/relations/src/sight.rs"]),
];

#[test]
fn some_things_are_done_in_few_places() {
    let mut done = 0;
    for (path, text) in sources() {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let is_test = path.split('/').any(|part| part.trim_end_matches(".rs") == "tests");
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (what, places) in FEW_PLACES.iter().filter(|(what, _)| !is_test && production.contains(what)) {
            assert!(places.contains(&&*path), "{path} says `{what}`");
            done += 1;
        }
    }
    assert!(done >= FEW_PLACES.len(), "they are not where they were");
}

/// `fn scope`, `fn apply`, `fn effects`, `fn decide`, `fn evolve` are plain functions everywhere.
#[test]
fn rules_are_not_async() {
    for (path, text) in sources() {
        for rule in ["scope(&self, record", "apply(&self, rows", "effects(", "decide(", "evolve("] {
            assert!(!text.contains(&format!("async fn {rule}")), "{}: {rule}", path.display());
        }
    }
}

#[test]
fn services_do_not_import_each_other() {
    for service in services() {
        let manifest = std::fs::read_to_string(root().join("services").join(service).join("Cargo.toml")).unwrap();
        for other in services().iter().filter(|other| **other != service) {
            assert!(!manifest.contains(&format!("kith-{other}")), "{service} imports {other}");
        }
    }
}

/// The tables of settings and of limits are printed from the code that they describe.
#[test]
fn the_docs_have_the_tables_as_they_are() {
    for (page, table) in [
        ("docs/configuration.md", kith_service::config::table_markdown()),
        ("docs/limits.md", kith_service::limits::table_markdown()),
        ("docs/security.md", kith::rights::table(&RELEASE.rights(&digests::settings(0, digests::PARTITIONS).unwrap()))),
    ] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        assert!(text.contains(&table), "{page} lacks, as it stands:\n{table}");
    }
}

/// What a page of the docs links to in the repository is there.
#[test]
fn links_of_the_docs_lead_somewhere() {
    let mut pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page)).to_vec();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut followed = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.is_empty() || link.contains("://") {
                continue;
            }
            assert!(page.with_file_name(link).exists(), "{}: {link}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 20, "the links are not where they were");
}
