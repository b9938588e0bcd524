//! Digests of what the folds have written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Result;
use kith::services::RELEASE;
use kith_fold::engine::{self, Ports};
use kith_fold::{Group, MakeGroup, Operations, Projection, State, create_first};
use kith_log::PartitionIndex;
use kith_service::config::{Settings, Sources};
use kith_tables::digest;

/// The default partition count of topics.
pub const PARTITIONS: PartitionIndex = 16;

/// The defaults, but for these: the environment of the caller does not count.
pub fn settings(push_threshold: u64, partition_count: PartitionIndex) -> Result<Settings> {
    let given = [("push_threshold", push_threshold.to_string()), ("partitions", partition_count.to_string())];
    let flags = given.map(|(key, value)| (key.to_owned(), value)).to_vec();
    Ok(Settings::from_sources(Sources { flags, environment: Some(HashMap::new()) })?)
}

/// Every fold group of the suite, as the binary runs them.
pub fn groups(push_threshold: u64, partition_count: PartitionIndex) -> Result<Vec<Group>> {
    Ok(RELEASE.first_groups(&settings(push_threshold, partition_count)?))
}

/// Folds every group, in the order of [`groups`], as a process of all services does.
pub async fn start(ports: &Ports, push_threshold: u64) -> Result<Vec<Arc<Projection>>> {
    let operations = Arc::new(Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?);
    let mut projections = Vec::new();
    for group in groups(push_threshold, ports.log.partition_count())? {
        create_first(ports, &group).await?;
        let make: MakeGroup = Arc::new(move |generation| Group { generation, ..group.clone() });
        projections.push(Projection::start(ports, &operations, make, true).await?);
    }
    Ok(projections)
}

/// Rows and digest of every table, by keyspace and name. For tables that join two topics: only entries that the join
/// lets through.
pub async fn of(ports: &Ports, push_threshold: u64) -> Result<BTreeMap<String, (u64, [u8; 32])>> {
    let mut digests = BTreeMap::new();
    for group in groups(push_threshold, PARTITIONS)? {
        let keyspace = group.keyspace();
        let running = engine::start(ports, group.clone(), false).await?;
        let now_ms = ports.runtime.now_ms();
        let tables = of_group(&group, &running.state, push_threshold, PARTITIONS, now_ms).await?;
        running.end().await;
        digests.extend(tables.into_iter().map(|(table, digest)| (format!("{keyspace}.{table}"), digest)));
    }
    Ok(digests)
}

/// The same of one group, by the names of its tables.
pub async fn of_group(
    group: &Group,
    state: &State,
    push_threshold: u64,
    partition_count: PartitionIndex,
    now_ms: i64,
) -> Result<BTreeMap<String, (u64, [u8; 32])>> {
    let digest = if group.name == kith_projector::GROUP {
        let settings = kith_projector::Settings { push_threshold, partition_count };
        kith_projector::digest(state, settings, now_ms).await?
    } else {
        digest(&**state.keyspace(), &group.folded_tables()).await?
    };
    Ok(digest.tables.into_iter().map(|table| (table.name.to_owned(), (table.rows, table.bytes))).collect())
}
