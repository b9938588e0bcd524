//! Stored watermarks: one row of each kind per log partition.

use kith_log::{LogPartition, Offset, Position, RecordId};
use kith_tables::{Column, Order, Row, RowKey, RowType, Section, Table, Timestamp, Write, row};

/// The last record of a partition that is in the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub position: Position,
    pub id: RecordId,
    /// The latest time of a record of the partition up to here.
    pub newest: Timestamp,
}

/// Four sections, each row a function of its position alone, as every row must be.
pub(crate) static WATERMARKS: Table = Table {
    name: "watermarks",
    partition: &[Column::text("topic")],
    clustering: &[Column::bigint("log_partition")],
    order: Order::Ascending,
    sections: &[
        Section::of::<ReachedRow>("reached"),
        Section::of::<AppendedRow>("appended"),
        Section::of::<RestartRow>("restart"),
        Section::of::<StoppedRow>("stopped"),
    ],
    summary: &[],
};

row! {
    /// Everything up to here is in the tables, and is dated no later than `newest`. `record_id` tells a log that lost its
    /// tail.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct ReachedRow in 0 { pub record_offset: i64, pub record_id: String, pub newest: Timestamp }
}
row! {
    /// All appends of records up to here have been made.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct AppendedRow in 1 { pub record_offset: i64 }
}
row! {
    /// Why the fold stopped here. Valid until the watermark has passed it: then another process could fold it. Nothing
    /// from `from_offset` on is in the tables: it is less than the row's own position if the log lost its tail.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct StoppedRow in 3 { pub reason: String, pub from_offset: i64 }
}
row! {
    /// An older watermark, from which a fold restarts.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct RestartRow in 2 { pub record_offset: i64, pub record_id: String }
}

/// What is stored beside the watermark itself.
#[derive(Default)]
pub(crate) struct StoredMarks {
    pub appended: Option<Offset>,
    pub restart: Option<(Offset, RecordId)>,
}

pub(super) fn row_key<R: RowType>(partition: LogPartition) -> RowKey {
    RowKey::of::<R>([i64::from(partition.index).into()])
}

pub(super) fn stored_row<R: RowType>(partition: LogPartition, row: R, position: Offset) -> Write {
    Row { key: row_key::<R>(partition), columns: row.into_columns(), position }.into()
}

pub(super) fn signed(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
