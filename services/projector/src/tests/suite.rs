//! Feeds at work on an embedded log and embedded tables, in one thread.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_fold::{Cause, Projection, Publisher, State, Token, WaitError, create_first};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, LogPartition, Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::feeds::v1::{
    ExplainFeedEntryRequest, ExplainFeedEntryResponse, GetHomeFeedRequest, GetHomeFeedResponse,
};
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller};
use kith_service::deadline::Deadline;
use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Digest, TableStore};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::counted::Counted;
use super::jitter::Jitter;
use crate::rpcs::EVENT_TIMES_MAX;
use crate::{Feeds, Settings, digest, group};

pub const PARTITIONS: u16 = 3;
/// Every history happens in the hundred days before.
pub const NOW_MS: i64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Suite {
    pub ports: Ports,
    pub log: Arc<Counted>,
    pub store: Arc<Jitter>,
    pub settings: Settings,
    publisher: Publisher,
    projection: Option<Arc<Projection>>,
    _folders: [TempDir; 2],
}

impl Suite {
    /// `seed` decides how the store behaves while it is restless.
    pub async fn start(push_threshold: u64, seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, NOW_MS);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let embedded = EmbeddedLog::open(folders[0].path(), PARTITIONS, runtime.clone()).unwrap();
        let counted = Arc::new(Counted::new(embedded));
        let log: Arc<dyn EventLog> = Arc::clone(&counted) as Arc<dyn EventLog>;
        let tables = EmbeddedTables::open(folders[1].path(), runtime.clone()).unwrap();
        let store = Arc::new(Jitter::new(tables, seed));
        let tables: Arc<dyn TableStore> = Arc::clone(&store) as Arc<dyn TableStore>;
        let ports = Ports {
            runtime: runtime.clone(),
            log: Arc::clone(&log),
            tables,
            metrics: FoldMetrics::default(),
            pace: Pace::default(),
        };
        let publisher = Publisher::new(log, runtime, "test");
        let settings = Settings { push_threshold, partition_count: PARTITIONS };
        let (log, projection) = (counted, None);
        let mut suite = Self { ports, log, store, settings, publisher, projection, _folders: folders };
        suite.resume().await;
        suite
    }

    /// As after kill -9: nothing is finished, nothing is told.
    pub fn kill(&mut self) {
        self.projection = None;
    }

    pub async fn resume(&mut self) {
        let group = group(1, self.settings);
        self.ports.log.create_topics(&topics::ALL).await.unwrap();
        create_first(&self.ports, &group).await.unwrap();
        let until = Instant::now() + PATIENCE;
        self.projection = loop {
            // As the binary does while its servers do not answer.
            match kith_stage::projection(&self.ports, group.clone(), true).await {
                Ok(projection) => break Some(projection),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            self.ports.runtime.sleep(Duration::from_millis(10)).await;
        };
    }

    /// Drops every table and folds the log again.
    pub async fn rebuild(&mut self) {
        self.kill();
        self.ports.tables.drop_keyspace(&group(1, self.settings).keyspace()).await.unwrap();
        self.resume().await;
    }

    pub async fn append(&self, id: RecordId, event: impl Into<Event>) -> Position {
        let event = event.into();
        let topic = topics::ALL.into_iter().find(|topic| topic.name == event.topic_name()).unwrap();
        let key = event.subject().to_owned();
        self.publisher.append(topic, &key, id, &event, &Cause::default()).await.unwrap()
    }

    /// Stands for everything in the log.
    pub async fn everything(&self) -> Token {
        let mut token = Token::default();
        for topic in [topics::IDENTITY, topics::POSTS, topics::ENGAGEMENT] {
            for (index, head) in (0..).zip(self.ports.log.heads(topic).await.unwrap()) {
                if let Some(offset) = head.checked_sub(1) {
                    token.add(Position { partition: LogPartition { topic, index }, offset });
                }
            }
        }
        token
    }

    /// Waits until all of the log is folded, also over a store that fails now and then.
    pub async fn settle(&self) {
        let token = self.everything().await;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.state().at_least(&token, until).await {
                Ok(()) => return,
                Err(WaitError::Store(_)) => self.ports.runtime.sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn projection(&self) -> &Arc<Projection> {
        self.projection.as_ref().unwrap()
    }

    pub fn feeds(&self) -> Feeds {
        Self::feeds_of(self.projection.as_ref().unwrap())
    }

    pub fn feeds_of(projection: &Arc<Projection>) -> Feeds {
        Feeds::new(kith_stage::kit(projection, PARTITIONS, 1_000))
    }

    /// The tables, as they now are.
    pub fn state(&self) -> State {
        self.projection.as_ref().unwrap().serving().unwrap().state.clone()
    }

    pub async fn digest(&self) -> Digest {
        digest(&self.state(), self.settings, NOW_MS).await.unwrap()
    }

    /// `None`: there is no such post for this reader. The events that it cites are in the log: of the first, as many as
    /// an answer tells, it knows the times.
    pub async fn explain(
        &self,
        reader: RecordId,
        post_id: &str,
        include_shares: bool,
    ) -> Option<ExplainFeedEntryResponse> {
        let ask = ExplainFeedEntryRequest { post_id: post_id.to_owned(), include_shares, at_least: Vec::new() };
        match self.feeds().explain_feed_entry(as_caller(reader, ask)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let cited = answer.findings.iter().flat_map(|finding| &finding.events).enumerate();
                cited.for_each(|(n, event)| assert_eq!(event.event_time.is_some(), n < EVENT_TIMES_MAX, "{event:?}"));
                Some(answer)
            }
            Err(status) => {
                assert_eq!(reason(&status), "POST_NOT_FOUND");
                None
            }
        }
    }

    pub async fn home_page(&self, reader: RecordId, ask: GetHomeFeedRequest) -> Result<GetHomeFeedResponse, Status> {
        Ok(self.feeds().get_home_feed(as_caller(reader, ask)).await?.into_inner())
    }
}

/// The request as the layers hand it on.
pub fn as_caller<T>(account_id: RecordId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Authentication::Caller(Caller::of(account_id)));
    request.extensions_mut().insert(Deadline::after(Duration::from_secs(5)));
    request
}

pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
