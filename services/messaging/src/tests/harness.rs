//! A world of its own for each test: a folder with a log and tables, the group at work, the handlers.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{self, FoldMetrics, Ports, Running};
use kith_fold::{Cause, Publisher, Token};
use kith_log::embedded::EmbeddedLog;
use kith_log::{LogPartition, Offset, RecordId, Topic};
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

use crate::MessagingService;

pub const ADA: RecordId = RecordId([1; 16]);
pub const BOB: RecordId = RecordId([2; 16]);
pub const EVE: RecordId = RecordId([3; 16]);
const PARTITIONS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(10);

pub struct World {
    pub messaging: MessagingService,
    pub runtime: Runtime,
    kit: Arc<Kit>,
    running: Option<Running>,
    ports: Ports,
    _dir: TempDir,
}

impl World {
    pub async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(&dir.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        let tables = EmbeddedTables::open(dir.path().join("tables"), runtime.clone()).unwrap();
        let ports = Ports { runtime: runtime.clone(), log, tables, metrics: FoldMetrics::default() };
        let (kit, running) = at_work(&ports).await;
        Self {
            messaging: MessagingService::new(Arc::clone(&kit)),
            runtime,
            kit,
            running: Some(running),
            ports,
            _dir: dir,
        }
    }

    /// Drops every table and folds the log from its beginning.
    pub async fn fold_again(&mut self) {
        // Leaves the group first, or it would keep its share of the partitions.
        self.running = None;
        let keyspace = crate::group(1).keyspace();
        self.ports.tables.drop_keyspace(&keyspace).await.unwrap();
        let (kit, running) = at_work(&self.ports).await;
        self.running = Some(running);
        self.messaging = MessagingService::new(Arc::clone(&kit));
        self.kit = kit;
        self.folded().await;
    }

    /// Waits until the tables have all that is in the log.
    pub async fn folded(&self) {
        let until = Instant::now() + PATIENCE;
        self.kit.state.at_least(&self.positions().await, until).await.unwrap();
    }

    /// Another service's fact; gives its token.
    pub async fn fact(&self, topic: Topic, key: RecordId, id: RecordId, event: Event) -> String {
        let publisher = Publisher::new(Arc::clone(&self.ports.log), self.runtime.clone(), "identity");
        let position = publisher.append(topic, &key.to_string(), id, &event, &Cause::default()).await;
        Token::from(position.unwrap()).encode()
    }

    /// Of every topic of the group, every partition's.
    pub async fn heads(&self) -> Vec<Vec<Offset>> {
        let heads = crate::group(1).topics.into_iter().map(|topic| self.ports.log.heads(topic));
        futures::future::try_join_all(heads).await.unwrap()
    }

    /// Of all tables that the service folds, its watermarks left out: where they stand says nothing of the rows.
    pub async fn digest(&self) -> Digest {
        let tables: Vec<_> = crate::group(1).folds.iter().flat_map(|fold| fold.tables()).collect();
        kith_tables::digest(&**self.kit.state.keyspace(), &tables).await.unwrap()
    }

    async fn positions(&self) -> Token {
        let topics = crate::group(1).topics;
        let all = topics.into_iter().zip(self.heads().await).flat_map(|(topic, heads)| {
            (0..).zip(heads).map(move |(index, next)| (LogPartition { topic, index }, next))
        });
        let last = |(partition, next): (LogPartition, Offset)| {
            next.checked_sub(1).map(|offset| kith_log::Position { partition, offset })
        };
        all.filter_map(last).collect()
    }
}

async fn at_work(ports: &Ports) -> (Arc<Kit>, Running) {
    engine::create(ports, &crate::group(1)).await.unwrap();
    let running = engine::start(ports, crate::group(1), true).await.unwrap();
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    (Arc::new(Kit::new(ports.runtime.clone(), &running, page_tokens, 10_000)), running)
}

/// A request of an account's.
pub fn call<T>(who: RecordId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Authentication::Caller(Caller { account_id: who }));
    request
}

pub fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}
