//! What another generation of a group would take. Nothing is begun for it.

use kith_log::LogError;
use tokio::time::Instant;

use super::Projection;
use crate::FoldError;
use crate::engine::{self, MEASURED_RECORDS_MIN};

/// What another generation of a group would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Records that it would fold: all of the group's topics, of which a log removes none.
    pub records: u64,
    /// `None`: this process has folded too few records to know.
    pub rate: Option<Rate>,
    /// [`kith_tables::TableStore::size_bytes`] of the live generation; `None` also if it could not be measured in time.
    pub live_bytes: Option<u64>,
}

/// Records of a group per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub records_per_second: f64,
    pub measured: Measured,
}

/// When a rate was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// As a generation was last filled, by all processes together.
    Filling,
    /// Over all micro-batches of this process since it started, as if one had followed the other.
    Folding,
}

impl Projection {
    /// Measures nothing that takes longer than `until`.
    pub async fn estimate(&self, until: Instant) -> Result<Estimate, FoldError> {
        let live = self.group(self.operations().generations(self.group_name()).live());
        let heads = tokio::time::timeout_at(until, engine::heads(&*self.ports().log, &live)).await;
        let late = |_| LogError::Unavailable("it did not say in time how much it has".to_owned());
        let heads = heads.map_err(late)??;
        let keyspace = live.keyspace();
        let measure = self.ports().tables.size_bytes(&keyspace);
        let live_bytes = tokio::time::timeout_at(until, measure).await.ok().transpose()?.flatten();
        Ok(Estimate { records: heads.values().sum(), rate: self.rate(), live_bytes })
    }

    /// Of the generations that are open here: of the last fill, else of all folding.
    fn rate(&self) -> Option<Rate> {
        let open = self.all();
        let last = open.iter().filter_map(|running| running.lag.filled()).max_by_key(|fill| fill.at);
        let folded = open.iter().map(|running| running.folded_so_far());
        let folded = folded.reduce(|(records, took), (more, longer)| (records + more, took + longer));
        let ((records, took), measured) = match last {
            Some(fill) => ((fill.records, fill.took), Measured::Filling),
            None => (folded.filter(|(records, _)| *records >= MEASURED_RECORDS_MIN)?, Measured::Folding),
        };
        let is_timed = !took.is_zero();
        is_timed.then(|| Rate { records_per_second: records as f64 / took.as_secs_f64(), measured })
    }
}
