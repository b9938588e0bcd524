//! Log and tables with folds in this process, without a server: to time folds alone, and to learn what they write.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use kith_fold::Group;
use kith_fold::engine::{self, FoldMetrics, Pace, Ports, Running};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, topics};
use kith_runtime::Runtime;
use kith_service::metrics::Metrics;
use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::embedded::EmbeddedTables;
use kith_tests::server::Server;
use kith_tests::{cassandra_server, kafka_server};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::recorder::Recorder;
use crate::steps::Steps;

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A fold that stands still for this long will not go on.
const PATIENCE: Duration = Duration::from_secs(60);
const PUSH_THRESHOLD: u64 = 10_000;

/// A log, and tables that may note what is done to them.
pub struct Desk {
    pub ports: Ports,
    pub recorder: Option<Arc<Recorder>>,
    metrics: Metrics,
    /// Of the embedded kinds.
    _folder: TempDir,
}

/// What folding took.
#[derive(Debug, Clone, Copy)]
pub struct Folded {
    pub records: u64,
    pub elapsed: Duration,
}

impl Folded {
    pub fn per_second(self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

/// Real servers, where there are some.
pub struct Live {
    pub kafka: Server,
    pub cql: Server,
}

impl Live {
    pub async fn start() -> Result<Self> {
        let (kafka, cql) = tokio::try_join!(kafka_server::start(), cassandra_server::start())?;
        Ok(Self { kafka, cql })
    }

    pub fn cql_address(&self) -> String {
        self.cql.socket(cassandra_server::PORT).to_string()
    }

    pub fn kafka_address(&self) -> String {
        self.kafka.socket(kafka_server::PORT).to_string()
    }
}

impl Desk {
    /// An empty log and empty tables of the adapter. `live`: emptied servers.
    pub async fn new(live: Option<&mut Live>, partitions: u16, recorded: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = Runtime::system();
        let (log, tables): (Arc<dyn EventLog>, Arc<dyn TableStore>) = match live {
            None => (
                EmbeddedLog::open(&folder.path().join("log"), partitions, runtime.clone())?,
                EmbeddedTables::open(folder.path().join("tables"), runtime.clone())?,
            ),
            Some(live) => {
                live.kafka.wipe().await?;
                live.cql.wipe().await?;
                let log = kafka_server::log(&live.kafka, partitions)?;
                (log, CqlTables::connect(CqlSettings::new(vec![live.cql_address()])))
            }
        };
        let recorder = recorded.then(|| Recorder::before(Arc::clone(&tables)));
        let tables = recorder.clone().map_or(tables, |recorder| recorder as Arc<dyn TableStore>);
        log.create_topics(&topics::ALL).await?;
        let metrics = Metrics::default();
        let folds = FoldMetrics::register(&mut metrics.registry());
        let ports = Ports { runtime, log, tables, metrics: folds, pace: Pace::default() };
        Ok(Self { ports, recorder, metrics, _folder: folder })
    }

    /// What its micro-batches have spent their time on.
    pub fn steps(&self) -> Result<Steps> {
        Steps::of(&self.metrics.encode()?)
    }

    /// Starts folding in `groups`.
    pub async fn start(&self, groups: &[Group]) -> Result<Vec<Running>> {
        let mut running = Vec::new();
        for group in groups {
            kith_fold::create_first(&self.ports, group).await?;
            running.push(engine::start(&self.ports, group.clone(), true).await?);
        }
        Ok(running)
    }

    /// Folds all that is in the log, which these groups have not begun; times it from the first record folded on.
    pub async fn fold(&self, groups: &[Group]) -> Result<(Folded, Vec<Running>)> {
        let records = self.records(groups).await?;
        let running = self.start(groups).await?;
        let elapsed = self.settle(groups, &running).await?;
        Ok((Folded { records, elapsed }, running))
    }

    /// Waits until `running` have folded all that is in the log; gives how long since the first of it was.
    pub async fn settle(&self, groups: &[Group], running: &[Running]) -> Result<Duration> {
        let start = done(running);
        let (mut first, mut last, mut moved) = (None, start, Instant::now());
        // A broker that is asked for its heads all the time has less time for what is measured.
        let mut asked = self.asked(groups).await?;
        loop {
            let now = done(running);
            if now > last {
                (last, moved) = (now, Instant::now());
                first.get_or_insert(moved);
            }
            if now >= asked {
                // Folds append too.
                asked = self.asked(groups).await?;
            }
            if now >= asked {
                return Ok(first.map_or(Duration::ZERO, |first| moved - first));
            }
            if moved.elapsed() > PATIENCE {
                bail!("the folds stand still at {now} records");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Records of the log, those that several groups read once.
    async fn records(&self, groups: &[Group]) -> Result<u64> {
        let mut sum = 0;
        for topic in topics::ALL.into_iter().filter(|topic| groups.iter().any(|group| group.topics.contains(topic))) {
            sum += self.ports.log.heads(topic).await?.iter().sum::<u64>();
        }
        Ok(sum)
    }

    /// Records that the groups have to fold, each for itself.
    async fn asked(&self, groups: &[Group]) -> Result<u64> {
        let mut sum = 0;
        for topic in groups.iter().flat_map(|group| &group.topics) {
            sum += self.ports.log.heads(*topic).await?.iter().sum::<u64>();
        }
        Ok(sum)
    }
}

fn done(running: &[Running]) -> u64 {
    let one = |running: &Running| {
        let watermarks = running.state.watermarks();
        watermarks.partitions().map(|partition| watermarks.next_offset(partition)).sum::<u64>()
    };
    running.iter().map(one).sum()
}

/// Ends the folds, so that their store can be opened again.
pub async fn end(running: Vec<Running>) {
    for one in running {
        one.end().await;
    }
}

pub fn feeds(partitions: u16) -> Group {
    kith_projector::group(1, kith_projector::Settings { push_threshold: PUSH_THRESHOLD, partition_count: partitions })
}

/// Every group of the suite.
pub fn all_groups(partitions: u16) -> Result<Vec<Group>> {
    kith_tests::digests::groups(PUSH_THRESHOLD, partitions)
}
