//! The two adapters that the settings name.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kith_fold::engine::{FoldMetrics, Pace, Ports};
use kith_log::embedded::EmbeddedLog;
use kith_log::kafka::{KafkaAccess, KafkaLog, KafkaLogin, KafkaSettings};
use kith_log::{EventLog, LogError};
use kith_runtime::Runtime;
use kith_service::config::{
    ClientCertificates, ListenerFiles, LogAddress, Profile, ServerAccess, Settings, TablesAddress,
};
use kith_service::server::ListenersTls;
use kith_tables::cql::{CqlLogin, CqlSettings, CqlTables};
use kith_tables::embedded::EmbeddedTables;
use kith_tables::{StoreError, TableStore};
use kith_tls::{ClientFiles, ClientTls, Clients, Identity, ServerFiles, ServerTls};
use tokio::time::Instant;

const CQL_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const FOLDER_PATIENCE: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Opens log and tables. Servers that are down are no error here: calls to them fail until they are back. A process
/// that is ending may hold the folders for a moment longer.
pub async fn open(settings: &Settings, runtime: &Runtime, metrics: FoldMetrics) -> anyhow::Result<Ports> {
    let log = when_free(runtime, || open_log(settings, runtime)).await?;
    let tables = when_free(runtime, || open_tables(settings, runtime)).await?;
    let pace = Pace { live_lag_records: settings.rebuild_live_lag_records };
    Ok(Ports { runtime: runtime.clone(), log, tables, metrics, pace })
}

async fn when_free<T>(runtime: &Runtime, open: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let until = Instant::now() + FOLDER_PATIENCE;
    loop {
        match open() {
            Err(error) if is_in_use(&error) && Instant::now() < until => runtime.sleep(ASK_EVERY).await,
            opened => return opened,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LogError::InUse(_)))
        || matches!(error.downcast_ref(), Some(StoreError::InUse(_)))
}

fn open_log(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn EventLog>> {
    match &settings.log {
        LogAddress::Embedded(folder) => {
            let opened = EmbeddedLog::open(folder, settings.partitions, runtime.clone());
            let log = opened.map_err(|error| {
                let advice = match &error {
                    LogError::Damaged(_) => ", which is the truth of the suite: put a copy of the folder back",
                    _ => "",
                };
                anyhow::Error::from(error).context(format!("the log in {}{advice}", folder.display()))
            })?;
            Ok(log)
        }
        LogAddress::Kafka(servers) => {
            let kafka = kafka_settings(settings, servers);
            Ok(KafkaLog::connect(kafka, settings.partitions, runtime.clone()).context("the Kafka client")?)
        }
    }
}

fn open_tables(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn TableStore>> {
    match &settings.tables {
        TablesAddress::Embedded(folder) => {
            let opened = EmbeddedTables::open(folder, runtime.clone());
            let tables = opened.map_err(|error| {
                let advice = match &error {
                    StoreError::Damaged(_) => ": delete the folder, and they are filled again from the log",
                    _ => "",
                };
                anyhow::Error::from(error).context(format!("the tables in {}{advice}", folder.display()))
            })?;
            Ok(tables)
        }
        TablesAddress::Cql(servers) => {
            u8::try_from(settings.replication_factor()).context("replication_factor")?;
            Ok(CqlTables::connect(cql_settings(settings, servers, runtime)?))
        }
    }
}

/// How the brokers are reached.
pub fn kafka_settings(settings: &Settings, servers: &[String]) -> KafkaSettings {
    KafkaSettings {
        bootstrap: servers.join(","),
        client_id: "kith".to_owned(),
        replication_factor: settings.replication_factor(),
        forgetting_ms: settings.security_retention_ms().unwrap_or(-1),
        production: settings.profile == Profile::Production,
        access: settings.transport.kafka().map(|ServerAccess { ca, identity, login, .. }| KafkaAccess {
            ca,
            identity,
            login: login.map(|login| KafkaLogin { user: login.user, password_file: login.password_file }),
        }),
    }
}

/// How the CQL server is reached. Fails if the files of its TLS are not fit.
pub fn cql_settings(settings: &Settings, servers: &[String], runtime: &Runtime) -> anyhow::Result<CqlSettings> {
    let (mut tls, mut login) = (None, None);
    if let Some(access) = settings.transport.cql() {
        let client = ClientTls::open(client_files(&access)).context("TLS to the CQL server")?;
        client.follow(runtime);
        tls = Some(client.config());
        login = access.login.map(|login| CqlLogin { user: login.user, password_file: login.password_file });
    }
    Ok(CqlSettings {
        contact_points: servers.to_vec(),
        local_datacenter: Some(settings.cql_local_datacenter.clone()),
        replication_factor: u8::try_from(settings.replication_factor()).unwrap_or(u8::MAX),
        production: settings.profile == Profile::Production,
        request_timeout: CQL_REQUEST_TIMEOUT,
        disallow_shard_aware_port: false,
        tls,
        login,
    })
}

/// TLS of the ports that serve, whose files are read again when they change.
pub fn listeners_tls(settings: &Settings, runtime: &Runtime) -> anyhow::Result<ListenersTls> {
    let open = |files: Option<ListenerFiles>, key: &'static str| {
        let Some(files) = files else { return Ok(None) };
        let tls = ServerTls::open(server_files(files)).with_context(|| format!("TLS of `{key}`"))?;
        tls.follow(runtime);
        anyhow::Ok(Some(tls))
    };
    let (callers, operators) = (settings.transport.callers(), settings.transport.operators());
    Ok(ListenersTls { callers: open(callers, "listen")?, operators: open(operators, "ops_listen")? })
}

fn server_files(files: ListenerFiles) -> ServerFiles {
    let clients = match files.clients {
        None => Clients::NotAsked,
        Some((ca, ClientCertificates::Optional)) => Clients::Optional(ca),
        Some((ca, ClientCertificates::Required)) => Clients::Required(ca),
    };
    ServerFiles { identity: Identity { certificate: files.certificate, key: files.key }, clients }
}

fn client_files(access: &ServerAccess) -> ClientFiles {
    let identity = access.identity.clone().map(|(certificate, key)| Identity { certificate, key });
    ClientFiles { ca: Some(access.ca.clone()), identity, server_name: access.server_name.clone() }
}
