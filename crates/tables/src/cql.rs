//! Tables on a CQL server: ScyllaDB or Apache Cassandra.
//!
//! A row's position plus one is its cells' write time (`USING TIMESTAMP`), so on the server older rows lose, per cell,
//! whoever writes them. A removal is a `DELETE` with such a time: it also wins over cells of the same time. All rows of
//! one `apply` are one batch inside one partition of one table, which the server applies as one mutation.

mod declared;
mod inspect;
mod login;
mod rules;
mod schema;
mod session;
mod size;
mod statements;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::OnceCell;

use crate::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Write, check};
pub use declared::create_keyspace as keyspace_statement;
pub use inspect::inspect;
use session::{Connected, Server, execution_error, prepare_error};
use statements::{Layout, Purpose, section_of_statement};
use values::{Bound, Cells};

/// How much acknowledged data a server may lose, with a margin: `commitlog_sync` in batches loses nothing, `periodic`
/// up to ten seconds.
const RESTART_MARGIN: Duration = Duration::from_secs(60);

/// The server's address and settings.
#[derive(Clone)]
pub struct CqlSettings {
    /// `host:port`, or `host` with port 9042; the first that answers names the others.
    pub contact_points: Vec<String>,
    /// All processes must name the same one. `None`: the only existing one; must be named in production.
    pub local_datacenter: Option<String>,
    /// Copies of a new keyspace in the local datacentre.
    pub replication_factor: u8,
    /// Refuse servers that may lose acknowledged rows, instead of a warning.
    pub production: bool,
    /// For one call, with the driver's retries.
    pub request_timeout: Duration,
    /// Where the server's shard-aware port 19042 cannot be reached.
    pub disallow_shard_aware_port: bool,
    /// `None`: plaintext.
    pub tls: Option<Arc<kith_tls::ClientConfig>>,
    pub login: Option<CqlLogin>,
}

/// A user of the server, and the file of its password, which is read for each connection: a password that changes is used
/// by the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlLogin {
    pub user: String,
    pub password_file: PathBuf,
}

impl CqlSettings {
    /// One copy, 3 s per call: for development.
    pub fn new(contact_points: Vec<String>) -> Self {
        Self {
            contact_points,
            local_datacenter: None,
            replication_factor: 1,
            production: false,
            request_timeout: Duration::from_secs(3),
            disallow_shard_aware_port: false,
            tls: None,
            login: None,
        }
    }

    fn wanted(&self) -> rules::Wanted {
        rules::Wanted { replicas: usize::from(self.replication_factor), production: self.production }
    }
}

/// Tables on a CQL server.
pub struct CqlTables {
    server: Server,
}

impl CqlTables {
    /// Does not wait for the server: the first call connects, and until the server answers each call fails with
    /// `Unavailable` within a few seconds.
    pub fn connect(settings: CqlSettings) -> Arc<Self> {
        Arc::new(Self { server: Server::new(settings) })
    }
}

#[async_trait]
impl TableStore for CqlTables {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        check::keyspace(keyspace)?;
        tables.iter().try_for_each(|table| check::table(table))?;
        self.server.connected().await?.create(self.server.settings(), keyspace, tables).await
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        tables.iter().try_for_each(|table| check::table(table))?;
        let connected = self.server.connected().await?;
        connected.check_commit_log(self.server.settings()).await?;
        connected.check_tables(self.server.settings(), keyspace, tables).await?;
        let (name, timeout) = (keyspace.to_owned(), self.server.settings().request_timeout);
        Ok(Arc::new(CqlKeyspace { connected, name, timeout, prepared: Mutex::default() }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        check::keyspace(keyspace)?;
        self.server.connected().await?.has_keyspace(keyspace).await
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        check::keyspace(keyspace)?;
        self.server.connected().await?.drop_keyspace(keyspace).await
    }

    async fn size_bytes(&self, keyspace: &str) -> Result<Option<u64>, StoreError> {
        check::keyspace(keyspace)?;
        self.server.connected().await?.size_bytes(keyspace).await
    }

    fn restart_margin(&self) -> Duration {
        RESTART_MARGIN
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.server.connected().await?.check().await
    }

    fn reconnects(&self) -> u64 {
        self.server.connections()
    }
}

struct CqlKeyspace {
    connected: Arc<Connected>,
    name: String,
    timeout: Duration,
    /// Each statement is prepared once, when it is first needed: a server's cache of them is small, and most tables are
    /// read in few shapes.
    prepared: Mutex<PreparedStatements>,
}

type PreparedStatements = BTreeMap<(&'static str, Purpose), Arc<OnceCell<Prepared>>>;

#[derive(Clone)]
struct Prepared {
    statement: PreparedStatement,
    layout: Arc<Layout>,
}

#[async_trait]
impl Keyspace for CqlKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        check::get(table, partition, rows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let prepared = self.prepared(table, Purpose::Get).await?;
        let mut values: Vec<_> = partition.0.iter().map(Bound::Value).collect();
        values.push(Bound::Keys(rows));
        // Not paged: the number of rows is bounded, and pages would be different states.
        let answer = self.session().execute_unpaged(&prepared.statement, values).await.map_err(execution_error)?;
        let mut found = BTreeMap::new();
        read_rows(table, &prepared.layout, answer, |_, row| {
            found.insert(row.key.clone(), row);
        })?;
        Ok(rows.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        check::slice(table, partition, slice)?;
        if slice.limit == 0 {
            return Ok(Vec::new());
        }
        let (prefix, after) = (slice.range.prefix.len(), slice.range.after.as_ref().map_or(0, Vec::len));
        let section = section_of_statement(slice.range.section);
        let prepared = self.prepared(table, Purpose::Slice { section, prefix, after }).await?;
        let (mut rows, mut from) = (Vec::new(), PagingState::start());
        loop {
            let values = slice_values(partition, slice);
            let page = self.session().execute_single_page(&prepared.statement, values, from).await;
            let (answer, next) = page.map_err(execution_error)?;
            read_rows(table, &prepared.layout, answer, |_, row| rows.push(row))?;
            match next {
                PagingStateResponse::HasMorePages { state } if rows.len() < slice.limit => from = state,
                _ => return Ok(rows),
            }
        }
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        check::apply(table, partition, writes)?;
        let mut statements = Vec::with_capacity(writes.len());
        for write in writes {
            let insert = Purpose::Insert(section_of_statement(write.key.section));
            let purpose = if write.is_removal() { Purpose::Remove } else { insert };
            statements.push(self.prepared(table, purpose).await?.statement);
        }
        let mut values: Vec<_> = writes.iter().map(|write| write_values(partition, write)).collect();
        let done = match (&statements[..], values.pop()) {
            ([], _) | (_, None) => return Ok(()),
            ([one], Some(values)) => self.session().execute_unpaged(one, values).await,
            (_, Some(last)) => {
                values.push(last);
                self.session().batch(&batch(statements), values).await
            }
        };
        done.map(|_| ()).map_err(execution_error)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        let prepared = self.prepared(table, Purpose::Scan).await?;
        let from = cursor.map_or_else(PagingState::start, PagingState::new_from_raw_bytes);
        let page = self.session().execute_single_page(&prepared.statement, (), from).await;
        let (answer, next) = page.map_err(execution_error)?;
        let mut rows = Vec::new();
        read_rows(table, &prepared.layout, answer, |partition, row| rows.push((partition, row)))?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => state.as_bytes_slice().map(|bytes| bytes.to_vec()),
            PagingStateResponse::NoMorePages => None,
        };
        Ok(ScanPage { rows, next })
    }
}

impl CqlKeyspace {
    fn session(&self) -> &Session {
        &self.connected.session
    }

    async fn prepared(&self, table: &'static Table, purpose: Purpose) -> Result<Prepared, StoreError> {
        let cell = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(prepared.entry((table.name, purpose)).or_default())
        };
        let prepare = async || {
            let statement = statements::statement(&self.name, table, purpose);
            let prepared = tokio::time::timeout(self.timeout, self.session().prepare(statement)).await;
            let late = |_| StoreError::Unavailable("a statement was not prepared in time".to_owned());
            let statement = prepared.map_err(late)?.map_err(|e| prepare_error(&e))?;
            Ok(Prepared { statement, layout: Arc::new(Layout::of(table, purpose)) })
        };
        cell.get_or_try_init(prepare).await.cloned()
    }
}

/// Rows of one partition of one table only, so that the server needs no batch log and applies it as one mutation.
fn batch(statements: Vec<PreparedStatement>) -> Batch {
    let statements = statements.into_iter().map(BatchStatement::PreparedStatement).collect();
    let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
    batch.set_is_idempotent(true);
    batch.set_consistency(Consistency::LocalQuorum);
    batch
}

/// Of an insert the time comes last, of a removal first.
fn write_values<'a>(partition: &'a Key, write: &'a Write) -> Vec<Bound<'a>> {
    let time = || Bound::Time(write_time(write.position));
    let mut values: Vec<_> = write.is_removal().then(time).into_iter().collect();
    values.extend(partition.0.iter().map(Bound::Value));
    values.push(Bound::Section(write.key.section));
    values.extend(write.key.clustering.iter().chain(write.columns.iter().flatten()).map(Bound::Value));
    values.extend((!write.is_removal()).then(time));
    values
}

fn slice_values<'a>(partition: &'a Key, slice: &'a Slice) -> Vec<Bound<'a>> {
    let (range, prefix) = (&slice.range, slice.range.prefix.iter().map(Bound::Value));
    let mut values: Vec<_> = partition.0.iter().map(Bound::Value).collect();
    if let Some(after) = &range.after {
        values.push(Bound::Section(range.section));
        values.extend(prefix.clone().chain(after.iter().map(Bound::Value)));
    }
    values.push(Bound::Section(range.section));
    values.extend(prefix);
    values.push(Bound::Limit(i32::try_from(slice.limit).unwrap_or(i32::MAX)));
    values
}

/// Plus one, so that a row at offset 0 has a valid time; in range, as `check::apply` ensures.
fn write_time(position: u64) -> i64 {
    (position as i64).saturating_add(1)
}

/// Passes on each row of an answer, with its partition if the statement selected it.
fn read_rows(
    table: &Table,
    layout: &Layout,
    answer: QueryResult,
    mut take: impl FnMut(Key, Row),
) -> Result<(), StoreError> {
    let damaged = |e: &dyn std::fmt::Display| StoreError::Damaged(e.to_string());
    let rows = answer.into_rows_result().map_err(|e| damaged(&e))?;
    for cells in rows.rows::<Cells>().map_err(|e| damaged(&e))? {
        let (partition, row) = read_row(table, layout, &cells.map_err(|e| damaged(&e))?)?;
        take(partition, row);
    }
    Ok(())
}

fn read_row(table: &Table, layout: &Layout, cells: &Cells) -> Result<(Key, Row), StoreError> {
    let unknown = || StoreError::Damaged(format!("a row of table {} is of no section of it", table.name));
    let partition = table.partition.iter().take(layout.partition_columns).enumerate();
    let partition = partition.map(|(at, column)| cells.value(at, column.kind)).collect::<Result<_, _>>()?;
    let section = cells.int(layout.partition_columns)?;
    let clustering_at = layout.partition_columns + 1;
    let clustering = (clustering_at..).zip(table.clustering);
    let clustering = clustering.map(|(at, column)| cells.value(at, column.kind)).collect::<Result<_, _>>()?;
    let columns_at = clustering_at + table.clustering.len();
    let mut columns = Vec::new();
    let mut first = None;
    for column in table.columns(section).ok_or_else(unknown)? {
        let at = layout.columns.iter().position(|c| c.name == column.name).ok_or_else(unknown)?;
        columns.push(cells.value(columns_at + at, column.kind)?);
        first = first.or(Some(column.name));
    }
    let time = layout.times.iter().position(|name| Some(*name) == first).ok_or_else(unknown)?;
    let time = cells.bigint(columns_at + layout.columns.len() + time)?;
    Ok((Key(partition), Row { key: RowKey { section, clustering }, columns, position: position(table, time)? }))
}

fn position(table: &Table, write_time: i64) -> Result<u64, StoreError> {
    let position = u64::try_from(write_time.saturating_sub(1)).ok().filter(|p| *p < check::POSITION_LIMIT);
    position.ok_or_else(|| {
        // Another program wrote it with the clock's time: it would win over every position for ever.
        StoreError::Damaged(format!("a row of table {} has the write time {write_time}, no position", table.name))
    })
}
