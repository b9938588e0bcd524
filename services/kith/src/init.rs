//! `kith init`: alone creates topics, keyspaces and keys. Run first by an embedded `kith run`, by tests, by a Job.

use std::time::Duration;

use anyhow::Context;
use kith_fold::Group;
use kith_fold::engine::{self, FoldMetrics, Ports};
use kith_log::topics;
use kith_runtime::Runtime;
use kith_service::config::Settings;
use kith_service::keys::KeyFolder;

use crate::{ports, suite};

/// Servers that are only starting get this long.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Creates what is missing and says so; the second time it says that all was there.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = Runtime::system();
    let ports = ports::open(&settings, &runtime, FoldMetrics::default()).await?;
    let groups = suite::groups(&settings);
    let started = tokio::time::Instant::now();
    loop {
        match create(&ports, &groups).await {
            Ok(()) => break,
            Err(error) if started.elapsed() < PATIENCE => eprintln!("kith: waiting: {error:#}"),
            Err(error) => return Err(error),
        }
        runtime.sleep(ASK_EVERY).await;
    }
    create_keys(&settings, &runtime)?;
    println!("topics ({}), keyspaces ({}) and keys are there", topics::ALL.len(), groups.len());
    Ok(())
}

/// Topics and keyspaces of every service.
pub async fn create(ports: &Ports, groups: &[Group]) -> anyhow::Result<()> {
    ports.log.create_topics(&topics::ALL).await.context("creating topics")?;
    for group in groups {
        engine::create(ports, group).await.with_context(|| format!("creating {}", group.keyspace()))?;
    }
    Ok(())
}

/// The signing key and the page-token key, where they are missing.
pub fn create_keys(settings: &Settings, runtime: &Runtime) -> anyhow::Result<()> {
    Ok(KeyFolder::at(&settings.keys_dir).create_missing(runtime)?)
}
