//! The log and the tables of either adapter.

use std::sync::Arc;
use std::time::Duration;

use kith_finding::Finding;
use kith_fold::{Generations, Operations};
use kith_log::kafka::KafkaLog;
use kith_log::{Topic, topics};
use kith_runtime::Runtime;
use kith_service::config::{LogAddress, ServiceName, Settings, TablesAddress};
use kith_tables::Table;

use super::embedded::advised;
use super::machine::Use;
use crate::ports;
use crate::services::Release;

/// The timeout for reading operators' decisions; a log that does not answer has been reported.
const READ_WITHIN: Duration = Duration::from_secs(5);

pub async fn log(settings: &Settings, release: Release, runtime: &Runtime) -> Vec<Finding> {
    match &settings.log {
        LogAddress::Embedded(folder) => {
            let found = kith_log::embedded::inspect(folder, settings.partitions);
            found.into_iter().map(|finding| advised(finding, folder, Use::Truth)).collect()
        }
        LogAddress::Kafka(servers) => {
            let kafka = ports::kafka_settings(settings, servers);
            let needed = release.needed(settings);
            let is_all = settings.services == ServiceName::ALL;
            let of_here = || needed.iter().map(|(topic, _)| *topic).collect();
            let topics: Vec<Topic> = if is_all { topics::ALL.into() } else { of_here() };
            let mut found = kith_log::kafka::inspect(&kafka, settings.partitions, &topics, runtime).await;
            // Brokers that do not answer have been found already.
            found.extend(kith_log::kafka::judge_rights(&kafka, &needed, runtime).await.unwrap_or_default());
            found
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
            match ports::cql_settings(settings, servers, runtime) {
                Ok(cql) => kith_tables::cql::inspect(&cql, &keyspaces, runtime).await,
                // The check of the settings has said it.
                Err(_) => Vec::new(),
            }
        }
    }
}

/// The keyspaces of every generation with tables, and their required tables: of the services that run with these settings.
async fn keyspaces(settings: &Settings, release: Release, runtime: &Runtime) -> Vec<(String, Vec<&'static Table>)> {
    let here = release.here(settings).flat_map(|service| service.groups_in(settings, Generations::FIRST));
    let here: Vec<&str> = here.map(|group| group.name).collect();
    let groups = match operations(settings, runtime).await {
        Some(operations) => release.groups(settings, |group| operations.generations(group)),
        None => release.first_groups(settings),
    };
    let groups = groups.iter().filter(|group| here.contains(&group.name));
    groups.map(|group| (group.keyspace(), group.tables())).collect()
}

/// Operators' decisions, if a broker answers now. Only the running process can read the embedded log: then generation 1
/// of this release is assumed.
async fn operations(settings: &Settings, runtime: &Runtime) -> Option<Operations> {
    let LogAddress::Kafka(servers) = &settings.log else { return None };
    let log = KafkaLog::connect(ports::kafka_settings(settings, servers), settings.partitions, runtime.clone()).ok()?;
    let opened = Operations::open(Arc::clone(&log) as _, runtime.clone());
    tokio::time::timeout(READ_WITHIN, opened).await.ok()?.ok()
}
