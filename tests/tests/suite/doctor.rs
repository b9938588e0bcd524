//! `kith doctor` against a real Kafka and a real Cassandra that are not as they should be, one by one.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures::future::try_join_all;
use kith_log::{EventLog, Topic, topics};
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::{Column, Order, Section, Table, TableStore};
use kith_tests::server::Server;
use kith_tests::{cassandra_server, kafka_server, kith, servers, suite};

/// What it said of everything that is not sound: `✘ subject: name`, `! subject: name`.
struct Said {
    unsound: BTreeSet<String>,
    failed: bool,
}

/// The servers and keys of a suite.
struct Place<'a> {
    kafka: &'a Server,
    cassandra: &'a Server,
    keys: &'a Path,
}

impl Place<'_> {
    async fn doctor(&self, settings: &[(&str, &str)]) -> Said {
        let mut command = tokio::process::Command::from(kith::command().await.unwrap());
        command.args(["doctor", "--json"]).kill_on_drop(true);
        // Ports that nobody else has: another test's suite may be listening on the standard ones.
        for name in ["KITH_LISTEN", "KITH_ADMIN_LISTEN", "KITH_OPS_LISTEN"] {
            command.env(name, "127.0.0.1:0");
        }
        for (key, value) in suite::places(self.kafka, self.cassandra, self.keys) {
            command.env(format!("KITH_{}", key.to_uppercase()), value);
        }
        for (key, value) in settings {
            command.env(format!("KITH_{}", key.to_uppercase()), value);
        }
        let output = command.output().await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let mut unsound = BTreeSet::new();
        for check in document["checks"].as_array().unwrap() {
            let text = |name: &str| check[name].as_str().unwrap().to_owned();
            let sign = match &*text("weight") {
                "wrong" => '✘',
                "doubtful" => '!',
                _ => continue,
            };
            assert!(!text("fix").is_empty(), "{check}");
            // What the machine of the test is like is not ours.
            if text("subject") != "machine" {
                unsound.insert(format!("{sign} {}: {}", text("subject"), text("name")));
            }
        }
        Said { unsound, failed: output.status.code() == Some(1) }
    }

    /// Exactly these are unsound, and it fails if any is wrong.
    async fn finds(&self, settings: &[(&str, &str)], expected: &[String]) {
        let said = self.doctor(settings).await;
        assert_eq!(said.unsound, expected.iter().cloned().collect(), "{settings:?}");
        assert_eq!(said.failed, expected.iter().any(|finding| finding.starts_with('✘')), "{settings:?}");
    }
}

fn all_topics(what: &str) -> Vec<String> {
    topics::ALL.iter().map(|topic| format!("✘ {}: {what}", topic.name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_suite_gives_nothing_and_each_fault_is_found() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    tokio::try_join!(kafka.wipe(), cassandra.wipe()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    suite::init(&kafka, &cassandra, &keys).await.unwrap();
    let place = Place { kafka: &kafka, cassandra: &cassandra, keys: &keys };
    place.finds(&[], &[]).await;

    settings_that_differ_from_what_is_there(&place).await;
    keys_of_everybody(&place).await;
    topics_with_other_settings(&place).await;
    keyspaces_with_other_tables(&place).await;
    topics_that_are_missing_or_have_other_partitions(&mut kafka, &cassandra, &keys).await;
    servers_that_are_down(&mut kafka, &mut cassandra, &keys).await;
    a_commit_log_that_is_synced_now_and_then(&kafka, &mut cassandra, &keys).await;
    tokio::try_join!(kafka.wipe(), cassandra.wipe()).unwrap();
}

async fn settings_that_differ_from_what_is_there(place: &Place<'_>) {
    place.finds(&[("partitions", "8")], &all_topics("partitions")).await;
    place.finds(&[("cql_local_datacenter", "elsewhere")], &["✘ CQL server: local datacentre".to_owned()]).await;
    let mut copies = all_topics("copies");
    copies.extend(["✘ brokers: count".to_owned(), "✘ CQL server: nodes in datacenter1".to_owned()]);
    copies.extend(suite::groups().unwrap().iter().map(|(group, _)| format!("! kith_{group}_g1: replication")));
    place.finds(&[("replication_factor", "3")], &copies).await;
    let strict = place.doctor(&[("profile", "production")]).await;
    let expected =
        ["✘ brokers: settings of the client", "✘ kith.posts.v1: min.insync.replicas", "✘ kith_posts_g1: replication"];
    for finding in expected {
        assert!(strict.unsound.contains(finding), "{finding} is not among {:#?}", strict.unsound);
    }
}

async fn keys_of_everybody(place: &Place<'_>) {
    let key = place.keys.join("signing-key.pem");
    let chmod = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o644);
    place.finds(&[], &[format!("✘ {}: mode", key.display())]).await;
    chmod(0o600);
}

/// None of the times is so short that the broker, which looks every five minutes, deletes a record under it.
async fn topics_with_other_settings(place: &Place<'_>) {
    let changes: [(Topic, &str, &str, &str, char); 6] = [
        (topics::POSTS, "cleanup.policy", "compact", "delete", '✘'),
        (topics::IDENTITY, "retention.ms", "604800000", "-1", '✘'),
        (topics::ENGAGEMENT, "retention.bytes", "1073741824", "-1", '✘'),
        (topics::MESSAGING, "max.message.bytes", "65536", "1048588", '✘'),
        (topics::FEEDS, "message.timestamp.type", "CreateTime", "LogAppendTime", '✘'),
        (topics::OPS, "retention.ms", "86400000", "-1", '✘'),
    ];
    let expected = changes.map(|(topic, name, _, _, sign)| format!("{sign} {}: {name}", topic.name));
    // Each is a JVM's start.
    let alter = |topic: Topic, name, value| kafka_server::alter_topic(place.kafka, topic.name, name, value);
    try_join_all(changes.map(|(topic, name, value, ..)| alter(topic, name, value))).await.unwrap();
    place.finds(&[], &expected).await;
    try_join_all(changes.map(|(topic, name, _, sound, _)| alter(topic, name, sound))).await.unwrap();
    place.finds(&[], &[]).await;
}

/// As an older release, or somebody's hand, may have made it.
static OTHER_POSTS: Table = Table {
    name: "posts",
    partition: &[Column::text("post")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section { id: 0, name: "post", columns: &[Column::text("other")], removable: false }],
    summary: &[],
};

async fn keyspaces_with_other_tables(place: &Place<'_>) {
    let socket = place.cassandra.socket(cassandra_server::PORT).to_string();
    let tables = CqlTables::connect(CqlSettings::new(vec![socket]));
    tables.drop_keyspace("kith_identity_g1").await.unwrap();
    tables.drop_keyspace("kith_posts_g1").await.unwrap();
    tables.create("kith_posts_g1", &[&OTHER_POSTS]).await.unwrap();
    let declared = kith_posts::group(1).tables();
    assert!(declared.iter().any(|table| table.name == OTHER_POSTS.name) && declared.len() > 2);
    let mut expected: Vec<_> = declared.iter().map(|table| format!("✘ kith_posts_g1: table {}", table.name)).collect();
    expected.push("✘ kith_identity_g1: keyspace".to_owned());
    place.finds(&[], &expected).await;
    tables.drop_keyspace("kith_posts_g1").await.unwrap();
    suite::init(place.kafka, place.cassandra, place.keys).await.unwrap();
    place.finds(&[], &[]).await;
}

async fn topics_that_are_missing_or_have_other_partitions(kafka: &mut Server, cassandra: &Server, keys: &Path) {
    kafka.wipe().await.unwrap();
    kafka_server::log(kafka, 4).unwrap().create_topics(&[topics::POSTS]).await.unwrap();
    kafka_server::log(kafka, 16).unwrap().create_topics(&[topics::IDENTITY]).await.unwrap();
    let made = [topics::POSTS, topics::IDENTITY];
    let missing = topics::ALL.iter().filter(|topic| !made.contains(topic));
    let mut expected: Vec<_> = missing.map(|topic| format!("✘ {}: topic", topic.name)).collect();
    expected.push("✘ kith.posts.v1: partitions".to_owned());
    Place { kafka, cassandra, keys }.finds(&[], &expected).await;
}

async fn servers_that_are_down(kafka: &mut Server, cassandra: &mut Server, keys: &Path) {
    kafka.kill_9().unwrap();
    cassandra.kill_9().unwrap();
    let down = ["✘ brokers: answer", "✘ CQL server: answer"].map(str::to_owned);
    Place { kafka, cassandra, keys }.finds(&[], &down).await;
    kafka.wipe().await.unwrap();
}

async fn a_commit_log_that_is_synced_now_and_then(kafka: &Server, cassandra: &mut Server, keys: &Path) {
    let file = cassandra.folder().join("cassandra.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    let changed = yaml.replace("commitlog_sync: batch", "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms");
    assert_ne!(yaml, changed);
    std::fs::write(&file, changed).unwrap();
    cassandra.restart().await.unwrap();
    let place = Place { kafka, cassandra, keys };
    let said = place.doctor(&[]).await.unsound;
    assert!(said.contains("! CQL server: commitlog_sync"), "{said:#?}");
    let strict = place.doctor(&[("profile", "production")]).await.unsound;
    assert!(strict.contains("✘ CQL server: commitlog_sync"), "{strict:#?}");
}
