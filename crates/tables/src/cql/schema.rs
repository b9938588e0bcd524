//! Keyspaces and tables as the server has them: made from the declarations, compared with them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;

use super::CqlSettings;
use super::rules::{Found, GC_GRACE_SECONDS, judge_clock, judge_table, refuse};
use super::session::{Connected, execution_error};
use super::statements::{comma_separated, quoted, table_name};
use crate::check::SECTION;
use crate::{Column, Kind, Order, StoreError, Table};

/// A server that makes a table writes to disk on every node.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
impl Connected {
    pub async fn create(
        &self,
        settings: &CqlSettings,
        keyspace: &str,
        tables: &[&'static Table],
    ) -> Result<(), StoreError> {
        let there = self.columns(keyspace).await?;
        if there.is_empty() {
            self.change(create_keyspace(keyspace, &self.datacenter, settings.replication_factor)).await?;
        }
        for table in tables {
            match there.get(table.name) {
                Some(columns) => refuse(vec![judge_table(keyspace, table, Some(columns))])?,
                None => self.change(create_table(keyspace, table)).await?,
            }
        }
        let agreed = self.session.await_schema_agreement().await;
        agreed.map(|_| ()).map_err(|e| StoreError::Unavailable(e.to_string()))
    }

    pub async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.change(format!("DROP KEYSPACE IF EXISTS {}", quoted(keyspace))).await
    }

    pub async fn check(&self) -> Result<(), StoreError> {
        self.rows::<(String,)>("SELECT key FROM system.local WHERE key = 'local'", ()).await.map(|_| ())
    }

    /// `Contract` when a table is missing, differs, lets rows expire, or is not replicated as it must be.
    pub async fn check_tables(
        &self,
        settings: &CqlSettings,
        keyspace: &str,
        tables: &[&'static Table],
    ) -> Result<(), StoreError> {
        refuse(self.judge_keyspace(settings, keyspace, tables).await?)
    }

    pub async fn judge_keyspace(
        &self,
        settings: &CqlSettings,
        keyspace: &str,
        tables: &[&'static Table],
    ) -> Result<Vec<Finding>, StoreError> {
        let cql = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let replication = self.rows::<(HashMap<String, String>,)>(cql, (keyspace,)).await?;
        let cql = "SELECT table_name, default_time_to_live, gc_grace_seconds FROM system_schema.tables \
                   WHERE keyspace_name = ?";
        let lifetimes = self.rows::<(String, i32, i32)>(cql, (keyspace,)).await?;
        let found = Found {
            replication: replication.into_iter().next().map(|(replication,)| replication),
            tables: self.columns(keyspace).await?,
            lifetimes: lifetimes.into_iter().map(|(table, ttl, grace)| (table, (ttl, grace))).collect(),
        };
        Ok(settings.wanted().judge_keyspace(keyspace, &self.datacenter, tables, &found))
    }

    /// Refuses a server whose commit log may lose what it acknowledged in production, and warns of it elsewhere.
    pub async fn check_commit_log(&self, settings: &CqlSettings) -> Result<(), StoreError> {
        let finding = settings.wanted().judge_commit_log(self.commit_log().await.as_deref());
        if finding.weight == Weight::Doubtful {
            tracing::warn!("{finding}: it may lose rows that it acknowledged");
        }
        refuse(vec![finding])
    }

    /// What is no keyspace's own.
    pub async fn judge_server(&self, settings: &CqlSettings, runtime: &Runtime) -> Result<Vec<Finding>, StoreError> {
        let wanted = settings.wanted();
        let state = self.session.get_cluster_state();
        let is_local = |datacenter: Option<&String>| datacenter == Some(&self.datacenter);
        let nodes = state.get_nodes_info().iter().filter(|node| is_local(node.datacenter.as_ref())).count();
        let asked_ms = runtime.now_ms();
        let clock = self.rows::<(i64,)>("SELECT toUnixTimestamp(now()) FROM system.local", ()).await?;
        let answered_ms = runtime.now_ms();
        let mut findings = vec![
            wanted.judge_nodes(&self.datacenter, nodes),
            wanted.judge_commit_log(self.commit_log().await.as_deref()),
        ];
        findings.extend(clock.first().map(|&(server_ms,)| judge_clock(server_ms, (asked_ms, answered_ms))));
        Ok(findings)
    }

    /// `commitlog_sync`, if the server tells it.
    async fn commit_log(&self) -> Option<String> {
        let cassandra = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
        let scylla = "SELECT value FROM system.config WHERE name = 'commitlog_sync'";
        let rows = match self.rows::<(String,)>(cassandra, ()).await {
            Err(StoreError::Contract(_)) => self.rows::<(String,)>(scylla, ()).await,
            known => known,
        };
        Some(rows.ok()?.into_iter().next()?.0)
    }

    async fn columns(&self, keyspace: &str) -> Result<BTreeMap<String, Columns>, StoreError> {
        let cql = "SELECT table_name, column_name, type, kind, position, clustering_order \
                   FROM system_schema.columns WHERE keyspace_name = ?";
        let mut tables = BTreeMap::<_, Columns>::new();
        type Found = (String, String, String, String, i32, String);
        for (table, column, kind, part, position, order) in self.rows::<Found>(cql, (keyspace,)).await? {
            tables.entry(table).or_default().insert(column, (kind, part, position, order));
        }
        Ok(tables)
    }

    async fn change(&self, cql: String) -> Result<(), StoreError> {
        let mut statement = Statement::new(cql);
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(CHANGE_TIMEOUT));
        self.session.query_unpaged(statement, ()).await.map_err(execution_error)?;
        Ok(())
    }

    /// For the few rows of system tables only.
    async fn rows<R>(&self, cql: &str, values: impl SerializeRow) -> Result<Vec<R>, StoreError>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let mut statement = Statement::new(cql);
        statement.set_is_idempotent(true);
        let answer = self.session.query_unpaged(statement, values).await.map_err(execution_error)?;
        let rows = answer.into_rows_result().map_err(|e| StoreError::Damaged(e.to_string()))?;
        let rows = rows.rows::<R>().map_err(|e| StoreError::Damaged(e.to_string()))?;
        rows.collect::<Result<_, _>>().map_err(|e| StoreError::Damaged(e.to_string()))
    }
}

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

fn create_keyspace(keyspace: &str, datacenter: &str, replicas: u8) -> String {
    let (keyspace, datacenter) = (quoted(keyspace), datacenter.replace('\'', "''"));
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} \
         WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
    )
}

fn create_table(keyspace: &str, table: &Table) -> String {
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

/// The section runs as the columns behind it do; see `statements`.
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
