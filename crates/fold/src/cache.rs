//! Caches over tables, one kind per reader:
//!
//! * [`PageCache`]: answers of queries, cached until a row behind them changes;
//! * [`RowCache`]: rows that handlers read by key;
//! * [`PartitionCache`]: rows that a worker has loaded from the table partitions that it evolves.
//!
//! Over tables that other processes may write to, [`SoleWriter`] says whether the first two may cache anything.

mod pages;
mod partitions;
mod rows;
mod sole_writer;

use prometheus_client::metrics::counter::Counter;

pub(crate) use pages::PageCache;
pub(crate) use partitions::PartitionCache;
pub(crate) use rows::RowCache;
pub(crate) use sole_writer::SoleWriter;

/// Hits and misses.
#[derive(Clone, Default)]
pub(crate) struct CacheCounts {
    pub remembered: Counter,
    pub read: Counter,
}
