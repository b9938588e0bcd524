//! For tests of a service: its fold group at work in a folder of its own, and requests as the layers hand them on.
//!
//! Only a dev-dependency, of crates that have no stage of their own.

#![allow(clippy::unwrap_used, reason = "a test ends where its stage breaks")]

use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{self, FoldMetrics, Ports, Running};
use kith_fold::{Cause, Group, Publisher, Token};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, LogPartition, NewRecord, Offset, PartitionIndex, Position, RecordId, Topic, topics};
use kith_proto::Event;
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller};
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use kith_tables::Digest;
use kith_tables::embedded::EmbeddedTables;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// Of every topic.
pub const PARTITIONS: PartitionIndex = 4;
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_LAG_RECORDS: u64 = 1_000_000;

/// A log and tables, and one process of a service that folds.
pub struct Stage {
    pub ports: Ports,
    pub kit: Arc<Kit>,
    group: Group,
    running: Option<Running>,
    _folder: TempDir,
}

impl Stage {
    /// Starts `group` on an empty log.
    pub async fn start(group: Group) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        let tables = EmbeddedTables::open(folder.path().join("tables"), runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default() };
        let (kit, running) = at_work(&ports, &group).await;
        Self { ports, kit, group, running: Some(running), _folder: folder }
    }

    /// The process dies and comes back. Services made of the earlier `kit` are of the earlier process.
    pub async fn restart(&mut self) {
        // Leaves the group first, or it would keep its share of the partitions.
        self.running = None;
        let (kit, running) = at_work(&self.ports, &self.group).await;
        (self.kit, self.running) = (kit, Some(running));
    }

    /// As [`Self::restart`], with every table dropped in between; waits until the log is folded again.
    pub async fn fold_again(&mut self) {
        self.running = None;
        self.ports.tables.drop_keyspace(&self.group.keyspace()).await.unwrap();
        self.restart().await;
        self.settle().await;
    }

    /// Waits until the tables have all that is in the log, and nothing more follows from it.
    pub async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = self.everything().await;
            self.kit.state.at_least(&all, until).await.unwrap();
            // An arbiter or a process manager may have appended meanwhile.
            if self.everything().await == all {
                return;
            }
        }
    }

    /// A fact, of this service or another; gives its token.
    pub async fn publish(&self, id: RecordId, event: impl Into<Event>) -> String {
        let event = event.into();
        let topic = topics::ALL.into_iter().find(|topic| topic.name == event.topic_name()).unwrap();
        let publisher = Publisher::new(Arc::clone(&self.ports.log), self.ports.runtime.clone(), "stage");
        let position = publisher.append(topic, event.subject(), id, &event, &Cause::default()).await;
        Token::from(position.unwrap()).encode()
    }

    /// Appends the last record of `key`'s partition again, as a producer that repeats itself does; waits until it is
    /// folded.
    pub async fn copy_last(&self, topic: Topic, key: &str) -> String {
        let partition = LogPartition::of_key(topic, key, PARTITIONS);
        let mut reader = self.ports.log.read(partition, self.head(topic, key).await - 1).await.unwrap();
        let record = reader.next().await.unwrap().unwrap().remove(0);
        let copy = NewRecord { topic, key: key.to_owned(), headers: record.headers, value: record.value };
        let token = Token::from(self.ports.log.append(copy).await.unwrap());
        self.kit.state.at_least(&token, Instant::now() + PATIENCE).await.unwrap();
        token.encode()
    }

    /// How many records the partition of `key` has.
    pub async fn head(&self, topic: Topic, key: &str) -> Offset {
        let partition = LogPartition::of_key(topic, key, PARTITIONS);
        self.ports.log.heads(topic).await.unwrap()[usize::from(partition.index)]
    }

    /// Stands for everything in the topics of the group.
    pub async fn everything(&self) -> Token {
        let mut all = Token::default();
        for &topic in &self.group.topics {
            for (index, next) in (0..).zip(self.ports.log.heads(topic).await.unwrap()) {
                let last = next.checked_sub(1);
                last.into_iter()
                    .for_each(|offset| all.add(Position { partition: LogPartition { topic, index }, offset }));
            }
        }
        all
    }

    /// Of all tables that the group folds, its watermarks left out: where they stand says nothing of the rows.
    pub async fn digest(&self) -> Digest {
        let tables: Vec<_> = self.group.folds.iter().flat_map(|fold| fold.tables()).collect();
        kith_tables::digest(&**self.kit.state.keyspace(), &tables).await.unwrap()
    }
}

async fn at_work(ports: &Ports, group: &Group) -> (Arc<Kit>, Running) {
    engine::create(ports, group).await.unwrap();
    let running = engine::start(ports, group.clone(), true).await.unwrap();
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    (Arc::new(Kit::new(ports.runtime.clone(), &running, page_tokens, MAX_LAG_RECORDS)), running)
}

/// A request of an account's.
pub fn by<T>(account_id: RecordId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Authentication::Caller(Caller { account_id }));
    request
}

/// The code of a refusal, and the reason that it gives.
pub fn refusal(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}
