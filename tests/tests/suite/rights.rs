//! Every service with just the rights that `kith init --print` names, over TLS, with a real authorizer on each side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use kith_authority::Authority;
use kith_tests::kith::{self, ADMIN_PORT, Launch, OPS_PORT};
use kith_tests::secured::Secured;
use kith_tests::server::Server;
use kith_tests::suite::{Suite, services};
use kith_tests::{cassandra_server, http, kafka_server, servers, wait};
use kith_tls::{ClientFiles, Identity};
use regex::Regex;

const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Both servers, and what their clients need.
struct Place {
    kafka: Server,
    cassandra: Server,
    secured: Secured,
    keys: tempfile::TempDir,
}

impl Place {
    async fn start() -> Self {
        let secured = Secured::new().unwrap();
        let authority = Arc::new(Authority::default());
        authority.write(secured.folder().join("servers-ca.pem"));
        authority.issue(secured.folder(), "kith", &["kith"]);
        let (kafka, cassandra) = tokio::try_join!(
            kafka_server::start_secured(Arc::clone(&authority)),
            cassandra_server::start_secured(Arc::clone(&authority)),
        )
        .unwrap();
        Self { kafka, cassandra, secured, keys: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.secured.folder().join(name)
    }

    /// How `who` reaches both servers, with passwords of its own.
    fn settings(&self, who: &str) -> Vec<(&'static str, String)> {
        let password = self.file(&format!("{who}.password"));
        if !password.exists() {
            std::fs::write(&password, format!("secret-of-{who}\n")).unwrap();
        }
        let file = |name: &str| self.file(name).display().to_string();
        let password = password.display().to_string();
        let servers = [
            ("log", format!("kafka:{}", self.kafka.socket(kafka_server::PORT))),
            ("tables", format!("cql:{}", self.cassandra.socket(cassandra_server::PORT))),
            ("keys_dir", self.keys.path().display().to_string()),
            ("kafka_ca_file", file("servers-ca.pem")),
            ("kafka_user", format!("kith-{who}")),
            ("kafka_password_file", password.clone()),
            ("cql_ca_file", file("servers-ca.pem")),
            ("cql_certificate_file", file("kith.pem")),
            ("cql_key_file", file("kith.key")),
            ("cql_user", format!("kith_{who}")),
            ("cql_password_file", password),
        ];
        servers.into_iter().chain(self.secured.settings()).collect()
    }

    fn launch(&self, service: &str) -> Launch {
        let launch = Launch::run(service).set("services", service);
        self.settings(service).into_iter().fold(launch, |launch, (key, value)| launch.set(key, value))
    }

    /// What a command of `kith` prints, as `who`, and whether it succeeded.
    async fn kith(&self, who: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::from(kith::command().await.unwrap());
        command.args(arguments).kill_on_drop(true);
        for name in ["KITH_LISTEN", "KITH_ADMIN_LISTEN", "KITH_OPS_LISTEN"] {
            command.env(name, "127.0.0.1:0");
        }
        command
            .envs(self.settings(who).into_iter().map(|(key, value)| (format!("KITH_{}", key.to_uppercase()), value)));
        if services().contains(&who) {
            command.env("KITH_SERVICES", who);
        }
        let output = command.output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), said.concat())
    }

    async fn cql(&self, statements: &[String]) {
        let identity = Identity { certificate: self.file("kith.pem"), key: self.file("kith.key") };
        let files = ClientFiles { ca: Some(self.file("servers-ca.pem")), identity: Some(identity), server_name: None };
        cassandra_server::execute(&self.cassandra, files, statements).await.unwrap();
    }

    /// Gives the rights as they are printed, and no others.
    async fn give_rights(&self) {
        let (printed, users) = self.kith("init", &["init", "--print", "strimzi"]).await;
        assert!(printed, "{users}");
        let (printed, roles) = self.kith("init", &["init", "--print", "cqlsh"]).await;
        assert!(printed, "{roles}");
        let mut statements: Vec<_> = roles.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect();
        let all = services().into_iter().chain(["init"]);
        statements.extend(all.map(|who| format!("ALTER ROLE kith_{who} WITH PASSWORD = 'secret-of-{who}'")));
        tokio::join!(self.cql(&statements), async { kafka_server::grant(&self.kafka, &lines(&users)).await.unwrap() });
    }
}

/// Strimzi's resources as lines of `Grant.java`.
fn lines(users: &str) -> String {
    let user = Regex::new(r"^  name: (kith-(\w+))$").unwrap();
    let right = Regex::new(r"type: (\w+), name: ([\w.-]+), patternType: (\w+) }, operations: \[(.*)\]").unwrap();
    let (mut lines, mut current) = (String::new(), String::new());
    for line in users.lines() {
        if let Some(found) = user.captures(line) {
            current = found[1].to_owned();
            writeln!(lines, "user {current} secret-of-{}", &found[2]).unwrap();
        }
        if let Some(found) = right.captures(line) {
            for operation in found[4].split(", ") {
                writeln!(lines, "allow {current} {} {} {} {operation}", &found[1], &found[2], &found[3]).unwrap();
            }
        }
    }
    assert!(lines.contains("allow kith-posts topic kith.posts.v1 literal Write"), "{lines}");
    lines
}

/// Waits until the process says so of what it waits for.
async fn waits_for(process: &Server, words: &[&str]) {
    wait::until(&format!("it waits for {words:?}"), NOTICED_WITHIN, async || {
        // It was just started, and does not listen yet.
        let Ok(answer) = http::get(process.socket(ADMIN_PORT), "/readyz").await else { return Ok(None) };
        Ok((answer.status == 503 && words.iter().all(|word| answer.body.contains(word))).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_with_just_these_rights_and_each_that_is_missing_is_named() {
    if servers::why_not_live().is_some() {
        return;
    }
    let mut place = Place::start().await;
    place.give_rights().await;
    let (made, said) = place.kith("init", &["init"]).await;
    assert!(made, "{said}");
    let start = async |service: &str| anyhow::Ok((service.to_owned(), place.launch(service).start().await?));
    let processes: BTreeMap<_, _> = try_join_all(services().map(start)).await.unwrap().into_iter().collect();
    let mut suite = Suite { processes };
    let caller = place.secured.show(&place.secured.callers, "spiffe://example.org/demo");
    suite.demo_with(60, &place.secured.demo_flags(&caller)).await.unwrap();
    for service in services() {
        let (sound, said) = place.kith(service, &["doctor"]).await;
        assert!(sound, "{service}: {said}");
    }

    every_process_notes_security_events(&place, &suite).await;
    a_right_taken_away_is_named(&place, &mut suite).await;
    passwords_change_without_a_restart(&mut place, &mut suite).await;
    suite.posts_and_reads_with(20, &place.secured.demo_flags(&caller)).await.unwrap();
}

/// Each notes which keys it has read, and only identity may read what all have noted.
async fn every_process_notes_security_events(place: &Place, suite: &Suite) {
    let operator = place.secured.show(&place.secured.operators, "spiffe://example.org/operator");
    let audit = async |service: &str| {
        let mut command = tokio::process::Command::from(kith::command().await.unwrap());
        let ops = suite.processes[service].socket(OPS_PORT).to_string();
        command.args(["audit", "--json", "--kind", "keys-read", "--ops", &ops]).envs(place.secured.operator(&operator));
        let output = command.kill_on_drop(true).output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if output.status.success() { Ok(said.concat()) } else { Err(said.concat()) }
    };
    let said: serde_json::Value = serde_json::from_str(&audit("identity").await.unwrap()).unwrap();
    let processes = said["entries"].as_array().unwrap().iter().map(|entry| entry["process"].as_str().unwrap());
    assert_eq!(processes.collect::<BTreeSet<_>>(), services().into_iter().collect());
    assert!(audit("projector").await.unwrap_err().contains("METHOD_UNKNOWN"));
}

async fn a_right_taken_away_is_named(place: &Place, suite: &mut Suite) {
    kafka_server::grant(&place.kafka, "take kith-posts topic kith.posts.v1 literal Write\n").await.unwrap();
    place.cql(&["REVOKE MODIFY ON KEYSPACE kith_engagement_g1 FROM kith_engagement".to_owned()]).await;
    for (service, words) in [("posts", ["kith.posts.v1", "Write"]), ("engagement", ["kith_engagement_g1", "MODIFY"])] {
        wait::until("doctor names the right", NOTICED_WITHIN, async || {
            let (sound, said) = place.kith(service, &["doctor"]).await;
            let named = said.lines().any(|line| line.contains('✘') && words.iter().all(|word| line.contains(word)));
            Ok((!sound && named).then_some(()))
        })
        .await
        .unwrap();
        let process = suite.process(service).unwrap();
        process.launch().unwrap();
        waits_for(process, &words).await;
    }
    kafka_server::grant(&place.kafka, "allow kith-posts topic kith.posts.v1 literal Write\n").await.unwrap();
    place.cql(&["GRANT MODIFY ON KEYSPACE kith_engagement_g1 TO kith_engagement".to_owned()]).await;
    for service in ["posts", "engagement"] {
        suite.process(service).unwrap().ready().await.unwrap();
    }
}

/// Both servers forget who was connected, so that each client logs in again.
async fn passwords_change_without_a_restart(place: &mut Place, suite: &mut Suite) {
    kafka_server::grant(&place.kafka, "user kith-posts another-secret\n").await.unwrap();
    place.cql(&["ALTER ROLE kith_posts WITH PASSWORD = 'another-secret'".to_owned()]).await;
    std::fs::write(place.file("posts.password"), "another-secret\n").unwrap();
    tokio::try_join!(place.kafka.restart(), place.cassandra.restart()).unwrap();
    let posts = suite.process("posts").unwrap();
    let pid = posts.process().unwrap().pid();
    posts.ready().await.unwrap();
    assert_eq!(posts.process().unwrap().pid(), pid);
}
