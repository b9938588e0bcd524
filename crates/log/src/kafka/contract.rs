//! Rules that topics and brokers must satisfy.

use std::collections::BTreeMap;

use kith_finding::{Finding, Weight};

use crate::{MAX_RECORD_BYTES, Topic, topics};

/// How long a topic keeps its records.
const RETENTION: &str = "retention.ms";
/// Every topic's configuration; beside [`RETENTION`], nothing is ever deleted.
const EVERYWHERE: [(&str, &str); 3] = [
    ("cleanup.policy", "delete"),
    ("retention.bytes", "-1"),
    // The broker's clock reveals a writer with a wrong clock.
    ("message.timestamp.type", "LogAppendTime"),
];
/// Also if the loss of one broker must lose nothing.
const PRODUCTION: [(&str, &str); 2] = [("min.insync.replicas", "2"), ("unclean.leader.election.enable", "false")];
/// The broker measures a batch of records; see `batch.size`.
const LEAST_MESSAGE_BYTES: usize = 4 * MAX_RECORD_BYTES;

/// Settings by name.
pub(super) type Config = BTreeMap<String, String>;

/// A topic as the brokers know it.
pub(super) struct Found {
    pub partitions: usize,
    /// The fewest that any partition has.
    pub copies: usize,
    /// Partitions that cannot be written.
    pub leaderless: usize,
}

/// What the settings ask for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub partitions: usize,
    pub copies: usize,
    pub production: bool,
    /// Of the topics that forget; -1: for ever.
    pub retention_ms: i64,
}

impl Wanted {
    /// Settings of a topic, for its creation and its checks.
    pub fn topic_config(self, topic: &str) -> impl Iterator<Item = (&'static str, String)> {
        let retention_ms = if forgets(topic) { self.retention_ms } else { -1 };
        let fixed = EVERYWHERE.into_iter().chain(PRODUCTION.into_iter().filter(move |_| self.production));
        fixed.map(|(name, value)| (name, value.to_owned())).chain([(RETENTION, retention_ms.to_string())])
    }

    /// What prevents the use of a topic: a log on it is refused if anything here is wrong.
    pub fn judge_topic(self, topic: &str, found: Option<&Found>, config: Option<&Config>) -> Vec<Finding> {
        let Some(found) = found else {
            let fix = "run `kith init`, which makes it";
            return vec![Finding::judged(topic, "topic", ("missing", "there"), Weight::Wrong, fix)];
        };
        let mut findings = vec![self.judge_partitions(topic, found), self.judge_copies(topic, found)];
        findings.extend(config.into_iter().flat_map(|config| self.judge_config(topic, config)));
        findings
    }

    fn judge_partitions(self, topic: &str, found: &Found) -> Finding {
        let fix = format!(
            "the count is fixed when a log is made: set `partitions = {}` if all topics have that many, or delete {topic} \
             and run `kith init` if nothing is in it",
            found.partitions
        );
        Finding::compared(topic, "partitions", (found.partitions, self.partitions), Weight::Wrong, fix)
    }

    fn judge_copies(self, topic: &str, found: &Found) -> Finding {
        let weight = if found.copies < self.copies { Weight::Wrong } else { Weight::Sound };
        let fix = format!(
            "give each partition {} copies: kafka-reassign-partitions.sh --topics-to-move-json-file … --execute",
            self.copies
        );
        Finding::judged(topic, "copies", (found.copies, self.copies), weight, fix)
    }

    fn judge_config(self, topic: &str, config: &Config) -> Vec<Finding> {
        let mut findings: Vec<_> = self
            .topic_config(topic)
            .map(|(name, wanted)| {
                // Another retention than the setting's of what no state follows from keeps no process from running.
                let otherwise = if name == RETENTION && forgets(topic) { Weight::Doubtful } else { Weight::Wrong };
                let fix = alter(topic, name, &wanted);
                Finding::compared(topic, name, (value(config, name), &*wanted), otherwise, fix)
            })
            .collect();
        let name = "max.message.bytes";
        let most = value(config, name);
        let fits = most.parse().is_ok_and(|most: usize| most >= LEAST_MESSAGE_BYTES);
        let weight = if fits { Weight::Sound } else { Weight::Wrong };
        let wanted = format!("at least {LEAST_MESSAGE_BYTES}");
        let fix = alter(topic, name, &LEAST_MESSAGE_BYTES.to_string());
        findings.push(Finding::judged(topic, name, (most, wanted), weight, fix));
        findings
    }

    /// Whether it can be written now: that may change in a moment, so it does not refuse a start.
    pub fn judge_leaders(self, topic: &str, found: &Found) -> Finding {
        let weight = if found.leaderless == 0 { Weight::Sound } else { Weight::Wrong };
        let fix = "start the brokers that hold its copies";
        Finding::judged(topic, "partitions without a leader", (found.leaderless, 0), weight, fix)
    }

    pub fn judge_cluster(self, brokers: usize) -> Finding {
        let weight = if brokers < self.copies { Weight::Wrong } else { Weight::Sound };
        let fix = format!("start brokers, or set `replication_factor` to {brokers}, which loses more when one is lost");
        Finding::judged("brokers", "count", (brokers, format!("at least {}", self.copies)), weight, fix)
    }

    pub fn judge_broker(self, broker: &str, config: &Config) -> Vec<Finding> {
        let otherwise = if self.production { Weight::Wrong } else { Weight::Doubtful };
        let set =
            |name: &str, wanted: &str| format!("set {name}={wanted} in the broker's server.properties, and restart it");
        let compared = |name: &str, wanted: &str| {
            Finding::compared(broker, name, (value(config, name), wanted), otherwise, set(name, wanted))
        };
        // A topic auto-created by a misspelt name has the broker's defaults.
        let mut findings = vec![compared("auto.create.topics.enable", "false")];
        findings.extend(self.production.then(|| compared("unclean.leader.election.enable", "false")));
        findings
    }
}

fn forgets(topic: &str) -> bool {
    topics::by_name(topic).is_some_and(Topic::forgets)
}

fn value<'a>(config: &'a Config, name: &str) -> &'a str {
    config.get(name).map_or("not told", String::as_str)
}

fn alter(topic: &str, name: &str, value: &str) -> String {
    format!("kafka-configs.sh --bootstrap-server … --alter --topic {topic} --add-config {name}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVELOPMENT: Wanted = Wanted { partitions: 16, copies: 1, production: false, retention_ms: 86_400_000 };
    const STRICT: Wanted = Wanted { partitions: 16, copies: 3, production: true, retention_ms: 86_400_000 };

    fn found() -> Found {
        Found { partitions: 16, copies: 3, leaderless: 0 }
    }

    fn config(changed: &[(&str, &str)]) -> Config {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let others = [("max.message.bytes", "1048588")].into_iter().map(owned);
        let sound = STRICT.topic_config("t").map(|(name, value)| (name.to_owned(), value)).chain(others);
        sound.chain(changed.iter().copied().map(owned)).collect()
    }

    /// The names of what is not sound, with its weight.
    fn wrong(wanted: Wanted, found: Option<&Found>, changed: &[(&str, &str)]) -> Vec<(String, Weight)> {
        let findings = wanted.judge_topic("t", found, Some(&config(changed)));
        assert!(
            findings.iter().all(|finding| finding.fix.is_empty() == (finding.weight == Weight::Sound)),
            "{findings:?}"
        );
        let unsound = findings.into_iter().filter(|finding| finding.weight != Weight::Sound);
        unsound.map(|finding| (finding.name, finding.weight)).collect()
    }

    #[test]
    fn a_sound_topic_gives_no_finding_that_is_not() {
        assert_eq!(wrong(STRICT, Some(&found()), &[]), []);
        assert_eq!(
            wrong(DEVELOPMENT, Some(&found()), &[("min.insync.replicas", "1")]),
            [],
            "development asks for less"
        );
    }

    #[test]
    fn each_misconfiguration_is_found_by_itself() {
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "1073741824"),
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
            ("max.message.bytes", "65536"),
            ("max.message.bytes", "much"),
            ("message.timestamp.type", "CreateTime"),
        ] {
            assert_eq!(wrong(STRICT, Some(&found()), &[(name, value)]), [(name.to_owned(), Weight::Wrong)], "{value}");
        }
        let fewer = Found { partitions: 8, ..found() };
        assert_eq!(wrong(STRICT, Some(&fewer), &[]), [("partitions".to_owned(), Weight::Wrong)]);
        let lonely = Found { copies: 1, ..found() };
        assert_eq!(wrong(STRICT, Some(&lonely), &[]), [("copies".to_owned(), Weight::Wrong)]);
        assert_eq!(wrong(STRICT, None, &[]), [("topic".to_owned(), Weight::Wrong)]);
        assert_eq!(STRICT.judge_leaders("t", &Found { leaderless: 2, ..found() }).weight, Weight::Wrong);
        assert_eq!(STRICT.judge_cluster(2).weight, Weight::Wrong);
    }

    #[test]
    fn only_security_events_are_forgotten_and_for_how_long_refuses_no_start() {
        let retention = |topic: &str| STRICT.topic_config(topic).find(|(name, _)| *name == RETENTION).unwrap().1;
        for topic in topics::ALL {
            assert_eq!(retention(topic.name), if topic == topics::SECURITY { "86400000" } else { "-1" }, "{topic:?}");
        }
        let weights = |days: &str| {
            let findings =
                STRICT.judge_topic(topics::SECURITY.name, Some(&found()), Some(&config(&[(RETENTION, days)])));
            findings.into_iter().filter(|finding| finding.weight != Weight::Sound).map(|finding| finding.weight)
        };
        assert_eq!(weights("86400000").count(), 0);
        assert_eq!(weights("-1").collect::<Vec<_>>(), [Weight::Doubtful]);
    }

    #[test]
    fn a_broker_that_makes_topics_by_itself_is_wrong_in_production_only() {
        let config = Config::from([("auto.create.topics.enable".to_owned(), "true".to_owned())]);
        assert_eq!(DEVELOPMENT.judge_broker("broker 1", &config)[0].weight, Weight::Doubtful);
        assert_eq!(STRICT.judge_broker("broker 1", &config)[0].weight, Weight::Wrong);
    }

    #[test]
    fn a_difference_says_what_is_and_what_should_be() {
        let finding = STRICT.judge_topic("t", Some(&Found { partitions: 8, ..found() }), None).remove(0);
        assert_eq!(finding.to_string(), "t: partitions is 8, not 16");
    }
}
