use std::sync::Arc;

use kith_log::{RecordId, Topic};
use kith_proto::Event;
use kith_tables::{Key, Row, RowKey, RowRange, RowType, Table, Value, Write};

use super::Cause;

/// An effect of a record outside its scope.
#[derive(Clone)]
pub enum Effect {
    /// Upserts or removes one row elsewhere.
    Put(Put),
    /// Appends a record. Only the live generation does, once caught up. Put it behind a `Read` or a `ForEach` that
    /// checks whether it has been made, so that a replay makes no second one.
    Append(Box<Append>),
    /// As `Append`; the rest runs once all appends of the batch are durable. If nothing is appended, the rest does not
    /// run either: so a row can state that something is in the log.
    AppendThen(Box<Append>, Vec<Effect>),
    /// Reads rows from the store, never from a cache, after the scope is written; then continues.
    Read { table: &'static Table, partition: Key, rows: Vec<RowKey>, then: Then<[Option<Row>]> },
    /// Reads the rows of a range in the same way, one page at a time.
    ForEach(Box<Walk>),
    /// Once all other effects of the batch are durable.
    After(Vec<Effect>),
}

/// What follows from what was read. Pure.
pub type Then<T> = Arc<dyn Fn(&T) -> Vec<Effect> + Send + Sync>;

/// A walk over consecutive rows.
#[derive(Clone)]
pub struct Walk {
    pub table: &'static Table,
    pub partition: Key,
    pub range: RowRange,
    /// `None`: it starts unconditionally.
    pub unless: Option<Unless>,
    pub then: Step,
}

/// The effects of a row; `None` ends the walk before this row. Pure.
pub type Step = Arc<dyn Fn(&Row) -> Option<Vec<Effect>> + Send + Sync>;

/// A row of the same table partition, read with the first page: if it exists and `holds`, nothing is walked.
#[derive(Clone)]
pub struct Unless {
    pub row: RowKey,
    pub holds: fn(&Row) -> bool,
}

/// A row, or its removal, that a record causes in another table partition, at a position of the record's own log partition.
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
        let write = Row { key: RowKey::of::<R>(clustering), columns: row.into_columns(), position }.into();
        Self::Put(Put { table, partition, write })
    }

    /// No row of type `R` there at or below `position`, now or from a late writer. Of a put and a removal of one row at
    /// one position the removal stands. The section must be declared as removable.
    pub fn remove<R: RowType>(
        table: &'static Table,
        partition: Key,
        clustering: impl IntoIterator<Item = Value>,
        position: u64,
    ) -> Self {
        let write = Write::removal(RowKey::of::<R>(clustering), position);
        Self::Put(Put { table, partition, write })
    }

    pub fn append(append: Append) -> Self {
        Self::Append(Box::new(append))
    }

    /// Appends the record if `is_due` says so of the row of type `R` that is there, or of none; see [`super::Contest::is_due`].
    pub fn append_if<R: RowType>(
        append: Append,
        (table, partition): (&'static Table, Key),
        clustering: impl IntoIterator<Item = Value>,
        is_due: impl Fn(Option<&R>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let then = move |found: &[Option<Row>]| {
            let row = found.first().and_then(Option::as_ref).map(Row::read::<R>);
            let is_due = match row {
                None => is_due(None),
                Some(Some(row)) => is_due(Some(&row)),
                // An unreadable row is no reason to append again.
                Some(None) => false,
            };
            if is_due { vec![Self::append(append.clone())] } else { Vec::new() }
        };
        Self::Read { table, partition, rows: vec![RowKey::of::<R>(clustering)], then: Arc::new(then) }
    }
}
