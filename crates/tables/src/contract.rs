//! What every adapter of the port must do, as plain functions; each adapter's tests list them by name.
//!
//! Every function uses a separate keyspace, which it drops first, so they may run concurrently and repeatedly.

#![allow(clippy::expect_used, reason = "a suite of tests: it fails by panicking")]

mod paging;
mod removals;
mod rows;
mod tables;

pub use paging::{pages_neither_skip_nor_repeat, scan_gives_every_row_once, slices_keep_the_order, slices_of_text};
pub use removals::{
    a_removed_row_is_no_row, a_removed_row_stays_away_from_late_writers, removals_and_writes_come_in_any_order,
    rows_move_in_one_apply,
};
pub use rows::{
    a_batch_is_all_or_nothing, a_version_ends_with_the_next_apply, get_answers_in_the_order_asked,
    older_never_overwrites_newer, replay_changes_nothing, sections_have_columns_of_their_own, too_much_is_refused,
};
pub use tables::{
    digests_follow_the_rows, drop_then_create_is_empty, open_without_create_is_refused, reopening_keeps_rows,
    rows_of_all_kinds_read_back, the_size_of_a_keyspace_is_told_or_unknown,
};

use std::sync::Arc;

use crate::{Column, Key, Kind, Order, Row, RowKey, RowType, Section, Table, TableStore, Value, Write};

crate::row! {
    /// A row with a column of every kind.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct Note in 0 {
        pub text: String,
        pub count: i64,
        pub pinned: bool,
        pub written: crate::Timestamp,
        pub raw: bytes::Bytes,
    }
}

crate::row! {
    /// A row of another section: shares a column, has another.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct Label in 1 {
        pub label: String,
        pub count: i64,
    }
}

const SECTIONS: &[Section] = &[Section::removable::<Note>("notes"), Section::of::<Label>("labels")];

/// Two clustering columns, ascending. `view` and `order` are reserved words in CQL.
pub static NOTES: Table = Table {
    name: "view",
    partition: &[Column::text("id")],
    clustering: &[Column::bigint("order"), Column::text("word")],
    order: Order::Ascending,
    sections: SECTIONS,
    summary: &[Column::bigint("total")],
};

/// The same, descending, with two partition columns.
pub static FEED: Table = Table {
    name: "feed",
    partition: &[Column::text("reader"), Column::bigint("week")],
    clustering: &[Column::bigint("at"), Column::text("post")],
    order: Order::Descending,
    sections: SECTIONS,
    summary: &[],
};

/// No clustering columns of its own.
pub static SINGLE: Table = Table {
    name: "single",
    partition: &[Column::text("id")],
    clustering: &[],
    order: Order::Ascending,
    sections: SECTIONS,
    summary: &[Column { name: "open", kind: Kind::Bool }],
};

const ALL: &[&Table] = &[&NOTES, &FEED, &SINGLE];

async fn fresh(store: &Arc<dyn TableStore>, name: &str) -> Arc<dyn crate::Keyspace> {
    store.drop_keyspace(name).await.expect("drop");
    store.create(name, ALL).await.expect("create");
    store.open(name, ALL).await.expect("open")
}

fn place(number: i64, word: &str) -> Vec<Value> {
    vec![number.into(), word.into()]
}

fn feed_key() -> Key {
    Key(vec!["reader".into(), 7.into()])
}

fn write<R: RowType>(clustering: Vec<Value>, position: u64, row: R) -> Write {
    Write { key: RowKey::of::<R>(clustering), columns: Some(row.into_columns()), position }
}

fn note(number: i64, word: &str, position: u64, text: &str) -> Write {
    write(place(number, word), position, Note { text: text.to_owned(), ..Note::default() })
}

/// The rows that these writes leave.
fn left(writes: &[Write]) -> Vec<Row> {
    writes.iter().cloned().filter_map(Write::into_row).collect()
}

/// The text of a note's row.
fn text(row: &Row) -> String {
    row.read::<Note>().expect("a note").text
}
