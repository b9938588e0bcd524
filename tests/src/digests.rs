//! Digests of what the folds have written.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use kith_fold::Group;
use kith_tables::{Table, TableStore, digest};

/// Tables that hold rows which no query shows: what they let through is compared by the demo's self-check instead
/// (DESIGN.md, invariant 5). Watermarks say where a fold is, not what it folded.
const NOT_A_FUNCTION_OF_THE_LOG: [&str; 3] = ["watermarks", "home", "pulls"];

/// Partitions of every topic in a suite whose process was not told otherwise.
const PARTITIONS: u16 = 16;

/// The fold group of every service, as the binary runs them.
pub fn groups(push_threshold: u64) -> Vec<Group> {
    vec![
        kith_identity::group(1),
        kith_posts::group(1),
        kith_engagement::group(1),
        kith_messaging::group(1),
        kith_projector::group(1, kith_projector::Settings { push_threshold, partition_count: PARTITIONS }),
    ]
}

/// Rows and digest of every table, by keyspace and name.
pub async fn of(store: Arc<dyn TableStore>, push_threshold: u64) -> Result<BTreeMap<String, (u64, [u8; 32])>> {
    let mut digests = BTreeMap::new();
    for group in groups(push_threshold) {
        let all = group.tables();
        let tables: Vec<&'static Table> =
            all.into_iter().filter(|table| !NOT_A_FUNCTION_OF_THE_LOG.contains(&table.name)).collect();
        let keyspace = store.open(&group.keyspace(), &group.tables()).await?;
        for table in digest::digest(&*keyspace, &tables).await?.tables {
            digests.insert(format!("{}.{}", group.keyspace(), table.name), (table.rows, table.bytes));
        }
    }
    Ok(digests)
}
