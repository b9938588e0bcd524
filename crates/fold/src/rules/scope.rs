use kith_tables::{Key, RowKey, RowType, Table, Value};

/// A table partition and rows in it.
#[derive(Debug, Clone)]
pub struct Scope {
    pub table: &'static Table,
    pub partition: Key,
    pub rows: Vec<RowKey>,
}

impl Scope {
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
