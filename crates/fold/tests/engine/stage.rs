//! A log, tables, and a process that comes and goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kith_fold::engine::{self, FoldMetrics, Pace, Ports, Running};
use kith_fold::{Cause, Found, Group, Publisher, State, Token};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, Header, LogPartition, NewRecord, Position, Record, RecordId, Topic, headers, topics};
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Reacted, Subject};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_runtime::Runtime;
use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Digest, Key};
use tokio::time::Instant;

use crate::faulty::{Faulty, Plan};
use crate::toy::{Calls, Echoes, MOODS, MoodSum, Moods};

pub const PARTITIONS: u16 = 3;
/// On a clock that jumps when nothing else is to be done.
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Stage {
    pub ports: Ports,
    pub plan: Arc<Plan>,
    pub publisher: Publisher,
    running: Option<Running>,
    next_id: u64,
    folder: tempfile::TempDir,
}

pub fn group() -> Group {
    let topics = vec![topics::ENGAGEMENT, topics::POSTS];
    Group {
        name: "engagement",
        generation: 1,
        folds_version: 1,
        reads: kith_fold::EVENTS,
        topics,
        folds: vec![Arc::new(Moods), Arc::new(Calls), Arc::new(Echoes)],
        shown: None,
    }
}

impl Stage {
    /// `margin`: how far behind its watermark a fold starts again.
    pub async fn set(margin: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::simulated(1, 1_700_000_000_000);
        let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let plan = Arc::new(Plan::default());
        let inner = EmbeddedTables::open(folder.path().join("tables"), runtime.clone()).unwrap();
        let tables = Arc::new(Faulty { inner, plan: Arc::clone(&plan), margin });
        let publisher = Publisher::new(Arc::clone(&log) as Arc<dyn EventLog>, runtime.clone(), "test");
        let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default(), pace: Pace::default() };
        Self { ports, plan, publisher, running: None, next_id: 0, folder }
    }

    pub async fn start(&mut self) {
        self.start_group(group()).await;
    }

    pub async fn start_group(&mut self, group: Group) {
        engine::create(&self.ports, &group).await.unwrap();
        self.running = Some(engine::start(&self.ports, group, true).await.unwrap());
    }

    /// As kill -9 does: between any two awaits.
    pub async fn kill(&mut self) {
        self.running = None;
        tokio::task::yield_now().await;
    }

    pub async fn drop_tables(&mut self) {
        self.kill().await;
        self.ports.tables.drop_keyspace(&group().keyspace()).await.unwrap();
    }

    /// Puts an empty log in the place of the one there is, as a restored backup may.
    pub async fn lose_log(&mut self) {
        self.kill().await;
        let runtime = self.ports.runtime.clone();
        let log = EmbeddedLog::open(&self.folder.path().join("another"), PARTITIONS, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        self.publisher = Publisher::new(Arc::clone(&log) as Arc<dyn EventLog>, runtime, "test");
        self.ports.log = log;
    }

    /// Lets the folds work for a while.
    pub async fn turns(&self, count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn state(&self) -> &State {
        &self.running.as_ref().unwrap().state
    }

    pub async fn react(&mut self, post: &str, actor: &str, kind: i32) -> Position {
        let subject = Some(Subject { post_id: post.into(), comment_id: String::new() });
        let event = Engagement::Reacted(Reacted { actor_id: actor.into(), subject, kind, ..Reacted::default() });
        self.append(topics::ENGAGEMENT, post, event.into()).await
    }

    pub async fn post(&mut self, post: &str) -> Position {
        let event = Post::PostCreated(PostCreated { post_id: post.into(), ..PostCreated::default() });
        self.append(topics::POSTS, post, event.into()).await
    }

    async fn append(&mut self, topic: Topic, key: &str, event: Event) -> Position {
        self.next_id += 1;
        let id = RecordId(u128::from(self.next_id).to_be_bytes());
        self.publisher.append(topic, key, id, &event, &Cause::default()).await.unwrap()
    }

    /// Bytes as they may come from anywhere; `id`: the header `ce_id`.
    pub async fn append_raw(&self, topic: Topic, key: &str, id: Option<&str>, value: &'static [u8]) -> Position {
        let header = |id: &str| Header { name: headers::ID.into(), value: Bytes::copy_from_slice(id.as_bytes()) };
        let headers = id.map(header).into_iter().collect();
        let record = NewRecord { topic, key: key.to_owned(), headers, value: Bytes::from_static(value) };
        self.ports.log.append(record).await.unwrap()
    }

    /// Waits until all that is in the group's topics is folded.
    pub async fn settle(&self) {
        for topic in group().topics {
            let heads = self.ports.log.heads(topic).await.unwrap();
            let last = (0..).zip(heads).filter_map(|(index, head)| {
                head.checked_sub(1).map(|offset| Position { partition: LogPartition { topic, index }, offset })
            });
            self.see(&last.collect()).await;
        }
    }

    pub async fn see(&self, token: &Token) {
        self.state().at_least(token, Instant::now() + PATIENCE).await.unwrap();
    }

    /// Waits until `is_so`.
    pub async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(Instant::now() < deadline, "it never came");
            self.ports.runtime.sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn sum(&self, post: &str) -> MoodSum {
        let found = self.state().summary(&MOODS, &Key::text(post), (topics::ENGAGEMENT, post)).await.unwrap();
        found.map(|found: Found<MoodSum>| found.row).unwrap_or_default()
    }

    /// Every record of a topic.
    pub async fn records(&self, topic: Topic) -> Vec<Record> {
        let mut all = Vec::new();
        for (index, head) in (0..).zip(self.ports.log.heads(topic).await.unwrap()) {
            let mut reader = self.ports.log.read(LogPartition { topic, index }, 0).await.unwrap();
            let mut records = Vec::new();
            while (records.len() as u64) < head {
                records.extend(reader.next().await.unwrap().unwrap());
            }
            all.extend(records);
        }
        all
    }

    pub async fn digest(&self) -> Digest {
        let tables: Vec<_> = group().folds.iter().flat_map(|fold| fold.tables()).collect();
        kith_tables::digest(&**self.state().keyspace(), &tables).await.unwrap()
    }
}

/// The partition of a topic that records of `key` are in.
pub fn partition_of(topic: Topic, key: &str) -> LogPartition {
    LogPartition::of_key(topic, key, PARTITIONS)
}

/// A key for each partition.
pub fn one_key_each(topic: Topic, prefix: &str) -> Vec<String> {
    let key_in = |index| {
        let keys = (0..).map(|n| format!("{prefix}-{n}"));
        keys.into_iter().find(|key| partition_of(topic, key).index == index).unwrap()
    };
    (0..PARTITIONS).map(key_in).collect()
}
