//! Creates topics, and compares them with their contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::contract::{Config, Found, Wanted};
use super::reason::reason;
use super::settings::{KafkaSettings, REQUEST_TIMEOUT_MS};
use super::voice::Voice;
use crate::{LogError, PartitionIndex, Topic};

const TIMEOUT: Duration = Duration::from_millis(REQUEST_TIMEOUT_MS as u64);
/// How long a new topic may take until every partition has a leader.
const LEADERS_WITHIN_LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One use of the admin API. Not kept: its log lines would pile up in its queue.
pub(super) struct Topics<'a> {
    pub settings: &'a KafkaSettings,
    pub partitions: PartitionIndex,
    pub voice: &'a Voice,
    pub runtime: &'a Runtime,
}

type Admin = Arc<AdminClient<Voice>>;

impl Topics<'_> {
    /// Creates the missing ones, then checks all.
    pub async fn create(&self, topics: &[Topic]) -> Result<(), LogError> {
        let admin = self.admin()?;
        let done = match self.make(&admin, topics).await {
            Ok(()) => self.compare(&admin, topics).await,
            Err(error) => Err(error),
        };
        self.done(admin).await;
        self.explained(done).await
    }

    /// Names every difference.
    pub async fn check(&self, topics: &[Topic]) -> Result<(), LogError> {
        let admin = self.admin()?;
        let done = self.compare(&admin, topics).await;
        self.done(admin).await;
        self.explained(done).await
    }

    fn admin(&self) -> Result<Admin, LogError> {
        self.settings.admin()?.create_with_context(self.voice.clone()).map(Arc::new).map_err(unavailable)
    }

    /// Dropping the client joins its thread.
    async fn done(&self, admin: Admin) {
        self.runtime.blocking(move || drop(admin)).await;
    }

    /// Everything that the log depends on.
    pub async fn inspect(&self, topics: &[Topic]) -> Result<Vec<Finding>, LogError> {
        let admin = self.admin()?;
        let done = self.look(&admin, topics).await;
        self.done(admin).await;
        self.explained(done).await
    }

    /// With what the brokers refuse, where a login or TLS may be why they do not answer.
    async fn explained<T>(&self, done: Result<T, LogError>) -> Result<T, LogError> {
        match (done, &self.settings.access) {
            (Err(LogError::Unavailable(what)), Some(_)) => match reason(self.settings, self.runtime).await {
                Some(why) => Err(LogError::Unavailable(format!("{what}: {why}"))),
                None => Err(LogError::Unavailable(what)),
            },
            (done, _) => done,
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            partitions: usize::from(self.partitions),
            copies: usize::from(self.settings.replication_factor),
            production: self.settings.production,
            retention_ms: self.settings.forgetting_ms,
        }
    }

    async fn make(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        let copies = i32::from(self.settings.replication_factor);
        let config = |topic: &Topic| (*topic, self.wanted().topic_config(topic.name).collect::<Vec<_>>());
        let configs: BTreeMap<_, _> = topics.iter().map(config).collect();
        let new = |topic: &Topic| {
            let copies = TopicReplication::Fixed(copies);
            let new = NewTopic::new(topic.name, i32::from(self.partitions), copies);
            let config = configs.get(topic).into_iter().flatten();
            config.fold(new, |new, (name, value)| new.set(name, value))
        };
        let new: Vec<_> = topics.iter().map(new).collect();
        for result in admin.create_topics(&new, &options()).await.map_err(unavailable)? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(LogError::Unavailable(format!("{name} was not made: {code}"))),
            }
        }
        self.wait_for_leaders(admin, topics).await
    }

    /// A new topic is known to the controller first.
    async fn wait_for_leaders(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        for _ in 0..LEADERS_WITHIN_LOOKS {
            let (found, _) = self.found(admin).await?;
            if topics.iter().all(|topic| found.get(topic.name).is_some_and(is_led)) {
                return Ok(());
            }
            self.runtime.sleep(LOOK_AGAIN).await;
        }
        Err(LogError::Unavailable("partitions have no leader".to_owned()))
    }

    /// All topics of the cluster, and its brokers.
    async fn found(&self, admin: &Admin) -> Result<(BTreeMap<String, Found>, Vec<i32>), LogError> {
        let admin = Arc::clone(admin);
        let asked = self.runtime.blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
            let topics = metadata.topics().iter().map(|topic| (topic.name().to_owned(), Found::from(topic)));
            Ok((topics.collect(), metadata.brokers().iter().map(|broker| broker.id()).collect()))
        });
        asked.await.ok_or(LogError::Closed)?.map_err(unavailable)
    }

    async fn compare(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        let (found, _) = self.found(admin).await?;
        let configs = self.topic_configs(admin, topics, &found).await?;
        let judge =
            |topic: &Topic| self.wanted().judge_topic(topic.name, found.get(topic.name), configs.get(topic.name));
        let wrong = topics.iter().flat_map(judge).filter(|finding| finding.weight == Weight::Wrong);
        let differences: Vec<String> = wrong.map(|finding| finding.to_string()).collect();
        if differences.is_empty() { Ok(()) } else { Err(LogError::Contract(differences.join("; "))) }
    }

    async fn look(&self, admin: &Admin, topics: &[Topic]) -> Result<Vec<Finding>, LogError> {
        let wanted = self.wanted();
        let (found, brokers) = self.found(admin).await?;
        let configs = self.topic_configs(admin, topics, &found).await?;
        let mut findings = vec![wanted.judge_cluster(brokers.len())];
        for broker in brokers {
            let name = format!("broker {broker}");
            match configs_of(admin, &[ResourceSpecifier::Broker(broker)]).await {
                Ok(config) => findings.extend(config.iter().flat_map(|(_, config)| wanted.judge_broker(&name, config))),
                Err(error) => findings.push(untold(&name, &error)),
            }
        }
        for topic in topics {
            let (found, config) = (found.get(topic.name), configs.get(topic.name));
            findings.extend(wanted.judge_topic(topic.name, found, config));
            findings.extend(found.map(|found| wanted.judge_leaders(topic.name, found)));
        }
        Ok(findings)
    }

    /// Of those that are there.
    async fn topic_configs(
        &self,
        admin: &Admin,
        topics: &[Topic],
        found: &BTreeMap<String, Found>,
    ) -> Result<BTreeMap<String, Config>, LogError> {
        let there = topics.iter().filter(|topic| found.contains_key(topic.name));
        let asked: Vec<_> = there.map(|topic| ResourceSpecifier::Topic(topic.name)).collect();
        let mut configs = BTreeMap::new();
        for (resource, config) in configs_of(admin, &asked).await? {
            if let OwnedResourceSpecifier::Topic(topic) = resource {
                configs.insert(topic, config);
            }
        }
        Ok(configs)
    }
}

async fn configs_of(
    admin: &Admin,
    asked: &[ResourceSpecifier<'_>],
) -> Result<Vec<(OwnedResourceSpecifier, Config)>, LogError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut configs = Vec::new();
    for config in admin.describe_configs(asked, &options()).await.map_err(unavailable)? {
        let config = config.map_err(|code| LogError::Unavailable(format!("settings of brokers and topics: {code}")))?;
        let values = config.entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default()));
        configs.push((config.specifier, values.collect()));
    }
    Ok(configs)
}

impl From<&MetadataTopic> for Found {
    fn from(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        Self {
            partitions: partitions.len(),
            copies: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
            leaderless: partitions.iter().filter(|partition| partition.leader() < 0).count(),
        }
    }
}

/// A service's user has no need of it, and no right to it.
fn untold(broker: &str, error: &LogError) -> Finding {
    let fix = "run `kith doctor` as a user with DescribeConfigs on the cluster";
    Finding::judged(broker, "settings", (error.to_string(), "told"), Weight::Doubtful, fix)
}

fn is_led(topic: &Found) -> bool {
    topic.partitions > 0 && topic.leaderless == 0
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn unavailable(error: KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}
