//! What each service may do with topics and keyspaces: what it needs and no more, from the registry. Printed for those who
//! give rights: as a table, as Strimzi's users of Kafka, as CQL roles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kith_fold::Generations;
use kith_log::{Topic, topics};
use kith_service::config::{ServiceName, Settings};
use kith_tables::cql::keyspace_statement;

use crate::services::{Release, Service};

/// Readers outside groups are clients of this group; they commit nothing in it.
const READERS: &str = "kith-readers";

/// The service whose processes read security events; all others only append them.
const AUDITOR: ServiceName = ServiceName::Identity;

/// Whether a process with these settings may read security events.
pub fn audits(settings: &Settings) -> bool {
    settings.services.contains(&AUDITOR)
}

/// What one user of the brokers and one role of the CQL server need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// `posts`, or `init` for `kith init`.
    pub who: &'static str,
    pub reads: Vec<Topic>,
    pub appends: Vec<Topic>,
    /// Topics that it makes.
    pub makes: Vec<Topic>,
    /// Fold groups: the consumer group `kith.NAME.gN` and the keyspace `kith_NAME_gN` of each generation N.
    pub groups: Vec<&'static str>,
    /// Keyspaces whose tables it makes.
    pub makes_tables_of: Vec<&'static str>,
}

/// How rights are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A Markdown table of them.
    Table,
    /// `KafkaUser` resources of Strimzi, with SCRAM-SHA-512.
    Strimzi,
    /// Statements for `cqlsh`: keyspaces, roles, rights.
    Cqlsh,
}

impl Rights {
    /// A name of a user in Kafka.
    pub fn user(&self) -> String {
        format!("kith-{}", self.who)
    }

    /// A name of a role in CQL.
    pub fn role(&self) -> String {
        format!("kith_{}", self.who)
    }

    /// Each topic that it uses, with the operations of Kafka's authorizer.
    pub fn operations(&self) -> Vec<(Topic, Vec<&'static str>)> {
        let used = |topic: &Topic| [&self.reads, &self.appends, &self.makes].iter().any(|list| list.contains(topic));
        let of = |topic: Topic| {
            // Its settings are compared with the contract at each start.
            let mut operations = vec!["Describe", "DescribeConfigs"];
            let more = [("Create", &self.makes), ("Read", &self.reads), ("Write", &self.appends)];
            operations.extend(more.iter().filter(|(_, list)| list.contains(&topic)).map(|(operation, _)| *operation));
            (topic, operations)
        };
        topics::ALL.into_iter().filter(used).map(of).collect()
    }
}

impl Release {
    /// Of every service, then of `kith init`.
    pub fn rights(self, settings: &Settings) -> Vec<Rights> {
        let mut all: Vec<_> = self.0.iter().map(|service| of(service, settings)).collect();
        let groups = all.iter().flat_map(|rights| rights.groups.clone()).collect();
        all.push(Rights {
            who: "init",
            reads: vec![topics::OPS],
            appends: vec![topics::OPS],
            makes: topics::ALL.to_vec(),
            groups: Vec::new(),
            makes_tables_of: groups,
        });
        all
    }
}

impl Release {
    /// Each topic that the services of this process use, with the operations of Kafka's authorizer.
    pub fn needed(self, settings: &Settings) -> Vec<(Topic, Vec<&'static str>)> {
        let mut needed = BTreeMap::<Topic, BTreeSet<&'static str>>::new();
        for service in self.here(settings) {
            for (topic, operations) in of(service, settings).operations() {
                needed.entry(topic).or_default().extend(operations);
            }
        }
        needed.into_iter().map(|(topic, operations)| (topic, operations.into_iter().collect())).collect()
    }
}

fn of(service: &Service, settings: &Settings) -> Rights {
    let (mut reads, mut appends, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for group in service.groups_in(settings, Generations::FIRST) {
        // A service appends to the topics that are named after its group, and folds them too; identity says who is revoked.
        let own = format!("kith.{}.", group.name);
        let is_own = |topic: &&Topic| topic.name.starts_with(&own) || **topic == topics::REVOCATIONS;
        appends.extend(group.topics.iter().filter(is_own));
        reads.extend(&group.topics);
        groups.push(group.name);
    }
    reads.extend([topics::REVOCATIONS, topics::DEAD_LETTERS, topics::OPS]);
    if service.name == AUDITOR {
        reads.push(topics::SECURITY);
    }
    appends.extend([topics::DEAD_LETTERS, topics::OPS, topics::SECURITY]);
    for list in [&mut reads, &mut appends] {
        list.sort_unstable();
        list.dedup();
    }
    Rights { who: service.name.as_str(), reads, appends, makes: Vec::new(), groups, makes_tables_of: Vec::new() }
}

/// All rights in that form.
pub fn print(release: Release, settings: &Settings, form: Form) -> String {
    let all = release.rights(settings);
    match form {
        Form::Table => table(&all),
        Form::Strimzi => all.iter().map(strimzi).collect(),
        Form::Cqlsh => cqlsh(&all, settings),
    }
}

/// The table of `docs/security.md`.
pub fn table(all: &[Rights]) -> String {
    let names = |topics: &[Topic]| match topics.len() {
        0 => "none".to_owned(),
        all if all == topics::ALL.len() => "all".to_owned(),
        _ => topics.iter().map(|topic| format!("`{}`", topic.name)).collect::<Vec<_>>().join(", "),
    };
    let mut text = String::from(
        "| User | Reads | Appends to | Makes topics | Consumer groups | Keyspaces |\n|---|---|---|---|---|---|\n",
    );
    for rights in all {
        let list = |names: &[&str], start: &str, end: &str, empty: &str| match names {
            [] => empty.to_owned(),
            names => names.iter().map(|name| format!("`{start}{name}{end}`")).collect::<Vec<_>>().join(", "),
        };
        let groups = list(&rights.groups, "kith.", ".g*", "none");
        let keyspaces = match &rights.makes_tables_of[..] {
            [] => format!("{} (rows)", list(&rights.groups, "kith_", "_g1", "none")),
            all => format!("{} (tables)", list(all, "kith_", "_g1", "none")),
        };
        let (reads, appends, makes) = (names(&rights.reads), names(&rights.appends), names(&rights.makes));
        let _ = writeln!(text, "| {} | {reads} | {appends} | {makes} | {groups} | {keyspaces} |", rights.who);
    }
    text
}

fn strimzi(rights: &Rights) -> String {
    let mut text = format!(
        "---\napiVersion: kafka.strimzi.io/v1\nkind: KafkaUser\nmetadata:\n  name: {}\n  labels: {{ strimzi.io/cluster: kith }}\n\
         spec:\n  authentication: {{ type: scram-sha-512 }}\n  authorization:\n    type: simple\n    acls:\n",
        rights.user()
    );
    let mut allow = |kind: &str, name: &str, pattern: &str, operations: &str| {
        let resource = format!("{{ type: {kind}, name: {name}, patternType: {pattern} }}");
        let _ = writeln!(text, "      - {{ resource: {resource}, operations: [{operations}] }}");
    };
    for (topic, operations) in rights.operations() {
        allow("topic", topic.name, "literal", &operations.join(", "));
    }
    for group in &rights.groups {
        allow("group", &format!("kith.{group}.g"), "prefix", "Describe, Read");
    }
    allow("group", READERS, "literal", "Describe, Read");
    text
}

fn cqlsh(all: &[Rights], settings: &Settings) -> String {
    let replicas = u8::try_from(settings.replication_factor()).unwrap_or(u8::MAX);
    let mut text = String::from(
        "-- For an administrator, before `kith init`. Then give each role its password: ALTER ROLE … WITH PASSWORD = '…';\n",
    );
    let mut say = |statement: String| text.push_str(&format!("{statement};\n"));
    for rights in all {
        say(format!("CREATE ROLE IF NOT EXISTS {} WITH LOGIN = true", rights.role()));
    }
    for group in all.iter().flat_map(|rights| &rights.groups) {
        say(keyspace_statement(&format!("kith_{group}_g1"), &settings.cql_local_datacenter, replicas));
    }
    for rights in all {
        for group in &rights.groups {
            for permission in ["SELECT", "MODIFY"] {
                say(format!("GRANT {permission} ON KEYSPACE kith_{group}_g1 TO {}", rights.role()));
            }
        }
        for group in &rights.makes_tables_of {
            say(format!("GRANT CREATE ON KEYSPACE kith_{group}_g1 TO {}", rights.role()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use kith_service::config::Sources;

    use super::*;
    use crate::services::RELEASE;

    fn settings() -> Settings {
        Settings::from_sources(Sources { flags: Vec::new(), environment: Some(Default::default()) }).unwrap()
    }

    fn rights_of(who: &str) -> Rights {
        RELEASE.rights(&settings()).into_iter().find(|rights| rights.who == who).unwrap()
    }

    #[test]
    fn a_service_appends_to_its_own_topics_and_the_common_ones() {
        let common = [topics::DEAD_LETTERS, topics::OPS, topics::SECURITY];
        assert_eq!(rights_of("posts").appends, [&[topics::POSTS, topics::POSTS_PRIVATE][..], &common].concat());
        assert_eq!(rights_of("projector").appends, common);
        assert_eq!(rights_of("projector").groups, ["feeds"]);
    }

    /// ARCHITECTURE, invariant 6; and private topics may hold secrets.
    #[test]
    fn nobody_else_reads_a_private_topic_or_has_a_keyspace() {
        let all = RELEASE.rights(&settings());
        for topic in topics::ALL.into_iter().filter(|topic| topic.is_private()) {
            let readers: Vec<_> = all.iter().filter(|rights| rights.reads.contains(&topic)).collect();
            assert!(readers.len() <= 1 && readers.iter().all(|rights| rights.appends.contains(&topic)), "{readers:?}");
        }
        for group in all.iter().flat_map(|rights| &rights.groups) {
            assert_eq!(all.iter().filter(|rights| rights.groups.contains(group)).count(), 1, "{group}");
        }
    }

    #[test]
    fn all_append_security_events_and_one_service_reads_them() {
        let all = RELEASE.rights(&settings());
        let who = |of: fn(&Rights) -> &Vec<Topic>| {
            let having = all.iter().filter(|rights| of(rights).contains(&topics::SECURITY));
            having.map(|rights| rights.who).collect::<Vec<_>>()
        };
        assert_eq!(who(|rights| &rights.reads), ["identity"]);
        assert_eq!(who(|rights| &rights.appends), ServiceName::ALL.map(ServiceName::as_str));
    }

    #[test]
    fn each_form_has_every_right() {
        let strimzi = print(RELEASE, &settings(), Form::Strimzi);
        assert_eq!(strimzi.matches("kind: KafkaUser").count(), 6);
        assert!(strimzi.contains(
            "- { resource: { type: topic, name: kith.posts.private.v1, patternType: literal }, \
             operations: [Describe, DescribeConfigs, Read, Write] }"
        ));
        assert!(strimzi.contains("- { resource: { type: group, name: kith.feeds.g, patternType: prefix }"));
        let cqlsh = print(RELEASE, &settings(), Form::Cqlsh);
        for statement in [
            "CREATE ROLE IF NOT EXISTS kith_init WITH LOGIN = true;",
            "GRANT MODIFY ON KEYSPACE kith_feeds_g1 TO kith_projector;",
            "GRANT CREATE ON KEYSPACE kith_feeds_g1 TO kith_init;",
        ] {
            assert!(cqlsh.contains(statement), "{statement} is not in\n{cqlsh}");
        }
        assert!(!cqlsh.contains("ALL KEYSPACES"));
    }
}
