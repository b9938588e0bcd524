//! How long the log and the tables take to answer.

use std::sync::Arc;

use async_trait::async_trait;
use kith_tables::{Apply, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, Version, Write};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::Group;

const BUCKETS: [f64; 14] = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The caller. Reads of positions count as `Folds`, whoever makes them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    Handlers,
    Folds,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Handlers => "handlers",
            Self::Folds => "folds",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    group: String,
    by: &'static str,
    call: &'static str,
}

/// The durations of all groups' calls.
#[derive(Clone)]
pub(crate) struct CallMetrics(Family<CallLabels, Histogram, fn() -> Histogram>);

impl Default for CallMetrics {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl CallMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "How long appends to the log took, and calls of tables on a server, those made side by side as one; failed ones too, those given up not";
        registry.register("kith_call_duration_seconds", help, self.0.clone());
    }

    pub fn forget(&self, group: &Group) {
        for by in [By::Handlers, By::Folds] {
            for call in Calls::ALL {
                self.0.remove(&labels(group, by, call));
            }
        }
    }

    pub fn of(&self, group: &Group, by: By) -> Calls {
        let [append, get, slice, apply] = Calls::ALL.map(|call| self.0.get_or_create_owned(&labels(group, by, call)));
        Calls { append, get, slice, apply }
    }
}

fn labels(group: &Group, by: By, call: &'static str) -> CallLabels {
    CallLabels { group: group.consumer_group(), by: by.name(), call }
}

/// Those of one group, by handlers or by folds.
#[derive(Clone)]
pub(crate) struct Calls {
    pub append: Histogram,
    get: Histogram,
    slice: Histogram,
    apply: Histogram,
}

impl Calls {
    const ALL: [&'static str; 4] = ["append", "get", "slice", "apply"];
}

/// Returns the result of `call`; its duration goes to `into`.
pub(crate) async fn timed<T>(into: &Histogram, call: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let answer = call.await;
    into.observe(started.elapsed().as_secs_f64());
    answer
}

/// Tables whose calls are timed, except scans.
pub(crate) struct Timed {
    tables: Arc<dyn Keyspace>,
    calls: Calls,
}

impl Timed {
    pub fn new(tables: Arc<dyn Keyspace>, calls: Calls) -> Self {
        Self { tables, calls }
    }
}

#[async_trait]
impl Keyspace for Timed {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        timed(&self.calls.get, self.tables.get(table, key, rows)).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        timed(&self.calls.slice, self.tables.slice(table, partition, slice)).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        timed(&self.calls.apply, self.tables.apply(table, partition, writes)).await
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        timed(&self.calls.apply, self.tables.apply_all(all)).await
    }

    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        self.tables.version(table, partition)
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.tables.are_current(versions)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.tables.scan(table, cursor).await
    }
}

#[cfg(test)]
mod tests {
    use kith_runtime::Runtime;
    use kith_tables::RowRange;
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::notes::{NOTES, keyspace, note};

    fn group() -> Group {
        let (topics, folds) = (Vec::new(), Vec::new());
        Group { name: "notes", generation: 1, folds_version: 1, reads: crate::EVENTS, topics, folds, shown: None }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_counts_once_as_what_it_is_until_the_group_ends() {
        let (metrics, mut registry) = (CallMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let group = group();
        let counts = |by: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            ["append", "get", "slice", "apply"].map(|call| {
                let labels = format!("{{group=\"kith.notes.g1\",by=\"{by}\",call=\"{call}\"}} ");
                let start = format!("kith_call_duration_seconds_count{labels}");
                text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
            })
        };
        let folder = tempfile::tempdir().unwrap();
        let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
        let (timed, book, page) = (Timed::new(tables, metrics.of(&group, By::Folds)), Key::text("a"), note(1, "x", 1));
        let section = page.key.section;
        let slice = Slice { range: RowRange { section, prefix: Vec::new(), after: None }, limit: 1 };
        let writes = std::slice::from_ref(&page);
        timed.apply(&NOTES, &book, writes).await.unwrap();
        timed.apply_all(&[Apply { table: &NOTES, partition: &book, writes }]).await.unwrap();
        let found = timed.slice(&NOTES, &book, &slice).await.unwrap();
        assert_eq!(found.into_iter().map(Write::from).collect::<Vec<_>>(), writes);
        for _ in 0..3 {
            timed.get(&NOTES, &book, std::slice::from_ref(&page.key)).await.unwrap();
        }
        assert_eq!(counts("folds"), [Some(0), Some(3), Some(1), Some(2)]);
        assert_eq!(counts("handlers"), [None; 4]);
        metrics.forget(&group);
        assert_eq!(counts("folds"), [None; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn timed_tables_tell_versions_as_they_did() {
        let folder = tempfile::tempdir().unwrap();
        let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
        let calls = CallMetrics::default().of(&group(), By::Handlers);
        let (timed, book) = (Timed::new(tables, calls), Key::text("a"));
        let version = timed.version(&NOTES, &book).unwrap();
        assert!(timed.are_current(&[version]));
        timed.apply(&NOTES, &book, &[note(1, "x", 1)]).await.unwrap();
        assert!(!timed.are_current(&[version]));
    }
}
