//! Whole examinations without servers. What a server may be like is tried in the crates that know it, and in the
//! workspace's `tests`.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kith_finding::Weight;
use kith_log::embedded::EmbeddedLog;
use kith_service::config::Sources;
use kith_service::keys::{
    CONSISTENCY_TOKEN_KEY_FILE, JWKS_FILE, KeyFolder, PAGE_TOKEN_KEY_FILE, REFRESH_TOKEN_KEY_FILE, SIGNING_KEY_FILE,
};
use kith_tables::embedded::EmbeddedTables;

use super::*;
use crate::services::RELEASE;

struct Place {
    folder: tempfile::TempDir,
    changed: Vec<(String, String)>,
}

impl Place {
    /// Log, tables and keys as a first `kith run` leaves them.
    fn made() -> Self {
        let place = Self::new();
        let runtime = Runtime::system();
        drop(EmbeddedLog::open(&place.path("log"), 16, runtime.clone()).unwrap());
        drop(EmbeddedTables::open(place.path("tables"), runtime.clone()).unwrap());
        KeyFolder::at(place.path("keys")).create_missing(&runtime).unwrap();
        place
    }

    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), changed: Vec::new() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.changed.push((key.to_owned(), value.to_owned()));
        self
    }

    fn settings(&self) -> Settings {
        let path = |name| self.path(name).display().to_string();
        let mut flags = vec![
            ("log".to_owned(), format!("embedded:{}", path("log"))),
            ("tables".to_owned(), format!("embedded:{}", path("tables"))),
            ("keys_dir".to_owned(), path("keys")),
            ("listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("admin_listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("ops_listen".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        flags.extend(self.changed.iter().cloned());
        Settings::from_sources(Sources { flags, environment: Some(HashMap::new()) }).unwrap()
    }

    async fn checks(&self) -> Vec<Finding> {
        examine(&self.settings(), RELEASE, &Runtime::system()).await
    }

    async fn wrong(&self) -> Vec<String> {
        let checks = self.checks().await;
        let wrong = checks.into_iter().filter(|check| check.weight == Weight::Wrong);
        let base = |subject: &str| Path::new(subject).file_name().unwrap().to_string_lossy().into_owned();
        wrong
            .map(|check| {
                assert!(!check.fix.is_empty(), "{check:?}");
                format!("{}: {}", base(&check.subject), check.name)
            })
            .collect()
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn nothing_is_wrong_before_the_first_start_and_after_it() {
    assert_eq!(Place::new().wrong().await, [""; 0]);
    let made = Place::made();
    assert_eq!(made.wrong().await, [""; 0]);
    let checks = made.checks().await;
    // What the machine of the test is like is not ours.
    let others = ["open files", "free", "file system"];
    let doubtful = checks.iter().filter(|check| check.weight == Weight::Doubtful && !others.contains(&&*check.name));
    assert_eq!(doubtful.count(), 0, "{checks:#?}");
}

#[tokio::test]
async fn each_misconfiguration_of_a_folder_is_found_by_itself() {
    type Change = fn(&Place);
    let changes: [(&str, Change); 14] = [
        ("log: format of the log", |place| std::fs::write(place.path("log/FORMAT"), "kith-log format 9\n").unwrap()),
        ("log: format of the log", |place| std::fs::remove_file(place.path("log/FORMAT")).unwrap()),
        ("tables: format of the tables", |place| std::fs::write(place.path("tables/FORMAT"), "other").unwrap()),
        ("signing-key.pem: mode", |place| chmod(&place.path("keys").join(SIGNING_KEY_FILE), 0o644)),
        ("page-token.key: mode", |place| chmod(&place.path("keys").join(PAGE_TOKEN_KEY_FILE), 0o604)),
        ("consistency-token.key: mode", |place| chmod(&place.path("keys").join(CONSISTENCY_TOKEN_KEY_FILE), 0o604)),
        ("consistency-token.key: key", |place| {
            std::fs::remove_file(place.path("keys").join(CONSISTENCY_TOKEN_KEY_FILE)).unwrap()
        }),
        ("keys: mode", |place| chmod(&place.path("keys"), 0o777)),
        ("signing-key.pem: key", |place| std::fs::write(place.path("keys").join(SIGNING_KEY_FILE), "no key").unwrap()),
        ("page-token.key: key", |place| std::fs::write(place.path("keys").join(PAGE_TOKEN_KEY_FILE), "short").unwrap()),
        ("page-token.key: key", |place| std::fs::remove_file(place.path("keys").join(PAGE_TOKEN_KEY_FILE)).unwrap()),
        ("refresh-token.key: key", |place| {
            std::fs::remove_file(place.path("keys").join(REFRESH_TOKEN_KEY_FILE)).unwrap()
        }),
        ("jwks.json: public keys", |place| std::fs::write(place.path("keys").join(JWKS_FILE), "{").unwrap()),
        ("jwks.json: public keys", |place| std::fs::remove_file(place.path("keys").join(JWKS_FILE)).unwrap()),
    ];
    for (expected, change) in changes {
        let place = Place::made();
        change(&place);
        assert_eq!(place.wrong().await, [expected]);
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_what_is_there_are_found() {
    assert_eq!(Place::made().set("partitions", "8").wrong().await, ["log: format of the log"]);
    assert_eq!(Place::made().set("listen", "192.0.2.1:7400").wrong().await, ["settings: listen"]);
    let place = Place::made();
    std::fs::write(place.path("file"), "").unwrap();
    let inside = format!("embedded:{}", place.path("file/log").display());
    assert_eq!(place.set("log", &inside).wrong().await[0], "log: folder");
    // The keys of another suite.
    let (place, other) = (Place::made(), Place::made());
    let foreign = other.path("keys").join(JWKS_FILE).display().to_string();
    assert_eq!(place.set("jwks_file", &foreign).wrong().await, ["jwks.json: public keys"]);
}

#[tokio::test]
async fn folders_that_are_not_what_they_are_named_as_are_never_to_be_deleted() {
    let place = Place::made();
    let (log, tables) = (place.path("log"), place.path("tables"));
    let embedded = |path: &Path| format!("embedded:{}", path.display());
    let swapped = place.set("log", &embedded(&tables)).set("tables", &embedded(&log));
    assert_eq!(swapped.wrong().await, ["tables: format of the log", "log: format of the tables"]);
    let both = swapped.set("log", &embedded(&log));
    assert_eq!(both.wrong().await, ["settings: log and tables", "log: format of the tables"]);
    let checks = both.checks().await;
    assert!(checks.iter().all(|check| !check.fix.contains("delete")), "{checks:#?}");
    let text = Report { checks }.text();
    assert!(text.contains("correct the setting `tables`") && !text.contains("u{a}"), "{text}");
}

#[tokio::test]
async fn a_folder_of_other_things_is_left_as_it_is() {
    let place = Place::made();
    std::fs::create_dir(place.path("etc")).unwrap();
    std::fs::write(place.path("etc/hosts"), "").unwrap();
    chmod(&place.path("etc"), 0o755);
    let etc = place.path("etc").display().to_string();
    let place = place.set("keys_dir", &etc);
    assert_eq!(place.wrong().await, ["etc: keys"]);
    assert!(place.checks().await.iter().all(|check| !check.fix.contains("chmod")));
    chmod(&place.path("log"), 0o755);
    let said = format!("chmod 0700 {}", place.path("log").display());
    assert!(place.checks().await.iter().any(|check| check.fix == said));
}

#[tokio::test]
async fn keys_that_do_not_come_from_their_url_are_found() {
    let place = Place::made();
    let file = place.path("callers.toml");
    let issuer = "[[issuer]]\nissuer = \"https://login.example\"\naudience = \"kith\"\nalgorithm = \"EdDSA\"\n";
    std::fs::write(&file, format!("{issuer}jwks_url = \"http://127.0.0.1:1/keys\"\n")).unwrap();
    chmod(&file, 0o644);
    let place = place.set("callers_file", &file.display().to_string());
    assert_eq!(place.wrong().await, ["keys: an issuer's keys"]);
    let strict = place.set("profile", "production").wrong().await;
    assert!(strict.contains(&"callers.toml: calling services".to_owned()), "{strict:?}");
}

#[tokio::test]
async fn servers_that_are_down_are_the_findings() {
    let place = Place::made().set("log", "kafka:127.0.0.1:1").set("tables", "cql:127.0.0.1:1");
    assert_eq!(place.wrong().await, ["brokers: answer", "CQL server: answer"]);
    let strict = place.set("profile", "production");
    let exposed = ["tls_certificate_file", "ops_client_ca_file", "kafka_ca_file", "cql_ca_file"];
    let exposed = exposed.map(|key| format!("settings: {key}"));
    let servers = ["brokers: settings of the client", "brokers: answer", "CQL server: answer"].map(str::to_owned);
    assert_eq!(strict.wrong().await, [&exposed[..], &servers].concat());
    std::fs::remove_dir_all(strict.path("keys")).unwrap();
    let missing = strict.wrong().await;
    for key in ["page-token.key: key", "consistency-token.key: key", "signing-key.pem: key", "jwks.json: public keys"] {
        assert!(missing.contains(&key.to_owned()), "{missing:?}");
    }
}

#[tokio::test]
async fn the_exit_code_follows_what_is_wrong() {
    let options = || DoctorOptions { json: true, settings: SettingFlags::default() };
    run(Place::made().settings(), RELEASE, options()).await.unwrap();
    let wrong = run(Place::made().set("partitions", "8").settings(), RELEASE, options()).await.unwrap_err().to_string();
    assert!(wrong.starts_with("1 of "), "{wrong}");
}
