//! A group at work in a temporary folder.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{self, FoldMetrics, Ports, Running};
use kith_fold::{Cause, Token};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, Offset, RecordId, topics};
use kith_proto::engagement::v1::Subject;
use kith_proto::identity::v1::{Blocked, identity_event};
use kith_proto::posts::v1::{PostCreated, PostDeleted, post_event};
use kith_proto::{Event, time};
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller};
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use kith_tables::embedded::EmbeddedTables;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

use super::history::id;
use crate::EngagementService;

const PARTITIONS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ADA: u8 = 0xa;
pub(crate) const BOB: u8 = 0xb;
pub(crate) const EVE: u8 = 0xe;

pub(crate) struct Suite {
    pub service: EngagementService,
    pub running: Running,
    pub ports: Ports,
    _folder: tempfile::TempDir,
}

impl Suite {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        let tables = EmbeddedTables::open(folder.path().join("tables"), runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default() };
        let (service, running) = start_group(&ports).await;
        Self { service, running, ports, _folder: folder }
    }

    /// The process dies and comes back; with `drop_tables`, the tables are gone.
    pub(crate) async fn restart(self, drop_tables: bool) -> Self {
        let Self { service, running, ports, _folder } = self;
        drop((service, running));
        if drop_tables {
            ports.tables.drop_keyspace(&crate::group(1).keyspace()).await.unwrap();
        }
        let (service, running) = start_group(&ports).await;
        Self { service, running, ports, _folder }
    }

    /// A fact of another service; gives its token.
    pub(crate) async fn publish(&self, n: u8, event: impl Into<Event>) -> String {
        let event = event.into();
        let topic = topics::ALL.into_iter().find(|topic| topic.name == event.topic_name()).unwrap();
        let key = event.subject().to_owned();
        let appended = self.running.publisher.append(topic, &key, record_id(n), &event, &Cause::default()).await;
        Token::from(appended.unwrap()).encode()
    }

    pub(crate) async fn post(&self, n: u8, author: u8) -> String {
        let create_time = Some(time::timestamp(1_000));
        let event = PostCreated { post_id: hex(n), author_id: hex(author), create_time, ..PostCreated::default() };
        self.publish(n, post_event::Event::PostCreated(event)).await
    }

    pub(crate) async fn delete(&self, n: u8, author: u8) -> String {
        let event = PostDeleted { post_id: hex(n), author_id: hex(author), ..PostDeleted::default() };
        self.publish(n + 100, post_event::Event::PostDeleted(event)).await
    }

    pub(crate) async fn block(&self, actor: u8, target: u8) -> String {
        let event = Blocked { actor_id: hex(actor), target_id: hex(target), create_time: None };
        self.publish(actor, identity_event::Event::Blocked(event)).await
    }

    /// Waits until all that is in the log is in the tables.
    pub(crate) async fn settle(&self) {
        for topic in crate::group(1).topics {
            let heads = self.ports.log.heads(topic).await.unwrap();
            let last = (0..).zip(heads).filter_map(|(index, head)| {
                let partition = kith_log::LogPartition { topic, index };
                head.checked_sub(1).map(|offset| kith_log::Position { partition, offset })
            });
            self.running.state.at_least(&last.collect(), Instant::now() + PATIENCE).await.unwrap();
        }
    }

    /// How long every log is.
    pub(crate) async fn heads(&self) -> Vec<Offset> {
        let mut all = Vec::new();
        for topic in topics::ALL {
            all.extend(self.ports.log.heads(topic).await.unwrap());
        }
        all
    }

    pub(crate) async fn digest(&self) -> kith_tables::Digest {
        let tables = crate::group(1).folds.iter().flat_map(|fold| fold.tables()).collect::<Vec<_>>();
        kith_tables::digest(&**self.running.state.keyspace(), &tables).await.unwrap()
    }
}

async fn start_group(ports: &Ports) -> (EngagementService, Running) {
    engine::create(ports, &crate::group(1)).await.unwrap();
    let running = engine::start(ports, crate::group(1), true).await.unwrap();
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    let kit = Kit::new(ports.runtime.clone(), &running, page_tokens, 1_000_000);
    (EngagementService::new(Arc::new(kit)), running)
}

fn record_id(n: u8) -> RecordId {
    id(n)
}

pub(crate) fn hex(n: u8) -> String {
    super::history::hex(n)
}

pub(crate) fn on_post(n: u8) -> Subject {
    Subject { post_id: hex(n), comment_id: String::new() }
}

pub(crate) fn on_comment(n: u8, comment_id: &str) -> Subject {
    Subject { post_id: hex(n), comment_id: comment_id.to_owned() }
}

/// A request as the layers hand it on.
pub(crate) fn by<T>(account: u8, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Authentication::Caller(Caller { account_id: id(account) }));
    request
}

/// The answer to a call that goes well.
pub(crate) fn ok<T>(response: Result<Response<T>, Status>) -> T {
    response.unwrap().into_inner()
}

/// The reason of a call that does not.
pub(crate) fn reason<T>(response: Result<Response<T>, Status>) -> String {
    match response {
        Ok(_) => "OK".to_owned(),
        Err(status) => status.get_details_error_info().unwrap().reason,
    }
}
