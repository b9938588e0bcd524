//! What is measured, as processes: the suite over a world that is in its log already, and the bare servers beside it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result};
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog, topics};
use kith_runtime::Runtime;
use kith_tests::kith::{ADMIN_PORT, Launch, PORT};
use kith_tests::process::Process;
use kith_tests::server::Server;
use kith_tests::{http, kafka_server, suite, wait};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::bare::Setup;
use crate::desk::Live;
use crate::steps::Steps;
use crate::target::{Bearers, Target, bearers};
use crate::template::{Kind, Template};
use crate::world::{self, Fact, PARTITIONS, World};

/// A million records have to be folded, for one measure.
const READY_WITHIN: Duration = Duration::from_secs(900);
const BARE_READY_WITHIN: Duration = Duration::from_secs(30);

/// A whole suite in one process, over a world.
pub struct Place {
    pub suite: Server,
    pub target: Target,
    pub bearers: Bearers,
    /// Numbers of the calls made so far.
    pub numbers: Arc<AtomicU64>,
    log: String,
    tables: String,
    live: bool,
    folder: TempDir,
}

impl Place {
    /// Puts the world into an empty log and starts the suite, which folds it.
    pub async fn over(world: World, live: Option<&mut Live>, settings: &[(&str, &str)]) -> Result<Self> {
        Self::with(world, std::iter::empty(), live, settings).await
    }

    /// The same with more facts behind those of the world.
    pub async fn with(
        world: World,
        more: impl Iterator<Item = Fact>,
        live: Option<&mut Live>,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (keys, runtime) = (folder.path().join("keys"), Runtime::system());
        let bearers = bearers(&keys, world.accounts)?;
        let is_live = live.is_some();
        let (log, tables) = match live {
            None => {
                let path = folder.path().join("log");
                let log: Arc<dyn EventLog> = EmbeddedLog::open(&path, PARTITIONS, runtime.clone())?;
                log.create_topics(&topics::ALL).await?;
                world::append(&log, &runtime, world.facts(runtime.now_ms()).chain(more)).await?;
                (format!("embedded:{}", path.display()), format!("embedded:{}", folder.path().join("tables").display()))
            }
            Some(live) => {
                live.kafka.wipe().await?;
                live.cql.wipe().await?;
                suite::init(&live.kafka, &live.cql, &keys).await?;
                let log: Arc<dyn EventLog> = kafka_server::log(&live.kafka, PARTITIONS)?;
                world::append(&log, &runtime, world.facts(runtime.now_ms()).chain(more)).await?;
                (format!("kafka:{}", live.kafka_address()), format!("cql:{}", live.cql_address()))
            }
        };
        let mut launch = Launch::run("suite").ready_within(READY_WITHIN).set("keys_dir", keys.display().to_string());
        for (key, value) in [("log", &*log), ("tables", &*tables), ("log_level", "warn")].iter().chain(settings) {
            launch = launch.set(key, *value);
        }
        let suite = launch.start().await?;
        let run = format!("bench-{}", runtime.now_ms());
        let target = Target::new(suite.socket(PORT), Arc::clone(&bearers), &run)?;
        let numbers = Arc::default();
        Ok(Self { suite, target, bearers, numbers, log, tables, live: is_live, folder })
    }

    /// Whether log and tables are servers.
    pub fn adapter(&self) -> &'static str {
        adapter(self.live)
    }

    /// Where callers call it.
    pub fn address(&self) -> SocketAddr {
        self.suite.socket(PORT)
    }

    /// What its micro-batches and commands have spent their time on.
    pub async fn steps(&self) -> Result<Steps> {
        Steps::of(&http::get(self.suite.socket(ADMIN_PORT), "/metrics").await?.body)
    }

    /// A bare server beside the suite, with a log and tables of its own of the same kinds. `rows`: whether it writes the
    /// folds' rows; `log`: whether it appends.
    pub async fn bare(&self, templates: &BTreeMap<Kind, Template>, what: BareWhat) -> Result<BareServer> {
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let own = |name: &str, shared: &String| match self.live {
            true => shared.clone(),
            false => folder.path().join(name).display().to_string(),
        };
        let log = what.appends.then(|| own("log", &self.log));
        let tables = what.rows.then(|| own("tables", &self.tables));
        let setup = Setup { listen: free_address()?, log, tables, templates: templates.clone(), page: what.page };
        BareServer::start(setup, folder, Arc::clone(&self.bearers)).await
    }
}

pub fn adapter(live: bool) -> &'static str {
    if live { "live" } else { "embedded" }
}

/// What a bare server does.
#[derive(Debug, Clone, Default)]
pub struct BareWhat {
    pub appends: bool,
    pub rows: bool,
    pub page: Vec<u8>,
}

/// A bare server in a process of its own.
pub struct BareServer {
    pub target: Target,
    _process: Process,
    _folder: TempDir,
}

impl BareServer {
    async fn start(setup: Setup, folder: TempDir, bearers: Bearers) -> Result<Self> {
        let file = folder.path().join("setup.json");
        std::fs::write(&file, serde_json::to_vec(&setup)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg(&file);
        let mut process = Process::start("the bare server", command, &folder.path().join("output"))?;
        wait::until("the bare server listens", BARE_READY_WITHIN, async || {
            process.ensure_running()?;
            Ok(TcpStream::connect(setup.listen).await.is_ok().then_some(()))
        })
        .await?;
        Ok(Self { target: Target::new(setup.listen, bearers, "bare")?, _process: process, _folder: folder })
    }
}

fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().context("no port is free")
}
