//! The log and the tables of either adapter.

use std::sync::Arc;
use std::time::Duration;

use kith_finding::{Finding, Weight};
use kith_fold::Operations;
use kith_log::kafka::KafkaLog;
use kith_log::topics;
use kith_runtime::Runtime;
use kith_service::config::{LogAddress, Settings, TablesAddress};
use kith_tables::Table;

use super::embedded::advised;
use super::machine::Use;
use crate::ports;
use crate::services::Release;

/// The timeout for reading operators' decisions; a log that does not answer has been reported.
const READ_WITHIN: Duration = Duration::from_secs(5);

pub async fn log(settings: &Settings, runtime: &Runtime) -> Vec<Finding> {
    match &settings.log {
        LogAddress::Embedded(folder) => {
            let found = kith_log::embedded::inspect(folder, settings.partitions);
            found.into_iter().map(|finding| advised(finding, folder, Use::Truth)).collect()
        }
        LogAddress::Kafka(servers) => {
            let kafka = ports::kafka_settings(settings, servers);
            let found = kith_log::kafka::inspect(&kafka, settings.partitions, &topics::ALL, runtime).await;
            found.into_iter().map(what_settings_can_do).collect()
        }
    }
}

pub async fn tables(settings: &Settings, release: Release, runtime: &Runtime) -> Vec<Finding> {
    match &settings.tables {
        TablesAddress::Embedded(folder) => {
            let found = kith_tables::embedded::inspect(folder);
            found.into_iter().map(|finding| advised(finding, folder, Use::Disposable)).collect()
        }
        TablesAddress::Cql(servers) => {
            let keyspaces = keyspaces(settings, release, runtime).await;
            kith_tables::cql::inspect(&ports::cql_settings(settings, servers), &keyspaces, runtime).await
        }
    }
}

/// The client requires a value that no setting gives.
fn what_settings_can_do(mut finding: Finding) -> Finding {
    if finding.weight != Weight::Sound && finding.found.contains("security.protocol") {
        finding.fix = "there is no setting for TLS or SASL yet, so that `production` does not start over Kafka: set \
                       `profile = development` with `replication_factor = 3` (docs/operating.md, Known gaps)"
            .to_owned();
    }
    finding
}

/// The keyspaces of every generation with tables, and their required tables.
async fn keyspaces(settings: &Settings, release: Release, runtime: &Runtime) -> Vec<(String, Vec<&'static Table>)> {
    let groups = match operations(settings, runtime).await {
        Some(operations) => release.groups(settings, |group| operations.generations(group)),
        None => release.first_groups(settings),
    };
    groups.iter().map(|group| (group.keyspace(), group.tables())).collect()
}

/// Operators' decisions, if a broker answers now. Only the running process can read the embedded log: then generation 1
/// of this release is assumed.
async fn operations(settings: &Settings, runtime: &Runtime) -> Option<Operations> {
    let LogAddress::Kafka(servers) = &settings.log else { return None };
    let log = KafkaLog::connect(ports::kafka_settings(settings, servers), settings.partitions, runtime.clone()).ok()?;
    let opened = Operations::open(Arc::clone(&log) as _, runtime.clone());
    tokio::time::timeout(READ_WITHIN, opened).await.ok()?.ok()
}
