//! How much space a keyspace takes, as far as servers say.

use super::session::Connected;
use crate::StoreError;

const MEBIBYTE: u64 = 1024 * 1024;

impl Connected {
    /// Cassandra tells the size of each table's files on the node that is asked, in MiB; ScyllaDB how large the table's
    /// partitions are there. Nodes are taken to hold equally much. `None`: neither, or there is no such keyspace.
    pub async fn size_bytes(&self, keyspace: &str) -> Result<Option<u64>, StoreError> {
        let cql = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
        let mut on_one_node = None;
        for (table,) in self.rows::<(String,)>(cql, (keyspace,)).await? {
            let Some(bytes) = self.table_bytes(keyspace, &table).await? else { return Ok(None) };
            on_one_node = Some(bytes.saturating_add(on_one_node.unwrap_or(0)));
        }
        Ok(on_one_node.map(|bytes| bytes.saturating_mul(self.local_nodes() as u64)))
    }

    async fn table_bytes(&self, keyspace: &str, table: &str) -> Result<Option<u64>, StoreError> {
        let cassandra = "SELECT mebibytes FROM system_views.disk_usage WHERE keyspace_name = ? AND table_name = ?";
        let scylla = "SELECT mean_partition_size, partitions_count FROM system.size_estimates \
                      WHERE keyspace_name = ? AND table_name = ?";
        match self.rows::<(i64,)>(cassandra, (keyspace, table)).await {
            Ok(sizes) => Ok(sizes.first().map(|(mebibytes,)| unsigned(*mebibytes).saturating_mul(MEBIBYTE))),
            Err(StoreError::Contract(_)) => match self.rows::<(i64, i64)>(scylla, (keyspace, table)).await {
                Ok(ranges) if ranges.is_empty() => Ok(None),
                Ok(ranges) => Ok(Some(
                    ranges
                        .iter()
                        .map(|(mean, count)| unsigned(*mean).saturating_mul(unsigned(*count)))
                        .fold(0, u64::saturating_add),
                )),
                Err(StoreError::Contract(_)) => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

fn unsigned(figure: i64) -> u64 {
    u64::try_from(figure).unwrap_or(0)
}
