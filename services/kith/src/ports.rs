//! The two adapters that the settings name.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kith_fold::engine::{FoldMetrics, Ports};
use kith_log::EventLog;
use kith_log::embedded::EmbeddedLog;
use kith_log::kafka::{KafkaLog, KafkaSettings};
use kith_runtime::Runtime;
use kith_service::config::{LogAddress, Profile, Settings, TablesAddress};
use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::embedded::EmbeddedTables;

const CQL_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens log and tables. Servers that are down are no error here: calls to them fail until they are back.
pub fn open(settings: &Settings, runtime: &Runtime, metrics: FoldMetrics) -> anyhow::Result<Ports> {
    let (log, tables) = (open_log(settings, runtime)?, open_tables(settings, runtime)?);
    Ok(Ports { runtime: runtime.clone(), log, tables, metrics })
}

fn open_log(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn EventLog>> {
    match &settings.log {
        LogAddress::Embedded(folder) => {
            let log = EmbeddedLog::open(folder, settings.partitions, runtime.clone());
            Ok(log.with_context(|| format!("the log in {}", folder.display()))?)
        }
        LogAddress::Kafka(servers) => {
            let kafka = KafkaSettings {
                bootstrap: servers.join(","),
                client_id: "kith".to_owned(),
                replication_factor: settings.replication_factor(),
                production: settings.profile == Profile::Production,
                extra: Vec::new(),
            };
            Ok(KafkaLog::connect(kafka, settings.partitions, runtime.clone()).context("the Kafka client")?)
        }
    }
}

fn open_tables(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn TableStore>> {
    match &settings.tables {
        TablesAddress::Embedded(folder) => {
            let tables = EmbeddedTables::open(folder, runtime.clone());
            Ok(tables.with_context(|| format!("the tables in {}", folder.display()))?)
        }
        TablesAddress::Cql(servers) => Ok(CqlTables::connect(CqlSettings {
            contact_points: servers.clone(),
            local_datacenter: Some(settings.cql_local_datacenter.clone()),
            replication_factor: u8::try_from(settings.replication_factor()).context("replication_factor")?,
            production: settings.profile == Profile::Production,
            request_timeout: CQL_REQUEST_TIMEOUT,
            disallow_shard_aware_port: false,
            login: None,
        })),
    }
}
