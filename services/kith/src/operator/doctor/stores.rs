//! The log and the tables, wherever they are.

use std::sync::Arc;
use std::time::Duration;

use kith_finding::Finding;
use kith_fold::Operations;
use kith_log::kafka::KafkaLog;
use kith_log::topics;
use kith_runtime::Runtime;
use kith_service::config::{LogAddress, Settings, TablesAddress};
use kith_tables::Table;

use crate::{ports, suite};

/// Time for what operators decided to be read; a log that does not answer has been said.
const READ_WITHIN: Duration = Duration::from_secs(5);

pub async fn log(settings: &Settings, runtime: &Runtime) -> Vec<Finding> {
    match &settings.log {
        LogAddress::Embedded(folder) => kith_log::embedded::inspect(folder, settings.partitions),
        LogAddress::Kafka(servers) => {
            let kafka = ports::kafka_settings(settings, servers);
            kith_log::kafka::inspect(&kafka, settings.partitions, &topics::ALL, runtime).await
        }
    }
}

pub async fn tables(settings: &Settings, runtime: &Runtime) -> Vec<Finding> {
    match &settings.tables {
        TablesAddress::Embedded(folder) => kith_tables::embedded::inspect(folder),
        TablesAddress::Cql(servers) => {
            let keyspaces = keyspaces(settings, runtime).await;
            kith_tables::cql::inspect(&ports::cql_settings(settings, servers), &keyspaces, runtime).await
        }
    }
}

/// Of every generation that has tables, with what must be in them.
async fn keyspaces(settings: &Settings, runtime: &Runtime) -> Vec<(String, Vec<&'static Table>)> {
    let operations = operations(settings, runtime).await;
    let generations_of = |service: &str| operations.as_ref().map(|of| of.generations(service)).unwrap_or_default();
    let groups = suite::groups(settings, generations_of);
    groups.iter().map(|group| (group.keyspace(), group.tables())).collect()
}

/// What operators decided, if a broker tells it now. The embedded log is the running process's alone: then the generations
/// are taken to be those of the first day.
async fn operations(settings: &Settings, runtime: &Runtime) -> Option<Operations> {
    let LogAddress::Kafka(servers) = &settings.log else { return None };
    let log = KafkaLog::connect(ports::kafka_settings(settings, servers), settings.partitions, runtime.clone()).ok()?;
    let opened = Operations::open(Arc::clone(&log) as _, runtime.clone());
    tokio::time::timeout(READ_WITHIN, opened).await.ok()?.ok()
}
