//! Declared keyspaces and tables in CQL.

use std::collections::BTreeMap;

use super::statements::{comma_separated, quoted, table_name};
use crate::check::SECTION;
use crate::{Column, Kind, Order, Table};

/// How long a server keeps the tombstone of a removed row, 10 days, which is also the servers' own default. Each replica
/// must be repaired within it, or one that missed the removal brings the row back; a writer that is later brings it back
/// as well. Who reads such rows does not depend on it (ADR 20).
pub(super) const GC_GRACE_SECONDS: i32 = 864_000;

/// By column name: type, part of the key, position in it, order; as system_schema has them.
pub(super) type Columns = BTreeMap<String, (String, String, i32, String)>;

/// Those that a table is declared with.
pub(super) fn columns(table: &Table) -> Columns {
    let mut columns = Columns::new();
    let mut add = |name: &str, kind: &str, part: &str, position: usize, order: &str| {
        let position = if part == "regular" { -1 } else { position as i32 };
        columns.insert(name.to_owned(), (kind.to_owned(), part.to_owned(), position, order.to_owned()));
    };
    for (position, column) in table.partition.iter().enumerate() {
        add(column.name, cql_type(column.kind), "partition_key", position, "none");
    }
    let order = direction(table.order).to_lowercase();
    add(SECTION, "int", "clustering", 0, &order);
    for (position, column) in (1..).zip(table.clustering) {
        add(column.name, cql_type(column.kind), "clustering", position, &order);
    }
    for column in table.all_columns() {
        add(column.name, cql_type(column.kind), "regular", 0, "none");
    }
    columns
}

/// The statement that makes a keyspace, if there is none of that name.
pub fn create_keyspace(keyspace: &str, datacenter: &str, replicas: u8) -> String {
    let (keyspace, datacenter) = (quoted(keyspace), datacenter.replace('\'', "''"));
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} \
         WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
    )
}

pub(super) fn create_table(keyspace: &str, table: &Table) -> String {
    let defined = |column: &Column| format!("{} {}", quoted(column.name), cql_type(column.kind));
    let section = [format!("{} int", quoted(SECTION))].into_iter();
    let all = table.all_columns();
    let columns = table.partition.iter().map(defined).chain(section);
    let columns = comma_separated(columns.chain(table.clustering.iter().chain(&all).map(defined)));
    let partition = comma_separated(table.partition.iter().map(|column| quoted(column.name)));
    let clustering: Vec<_> = [SECTION].into_iter().chain(table.clustering.iter().map(|c| c.name)).map(quoted).collect();
    let order = comma_separated(clustering.iter().map(|name| format!("{name} {}", direction(table.order))));
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({columns}, PRIMARY KEY (({partition}), {})) WITH CLUSTERING ORDER BY ({order}) \
         AND default_time_to_live = 0 AND gc_grace_seconds = {GC_GRACE_SECONDS}",
        table_name(keyspace, table),
        clustering.join(", "),
    )
}

/// The section has the order of the columns after it; see `statements`.
fn direction(order: Order) -> &'static str {
    match order {
        Order::Ascending => "ASC",
        Order::Descending => "DESC",
    }
}

fn cql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::BigInt => "bigint",
        Kind::Bool => "boolean",
        Kind::Timestamp => "bigint",
        Kind::Blob => "blob",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::FEED;

    #[test]
    fn a_table_is_typed_and_keyed_as_declared() {
        assert_eq!(
            create_table("k", &FEED),
            r#"CREATE TABLE IF NOT EXISTS "k"."feed" ("reader" text, "week" bigint, "section" int, "at" bigint, "#
                .to_owned()
                + r#""post" text, "text" text, "count" bigint, "pinned" boolean, "written" bigint, "raw" blob, "#
                + r#""label" text, "mark" bigint, PRIMARY KEY (("reader", "week"), "section", "at", "post")) "#
                + r#"WITH CLUSTERING ORDER BY ("section" DESC, "at" DESC, "post" DESC) "#
                + "AND default_time_to_live = 0 AND gc_grace_seconds = 864000"
        );
    }

    #[test]
    fn a_keyspace_is_replicated_by_datacentre() {
        assert_eq!(
            create_keyspace("k", "dc1", 3),
            r#"CREATE KEYSPACE IF NOT EXISTS "k" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}"#
        );
    }
}
