//! The stores without us: fjall and a CQL server, with rows that are a key and bytes.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;

/// The key of a row inside its partition, and its value.
pub type Cell = (Vec<u8>, Bytes);

/// Where raw rows are written.
pub enum Raw {
    Fjall { db: Database, rows: fjall::Keyspace },
    Cql(Box<Cql>),
}

pub struct Cql {
    session: Session,
    insert: PreparedStatement,
    get: PreparedStatement,
    slice: PreparedStatement,
}

impl Raw {
    /// A database of its own, as fjall comes, which syncs nothing by itself: nor do our tables.
    pub fn fjall(folder: &Path) -> Result<Self> {
        let db = Database::builder(folder).open()?;
        let rows = db.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self::Fjall { db, rows })
    }

    /// A keyspace of its own, emptied.
    pub async fn cql(address: &str) -> Result<Self> {
        let session = SessionBuilder::new().known_node(address).build().await?;
        let make = [
            "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}",
            "CREATE TABLE IF NOT EXISTS bench.rows (p blob, c blob, v blob, PRIMARY KEY (p, c))",
        ];
        for statement in make {
            session.query_unpaged(statement, ()).await?;
        }
        session.await_schema_agreement().await?;
        let prepare = async |cql: &str| -> Result<PreparedStatement> {
            let mut statement = session.prepare(cql).await?;
            statement.set_consistency(Consistency::LocalQuorum);
            Ok(statement)
        };
        let insert = prepare("INSERT INTO bench.rows (p, c, v) VALUES (?, ?, ?)").await?;
        let get = prepare("SELECT v FROM bench.rows WHERE p = ? AND c IN ?").await?;
        let slice = prepare("SELECT c, v FROM bench.rows WHERE p = ? AND c >= ? LIMIT ?").await?;
        Ok(Self::Cql(Box::new(Cql { session, insert, get, slice })))
    }

    /// Rows of one partition, in one batch.
    pub async fn write(&self, partition: &[u8], cells: &[Cell]) -> Result<()> {
        match self {
            Self::Fjall { db, rows } => {
                let mut batch = db.batch();
                for (key, value) in cells {
                    batch.insert(rows, [partition, key].concat(), &value[..]);
                }
                Ok(batch.commit()?)
            }
            Self::Cql(cql) => cql.write(partition, cells).await,
        }
    }

    /// The bytes of these rows of one partition.
    pub async fn get(&self, partition: &[u8], keys: &[Vec<u8>]) -> Result<usize> {
        match self {
            Self::Fjall { rows, .. } => {
                let mut bytes = 0;
                for key in keys {
                    bytes += rows.get([partition, key].concat())?.map_or(0, |value| value.len());
                }
                Ok(bytes)
            }
            Self::Cql(cql) => cql.bytes::<(Vec<u8>,)>(&cql.get, (partition, keys), |(value,)| value.len()).await,
        }
    }

    /// The bytes of up to `limit` rows of one partition, from a key on.
    pub async fn slice(&self, partition: &[u8], from: &[u8], limit: usize) -> Result<usize> {
        match self {
            Self::Fjall { rows, .. } => {
                let (start, end) = ([partition, from].concat(), [partition, &[u8::MAX; 8]].concat());
                let mut bytes = 0;
                for entry in rows.range(start..end).take(limit) {
                    bytes += entry.into_inner()?.1.len();
                }
                Ok(bytes)
            }
            Self::Cql(cql) => {
                let limit = i32::try_from(limit)?;
                let read = |(key, value): (Vec<u8>, Vec<u8>)| key.len() + value.len();
                cql.bytes::<(Vec<u8>, Vec<u8>)>(&cql.slice, (partition, from, limit), read).await
            }
        }
    }
}

impl Cql {
    async fn write(&self, partition: &[u8], cells: &[Cell]) -> Result<()> {
        if let [(key, value)] = cells {
            self.session.execute_unpaged(&self.insert, (partition, key, &value[..])).await?;
            return Ok(());
        }
        let statements = cells.iter().map(|_| BatchStatement::PreparedStatement(self.insert.clone())).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_consistency(Consistency::LocalQuorum);
        let values: Vec<_> = cells.iter().map(|(key, value)| (partition, key, &value[..])).collect();
        self.session.batch(&batch, values).await?;
        Ok(())
    }

    async fn bytes<R>(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
        read: impl Fn(R) -> usize,
    ) -> Result<usize>
    where
        R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm> + 'static,
    {
        let answer = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        let mut bytes = 0;
        for row in answer.rows::<R>()? {
            bytes += read(row.context("a row that does not read")?);
        }
        Ok(bytes)
    }
}
