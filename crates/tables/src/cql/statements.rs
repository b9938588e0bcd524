//! Every CQL statement that reads or writes rows, in the subset that ScyllaDB and Apache Cassandra share.
//!
//! All names are quoted: `view`, `order`, `token` are reserved words. All conditions on clustering columns of a
//! statement are on tuples or all on single columns, because ScyllaDB refuses to mix them; all clustering columns of a
//! table, `section` too, have one direction, so that a tuple's order is the rows' order.

use scylla::statement::{Consistency, unprepared};

use crate::check::SECTION;
use crate::{Column, MAX_SLICE_ROWS, Order, SectionId, Table};

/// Which statement on one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// One row of a section.
    Insert(SectionId),
    /// One row of any section.
    Remove,
    /// Rows by their keys, of all sections.
    Get,
    /// Rows of a section: the number of clustering columns that are equal for all, and the number of further ones that
    /// give the start.
    Slice { section: SectionId, prefix: usize, after: usize },
    /// All rows of the table.
    Scan,
}

/// All summary rows share their statements.
pub(super) fn section_of_statement(section: SectionId) -> SectionId {
    section.max(-1)
}

pub(super) fn statement(keyspace: &str, table: &Table, purpose: Purpose) -> unprepared::Statement {
    let cql = match purpose {
        Purpose::Insert(section) => insert(keyspace, table, section),
        Purpose::Remove => remove(keyspace, table),
        Purpose::Get => get(keyspace, table),
        Purpose::Slice { section, prefix, after } => slice(keyspace, table, section, prefix, after),
        Purpose::Scan => format!("SELECT {} FROM {}", selected(table, purpose), table_name(keyspace, table)),
    };
    let mut statement = unprepared::Statement::new(cql);
    // A write carries its position as its time, so a second one changes nothing.
    statement.set_is_idempotent(true);
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_page_size(MAX_SLICE_ROWS as i32);
    statement
}

pub(super) fn table_name(keyspace: &str, table: &Table) -> String {
    format!("{}.{}", quoted(keyspace), quoted(table.name))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

pub(super) fn comma_separated(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

/// The parts of a row in a statement's answer, in its order.
pub(super) struct Layout {
    /// 0 if the caller knows the partition.
    pub partition_columns: usize,
    /// Behind partition columns, section and clustering columns.
    pub columns: Vec<Column>,
    /// Columns whose write times follow `columns`: the first of each section, for the row's position.
    pub times: Vec<&'static str>,
}

impl Layout {
    pub fn of(table: &Table, purpose: Purpose) -> Self {
        let (columns, sections): (_, Vec<_>) = match purpose {
            Purpose::Slice { section, .. } => (table.columns(section).into_iter().flatten().collect(), vec![section]),
            _ => (table.all_columns(), table.sections.iter().map(|s| s.id).chain([-1]).collect()),
        };
        let mut times = Vec::new();
        for first in sections.iter().filter_map(|section| table.columns(*section)?.next()) {
            if !times.contains(&first.name) {
                times.push(first.name);
            }
        }
        let partition_columns = if purpose == Purpose::Scan { table.partition.len() } else { 0 };
        Self { partition_columns, columns, times }
    }
}

fn insert(keyspace: &str, table: &Table, section: SectionId) -> String {
    let own = table.columns(section).into_iter().flatten().map(|column| column.name);
    let names: Vec<_> = partition(table).chain(clustering(table)).chain(own).map(quoted).collect();
    let marks = comma_separated(names.iter().map(|_| "?".to_owned()));
    let (table, names) = (table_name(keyspace, table), names.join(", "));
    format!("INSERT INTO {table} ({names}) VALUES ({marks}) USING TIMESTAMP ?")
}

/// A server keeps the removal as a tombstone of the row: with its time it hides all of the row's cells up to that time.
fn remove(keyspace: &str, table: &Table) -> String {
    let key: Vec<_> = partition(table).chain(clustering(table)).map(|name| format!("{} = ?", quoted(name))).collect();
    format!("DELETE FROM {} USING TIMESTAMP ? WHERE {}", table_name(keyspace, table), key.join(" AND "))
}

/// One statement for any number of keys, so that they are read as one state.
fn get(keyspace: &str, table: &Table) -> String {
    let (from, keys) = (whole_partition(keyspace, table, Purpose::Get), comma_separated(clustering(table).map(quoted)));
    format!("{from} AND ({keys}) IN ?")
}

fn slice(keyspace: &str, table: &Table, section: SectionId, prefix: usize, after: usize) -> String {
    let from = whole_partition(keyspace, table, Purpose::Slice { section, prefix, after });
    let tuple = |length: usize| {
        let names = comma_separated(clustering(table).take(length).map(quoted));
        let marks = comma_separated((0..length).map(|_| "?".to_owned()));
        (names, marks)
    };
    let bounds = if after == 0 {
        let equal: Vec<_> = clustering(table).take(1 + prefix).map(|name| format!("{} = ?", quoted(name))).collect();
        equal.join(" AND ")
    } else {
        let ((start, start_marks), (end, end_marks)) = (tuple(1 + prefix + after), tuple(1 + prefix));
        let (behind, within) = match table.order {
            Order::Ascending => (">", "<="),
            Order::Descending => ("<", ">="),
        };
        format!("({start}) {behind} ({start_marks}) AND ({end}) {within} ({end_marks})")
    };
    format!("{from} AND {bounds} LIMIT ?")
}

fn whole_partition(keyspace: &str, table: &Table, purpose: Purpose) -> String {
    let key: Vec<_> = partition(table).map(|name| format!("{} = ?", quoted(name))).collect();
    let (columns, from) = (selected(table, purpose), table_name(keyspace, table));
    format!("SELECT {columns} FROM {from} WHERE {}", key.join(" AND "))
}

fn selected(table: &Table, purpose: Purpose) -> String {
    let layout = Layout::of(table, purpose);
    let keys = partition(table).take(layout.partition_columns).chain(clustering(table)).map(quoted);
    let columns = layout.columns.iter().map(|column| quoted(column.name));
    let times = layout.times.iter().map(|name| format!("WRITETIME({})", quoted(name)));
    comma_separated(keys.chain(columns).chain(times))
}

fn partition(table: &Table) -> impl Iterator<Item = &'static str> + use<> {
    table.partition.iter().map(|column| column.name)
}

fn clustering(table: &Table) -> impl Iterator<Item = &'static str> + use<> {
    [SECTION].into_iter().chain(table.clustering.iter().map(|column| column.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{FEED, NOTES, SINGLE};

    fn all(table: &Table) -> Vec<unprepared::Statement> {
        let mut purposes = vec![Purpose::Get, Purpose::Scan, Purpose::Remove];
        for section in [-1, 0, 1] {
            purposes.push(Purpose::Insert(section));
            for prefix in 0..=table.clustering.len() {
                let shapes = 0..=table.clustering.len() - prefix;
                purposes.extend(shapes.map(|after| Purpose::Slice { section, prefix, after }));
            }
        }
        purposes.into_iter().map(|purpose| statement("k", table, purpose)).collect()
    }

    #[test]
    fn every_statement_may_be_repeated_and_asks_a_local_quorum() {
        for statement in [&NOTES, &FEED, &SINGLE].into_iter().flat_map(all) {
            assert!(statement.get_is_idempotent(), "{}", statement.contents);
            assert_eq!(statement.get_consistency(), Some(Consistency::LocalQuorum));
            assert_eq!(statement.get_timestamp(), None);
        }
    }

    #[test]
    fn every_write_carries_its_time_and_every_read_names_its_columns() {
        for statement in [&NOTES, &FEED, &SINGLE].into_iter().flat_map(all) {
            let cql = &statement.contents;
            let writes = cql.starts_with("INSERT INTO ") && cql.ends_with(" USING TIMESTAMP ?");
            let removes = cql.starts_with("DELETE FROM ") && cql.contains(" USING TIMESTAMP ? WHERE ");
            let is_write = writes || removes;
            let is_read = cql.starts_with("SELECT \"") && cql.contains("WRITETIME(") && !cql.contains('*');
            assert!(is_write != is_read, "{cql}");
            for word in ["TTL", "UPDATE", "IF ", "ALLOW FILTERING", "null"] {
                assert!(!cql.contains(word), "{cql}");
            }
        }
    }

    #[test]
    fn statements_look_as_an_operator_would_write_them() {
        let cql = |table, purpose| statement("k", table, purpose).contents;
        assert_eq!(
            cql(&NOTES, Purpose::Insert(1)),
            r#"INSERT INTO "k"."view" ("id", "section", "order", "word", "label", "count") "#.to_owned()
                + "VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        assert_eq!(
            cql(&SINGLE, Purpose::Get),
            r#"SELECT "section", "text", "count", "pinned", "written", "raw", "label", "mark", "open", "#.to_owned()
                + r#"WRITETIME("text"), WRITETIME("label"), WRITETIME("mark") FROM "k"."single" "#
                + r#"WHERE "id" = ? AND ("section") IN ?"#
        );
        assert_eq!(
            cql(&NOTES, Purpose::Remove),
            r#"DELETE FROM "k"."view" USING TIMESTAMP ? WHERE "id" = ? AND "section" = ? AND "order" = ? AND "word" = ?"#
        );
        let behind = Purpose::Slice { section: 1, prefix: 1, after: 1 };
        assert_eq!(
            cql(&FEED, behind),
            r#"SELECT "section", "at", "post", "label", "count", WRITETIME("label") FROM "k"."feed" "#.to_owned()
                + r#"WHERE "reader" = ? AND "week" = ? AND ("section", "at", "post") < (?, ?, ?) "#
                + r#"AND ("section", "at") >= (?, ?) LIMIT ?"#
        );
    }
}
