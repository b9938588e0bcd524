use std::sync::Arc;

use kith_log::{RecordId, Topic};
use kith_proto::Event;
use kith_tables::{Key, Row, RowKey, RowRange, RowType, Table, Value, Write};

use crate::{Cause, Record, Rows};

/// One view. Pure: the engine loads the rows asked for, skips what the mark says is in, writes what changed at once.
pub trait Fold: Send + Sync + 'static {
    /// Every table that this fold evolves or spreads to.
    fn tables(&self) -> Vec<&'static Table>;

    /// The one table partition that this record evolves, with the rows that `apply` and `effects` look at, if the
    /// record concerns this view. Nobody else writes rows that it names, or that `apply` puts: no effect, and no home of
    /// another log partition. What was never written is not read (ADR 14), so such a row would not be seen.
    fn home(&self, record: &Record) -> Option<Home>;

    /// What the record changes there.
    fn apply(&self, rows: &mut Rows, record: &Record);

    /// What follows elsewhere. `rows` may be later than the record (on a replay): a value stamped with the record's
    /// offset must be a function of the record alone, one stamped with the rows' mark a function of the rows alone.
    fn effects(&self, _rows: &Rows, _record: &Record) -> Vec<Effect> {
        Vec::new()
    }

    /// Whether `effects` may hold appends, so that a worker that starts must look for ones never made.
    fn appends(&self) -> bool {
        false
    }
}

/// A table partition and rows in it.
#[derive(Debug, Clone)]
pub struct Home {
    pub table: &'static Table,
    pub partition: Key,
    pub rows: Vec<RowKey>,
}

impl Home {
    pub fn new(table: &'static Table, partition: Key) -> Self {
        Self { table, partition, rows: Vec::new() }
    }

    /// Also loads the row of type `R` with this clustering key.
    #[must_use]
    pub fn with<R: RowType>(mut self, clustering: impl IntoIterator<Item = Value>) -> Self {
        self.rows.push(RowKey::of::<R>(clustering));
        self
    }
}

/// Something that follows from a record, outside its home.
#[derive(Clone)]
pub enum Effect {
    /// Upserts one row elsewhere.
    Put(Put),
    /// Appends a record. Only the live generation does, and only caught up. Put it behind a `Read` or a `ForEach` that
    /// sees whether it has been made, so that a replay makes no second one.
    Append(Box<Append>),
    /// As `Append`, and the rest once everything that the batch of records appends is durable. Where nothing is appended
    /// the rest is not carried out either: so a row can say that something is in the log.
    AppendThen(Box<Append>, Vec<Effect>),
    /// Reads rows from the store, never from a cache, after the home is written; then goes on.
    Read { table: &'static Table, partition: Key, rows: Vec<RowKey>, then: Then<[Option<Row>]> },
    /// Reads the rows of a range in the same way, a page at a time.
    ForEach(Box<Walk>),
    /// Once everything else that the batch of records causes is durable.
    After(Vec<Effect>),
}

/// What follows from what was read. Pure.
pub type Then<T> = Arc<dyn Fn(&T) -> Vec<Effect> + Send + Sync>;

/// A walk over rows that follow each other.
#[derive(Clone)]
pub struct Walk {
    pub table: &'static Table,
    pub partition: Key,
    pub range: RowRange,
    /// `None`: it begins whatever else stands in the table partition.
    pub unless: Option<Unless>,
    pub then: Step,
}

/// What follows from a row; `None` ends the walk: neither it nor what is behind it is wanted. Pure.
pub type Step = Arc<dyn Fn(&Row) -> Option<Vec<Effect>> + Send + Sync>;

/// A row of the same table partition, read beside the first page: where it is there and `holds`, nothing is walked.
#[derive(Clone)]
pub struct Unless {
    pub row: RowKey,
    pub holds: fn(&Row) -> bool,
}

/// A row that a record causes in another table partition, at a position of the record's own log partition.
#[derive(Debug, Clone)]
pub struct Put {
    pub table: &'static Table,
    pub partition: Key,
    pub write: Write,
}

/// A record that a record causes.
#[derive(Debug, Clone)]
pub struct Append {
    pub topic: Topic,
    pub key: String,
    /// The same for every copy of this append.
    pub id: RecordId,
    pub event: Event,
    pub cause: Cause,
}

impl Effect {
    /// A row of type `R` at `position`.
    pub fn put<R: RowType>(
        table: &'static Table,
        partition: Key,
        clustering: impl IntoIterator<Item = Value>,
        row: R,
        position: u64,
    ) -> Self {
        let write = Row { key: RowKey::of::<R>(clustering), columns: row.into_columns(), position };
        Self::Put(Put { table, partition, write })
    }

    pub fn append(append: Append) -> Self {
        Self::Append(Box::new(append))
    }
}
