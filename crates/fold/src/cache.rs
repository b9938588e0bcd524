//! What is remembered of tables, each kind for another reader:
//!
//! * [`PageCache`]: answers of queries, remembered until a row that they were made of changes;
//! * [`RowCache`]: rows that handlers read by key;
//! * [`PartitionCache`]: rows that a worker has loaded of the table partitions that it evolves.
//!
//! Over tables that other processes may write to, [`SoleWriter`] says whether the first two may remember anything.

mod pages;
mod partitions;
mod rows;
mod sole_writer;

use prometheus_client::metrics::counter::Counter;

pub(crate) use pages::PageCache;
pub(crate) use partitions::PartitionCache;
pub(crate) use rows::RowCache;
pub(crate) use sole_writer::SoleWriter;

/// How many answers were remembered, and how many had to be read.
#[derive(Clone, Default)]
pub(crate) struct CacheCounts {
    pub remembered: Counter,
    pub read: Counter,
}
