//! A table for the tests of what reads and writes tables.

use std::path::Path;
use std::sync::Arc;

use kith_runtime::Runtime;
use kith_tables::embedded::EmbeddedTables;
use kith_tables::{Column, Keyspace, Order, Row, RowKey, RowType, Section, Table, TableStore, Write, row};

pub(crate) static NOTES: Table = Table {
    name: "notes",
    partition: &[Column::text("book")],
    clustering: &[Column::bigint("page")],
    order: Order::Ascending,
    sections: &[Section::of::<NoteRow>("note"), Section::removable::<SlipRow>("slip")],
    summary: &[],
};
row! {
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct NoteRow in 0 { pub(crate) text: String }
}

row! {
    /// A row that may be removed.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct SlipRow in 1 { pub(crate) text: String }
}

pub(crate) fn note(page: i64, text: &str, position: u64) -> Write {
    let (key, columns) = (RowKey::of::<NoteRow>([page.into()]), NoteRow { text: text.to_owned() }.into_columns());
    Row { key, columns, position }.into()
}

/// It alone, empty, in embedded tables.
pub(crate) async fn keyspace(folder: &Path, runtime: &Runtime) -> Arc<dyn Keyspace> {
    let tables = EmbeddedTables::open(folder, runtime.clone()).unwrap();
    tables.create("kith_notes_g1", &[&NOTES]).await.unwrap();
    tables.open("kith_notes_g1", &[&NOTES]).await.unwrap()
}
