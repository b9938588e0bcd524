//! Keyspaces and tables on the server: created from the declarations, compared with them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;

use super::CqlSettings;
use super::declared::{Columns, create_keyspace, create_table};
use super::rules::{Found, judge_clock, judge_rights, judge_table, refuse};
use super::session::{Connected, execution_error};
use super::statements::quoted;
use crate::{StoreError, Table};

/// A server that creates a table writes to disk on every node.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

impl Connected {
    pub async fn create(
        &self,
        settings: &CqlSettings,
        keyspace: &str,
        tables: &[&'static Table],
    ) -> Result<(), StoreError> {
        let there = self.columns(keyspace).await?;
        // An administrator may have made it: the right to make keyspaces is one to make any.
        if there.is_empty() && !self.is_made(keyspace).await? {
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

    /// One without tables does not count: an administrator made it for those who make the tables.
    pub async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        Ok(!self.columns(keyspace).await?.is_empty())
    }

    async fn is_made(&self, keyspace: &str) -> Result<bool, StoreError> {
        let cql = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        Ok(!self.rows::<(String,)>(cql, (keyspace,)).await?.is_empty())
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
        let mut findings = settings.wanted().judge_keyspace(keyspace, &self.datacenter, tables, &found);
        if let (Some(login), true) = (&settings.login, found.replication.is_some()) {
            findings.extend(judge_rights(keyspace, &login.user, &self.rights(&login.user).await?));
        }
        Ok(findings)
    }

    /// Resources and permissions of a role, its own and inherited. None: a superuser, or a server that gives no rights.
    async fn rights(&self, role: &str) -> Result<Vec<(String, String)>, StoreError> {
        let cql = format!("LIST ALL PERMISSIONS OF {}", quoted(role));
        match self.rows::<(String, String, String, String)>(&cql, ()).await {
            Ok(rows) => Ok(rows.into_iter().map(|(_, _, resource, permission)| (resource, permission)).collect()),
            // There is no authorizer, or it does not tell a role its own.
            Err(StoreError::Contract(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// In production refuses a server whose commit log may lose acknowledged data, elsewhere warns of it.
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
        let asked_ms = runtime.now_ms();
        let clock = self.rows::<(i64,)>("SELECT toUnixTimestamp(now()) FROM system.local", ()).await?;
        let answered_ms = runtime.now_ms();
        let mut findings = vec![
            wanted.judge_nodes(&self.datacenter, self.local_nodes()),
            wanted.judge_commit_log(self.commit_log().await.as_deref()),
        ];
        findings.extend(clock.first().map(|&(server_ms,)| judge_clock(server_ms, (asked_ms, answered_ms))));
        Ok(findings)
    }

    /// Nodes of the local datacentre.
    pub fn local_nodes(&self) -> usize {
        let state = self.session.get_cluster_state();
        state.get_nodes_info().iter().filter(|node| node.datacenter.as_ref() == Some(&self.datacenter)).count()
    }

    /// `commitlog_sync`, if the server reports it.
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
    pub async fn rows<R>(&self, cql: &str, values: impl SerializeRow) -> Result<Vec<R>, StoreError>
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
