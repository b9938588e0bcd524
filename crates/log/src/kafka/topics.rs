//! Making topics, and comparing them with their contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_runtime::Runtime;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::settings::{KafkaSettings, REQUEST_TIMEOUT_MS};
use super::voice::Voice;
use crate::{LogError, MAX_RECORD_BYTES, PartitionIndex, Topic};

const TIMEOUT: Duration = Duration::from_millis(REQUEST_TIMEOUT_MS as u64);
/// How long a topic that was made may take until every partition has a leader.
const LEADERS_WITHIN_LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What every topic's configuration says: nothing is ever thrown away.
const CONTRACT: [(&str, &str); 3] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
/// And where one broker's loss must lose nothing.
const PRODUCTION: [(&str, &str); 2] = [("min.insync.replicas", "2"), ("unclean.leader.election.enable", "false")];

/// One use of the admin API. Not kept: nobody would take its log lines from its queue.
pub(super) struct Topics<'a> {
    pub settings: &'a KafkaSettings,
    pub partitions: PartitionIndex,
    pub voice: &'a Voice,
    pub runtime: &'a Runtime,
}

type Admin = Arc<AdminClient<Voice>>;

/// A topic as the brokers know it.
struct Found {
    partitions: usize,
    /// The fewest that any partition has.
    copies: usize,
    /// Whether every partition can be written.
    led: bool,
}

impl Topics<'_> {
    /// Makes those that are missing, then checks all.
    pub async fn create(&self, topics: &[Topic]) -> Result<(), LogError> {
        let admin = self.admin()?;
        let done = match self.make(&admin, topics).await {
            Ok(()) => self.compare(&admin, topics).await,
            Err(error) => Err(error),
        };
        self.done(admin).await;
        done
    }

    /// Names every difference.
    pub async fn check(&self, topics: &[Topic]) -> Result<(), LogError> {
        let admin = self.admin()?;
        let done = self.compare(&admin, topics).await;
        self.done(admin).await;
        done
    }

    fn admin(&self) -> Result<Admin, LogError> {
        self.settings.admin().create_with_context(self.voice.clone()).map(Arc::new).map_err(unavailable)
    }

    /// Dropping the client joins its thread.
    async fn done(&self, admin: Admin) {
        self.runtime.blocking(move || drop(admin)).await;
    }

    fn contract(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        CONTRACT.into_iter().chain(PRODUCTION.into_iter().filter(|_| self.settings.production))
    }

    async fn make(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        let copies = i32::from(self.settings.replication_factor);
        let new = |topic: &Topic| {
            let copies = TopicReplication::Fixed(copies);
            let new = NewTopic::new(topic.name, i32::from(self.partitions), copies);
            self.contract().fold(new, |new, (name, value)| new.set(name, value))
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

    /// A topic just made is known to the controller first.
    async fn wait_for_leaders(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        for _ in 0..LEADERS_WITHIN_LOOKS {
            let found = self.found(admin).await?;
            if topics.iter().all(|topic| found.get(topic.name).is_some_and(|topic| topic.led)) {
                return Ok(());
            }
            self.runtime.sleep(LOOK_AGAIN).await;
        }
        Err(LogError::Unavailable("partitions have no leader".to_owned()))
    }

    /// All topics of the cluster.
    async fn found(&self, admin: &Admin) -> Result<BTreeMap<String, Found>, LogError> {
        let admin = Arc::clone(admin);
        let asked = self.runtime.blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), Found::from(topic))).collect())
        });
        asked.await.ok_or(LogError::Closed)?.map_err(unavailable)
    }

    async fn compare(&self, admin: &Admin, topics: &[Topic]) -> Result<(), LogError> {
        let found = self.found(admin).await?;
        let mut differences = Vec::new();
        let mut asked = Vec::new();
        for topic in topics {
            match found.get(topic.name) {
                Some(found) => {
                    asked.push(ResourceSpecifier::Topic(topic.name));
                    self.compare_copies(topic, found, &mut differences);
                }
                None => differences.push(format!("{} is missing", topic.name)),
            }
        }
        if !asked.is_empty() {
            for config in admin.describe_configs(&asked, &options()).await.map_err(unavailable)? {
                let config = config.map_err(|code| LogError::Unavailable(format!("topic settings: {code}")))?;
                self.compare_config(&config, &mut differences);
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(LogError::Contract(differences.join("; "))) }
    }

    fn compare_copies(&self, topic: &Topic, found: &Found, differences: &mut Vec<String>) {
        let expected = usize::from(self.partitions);
        if found.partitions != expected {
            differences.push(format!("{} has {} partitions, not {expected}", topic.name, found.partitions));
        }
        let expected = usize::from(self.settings.replication_factor);
        if found.copies < expected {
            differences.push(format!("{} has {} copies, not {expected}", topic.name, found.copies));
        }
    }

    fn compare_config(&self, config: &ConfigResource, differences: &mut Vec<String>) {
        let OwnedResourceSpecifier::Topic(topic) = &config.specifier else { return };
        let found: BTreeMap<_, _> =
            config.entries.iter().map(|entry| (&*entry.name, entry.value.as_deref().unwrap_or_default())).collect();
        for (name, expected) in self.contract() {
            let found = found.get(name).copied().unwrap_or_default();
            if found != expected {
                differences.push(format!("{topic} has {name}={found}, not {expected}"));
            }
        }
        let name = "max.message.bytes";
        let most = found.get(name).and_then(|value| value.parse().ok()).unwrap_or(0_usize);
        // A batch of records is what the broker measures; see `batch.size`.
        let least = 4 * MAX_RECORD_BYTES;
        if most < least {
            differences.push(format!("{topic} has {name}={most}, less than {least}"));
        }
    }
}

impl From<&MetadataTopic> for Found {
    fn from(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        Self {
            partitions: partitions.len(),
            copies: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
            led: !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn unavailable(error: KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}
