//! For tests of a service: its fold group at work in a folder of its own, and requests as the layers hand them on.
//!
//! Only a dev-dependency.

#![allow(clippy::unwrap_used, reason = "a test ends where its stage breaks")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_fold::{
    Cause, FoldError, Group, MakeGroup, Operations, Projection, Publisher, Standstill, State, Token, create_first,
};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, LogPartition, NewRecord, Offset, PartitionIndex, Position, RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::ops::v1::ops_event::Event as OpsEvent;
use kith_proto::ops::v1::{ProjectionPaused, ProjectionResumed};
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller};
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Digest, TableStore};
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
    projection: Option<Arc<Projection>>,
    _folder: TempDir,
}

impl Stage {
    /// Starts `group` on an empty log.
    pub async fn start(group: Group) -> Self {
        Self::over(group, |folder| EmbeddedTables::open(folder, Runtime::system()).unwrap()).await
    }

    /// The same over other tables, which may use the folder.
    pub async fn over(group: Group, tables: impl FnOnce(&Path) -> Arc<dyn TableStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        let tables = tables(&folder.path().join("tables"));
        log.create_topics(&topics::ALL).await.unwrap();
        let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default(), pace: Pace::default() };
        let (kit, projection) = at_work(&ports, &group).await;
        Self { ports, kit, group, projection: Some(projection), _folder: folder }
    }

    /// The process dies and comes back. Services made of the earlier `kit` are of the earlier process.
    pub async fn restart(&mut self) {
        // Leaves the group first, or it would keep its share of the partitions.
        self.end().await;
        let (kit, projection) = at_work(&self.ports, &self.group).await;
        (self.kit, self.projection) = (kit, Some(projection));
    }

    /// As [`Self::restart`], with every table dropped in between; waits until the log is folded again.
    pub async fn fold_again(&mut self) {
        self.end().await;
        self.ports.tables.drop_keyspace(&self.group.keyspace()).await.unwrap();
        self.restart().await;
        self.settle().await;
    }

    /// As [`pause`].
    pub async fn pause(&self) {
        pause(self.projection.as_ref().unwrap()).await;
    }

    /// As [`resume`].
    pub async fn resume(&self) {
        resume(self.projection.as_ref().unwrap()).await;
    }

    /// Ends the folds, whoever still has a kit.
    async fn end(&mut self) {
        if let Some(projection) = self.projection.take() {
            projection.serving().unwrap().end().await;
        }
    }

    /// The tables, as they now are.
    pub fn state(&self) -> State {
        self.projection.as_ref().unwrap().serving().unwrap().state.clone()
    }

    /// Waits until the tables have all that is in the log, and nothing more follows from it.
    pub async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = self.everything().await;
            self.state().at_least(&all, until).await.unwrap();
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
        sealed(&position.unwrap().into())
    }

    /// Appends the last record of `key`'s partition again, as a producer that repeats itself does; waits until it is
    /// folded.
    pub async fn copy_last(&self, topic: Topic, key: &str) -> String {
        let partition = LogPartition::of_key(topic, key, PARTITIONS);
        let mut reader = self.ports.log.read(partition, self.head(topic, key).await - 1).await.unwrap();
        let record = reader.next().await.unwrap().unwrap().remove(0);
        let copy = NewRecord { topic, key: key.to_owned(), headers: record.headers, value: record.value };
        let token = Token::from(self.ports.log.append(copy).await.unwrap());
        self.state().at_least(&token, Instant::now() + PATIENCE).await.unwrap();
        sealed(&token)
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
        kith_tables::digest(&**self.state().keyspace(), &tables).await.unwrap()
    }
}

async fn at_work(ports: &Ports, group: &Group) -> (Arc<Kit>, Arc<Projection>) {
    create_first(ports, group).await.unwrap();
    let projection = projection(ports, group.clone(), true).await.unwrap();
    (kit(&projection, ports.log.partition_count(), MAX_LAG_RECORDS), projection)
}

/// What a service's handlers share, with the keys that all tests have.
pub fn kit(projection: &Arc<Projection>, partitions: PartitionIndex, max_lag_records: u64) -> Arc<Kit> {
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    Arc::new(Kit::new(Arc::clone(projection), (page_tokens, tokens(partitions)), max_lag_records))
}

fn tokens(partitions: PartitionIndex) -> ConsistencyTokens {
    ConsistencyTokens::new(&[8; 32], partitions, Runtime::system()).unwrap()
}

/// A token as callers hold it.
pub fn sealed(token: &Token) -> String {
    tokens(LogPartition::MAX_COUNT).seal(token).unwrap()
}

/// What is in a caller's token.
pub fn opened(token: &str) -> Token {
    tokens(LogPartition::MAX_COUNT).open("token", token).unwrap()
}

/// The generations of a group in a process of its own, whose tables were made.
pub async fn projection(ports: &Ports, group: Group, folding: bool) -> Result<Arc<Projection>, FoldError> {
    let operations = Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?;
    let make: MakeGroup = Arc::new(move |generation| Group { generation, ..group.clone() });
    Projection::start(ports, &Arc::new(operations), make, folding).await
}

/// Has the group's folds stand still, as an operator does; returns when this process knows it.
pub async fn pause(projection: &Projection) {
    let service = projection.group_name().to_owned();
    let decision = OpsEvent::ProjectionPaused(ProjectionPaused { service, ..ProjectionPaused::default() });
    projection.operations().announce(decision).await.unwrap();
    until_standstill(projection, Some(&Standstill::Paused)).await;
}

/// Has them go on; returns when they have caught up with what the log had then.
pub async fn resume(projection: &Projection) {
    let service = projection.group_name().to_owned();
    let decision = OpsEvent::ProjectionResumed(ProjectionResumed { service, ..ProjectionResumed::default() });
    projection.operations().announce(decision).await.unwrap();
    until_standstill(projection, None).await;
}

/// Waits until the process knows of its folds what is `wanted`.
pub async fn until_standstill(projection: &Projection, wanted: Option<&Standstill>) {
    let until = Instant::now() + PATIENCE;
    while projection.serving().unwrap().state.standstill().as_ref() != wanted {
        assert!(Instant::now() < until, "the folds never came to {wanted:?}");
        projection.ports().runtime.sleep(Duration::from_millis(5)).await;
    }
}

/// A request of an account's.
pub fn by<T>(account_id: RecordId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Authentication::Caller(Caller::of(account_id)));
    request
}

/// The places that an answer's token names; the time in it is of later records too.
pub fn places(token: &str) -> Vec<Position> {
    opened(token).positions().collect()
}

/// The code of a refusal, and the reason that it gives.
pub fn refusal(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}
