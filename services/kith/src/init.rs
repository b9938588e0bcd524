//! `kith init`: only it creates topics, keyspaces and keys. An embedded `kith run`, tests and a Job run it first.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kith_fold::engine::{self, FoldMetrics, Ports};
use kith_fold::{Generations, Group, Operations, found, open_first_events};
use kith_log::topics;
use kith_runtime::Runtime;
use kith_service::config::Settings;
use kith_service::keys::KeyFolder;

use crate::ports;
use crate::rights::{self, Form};
use crate::services::Release;

/// How long starting servers are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Creates what is missing and reports it; the second time it reports that everything exists. `print`: only prints what
/// rights there must be.
pub async fn run(settings: Settings, release: Release, print: Option<Form>) -> anyhow::Result<()> {
    if let Some(form) = print {
        crate::terminal::text(&rights::print(release, &settings, form));
        return Ok(());
    }
    settings.fit_to_run()?;
    let runtime = Runtime::system();
    let ports = ports::open(&settings, &runtime, FoldMetrics::default()).await?;
    let started = tokio::time::Instant::now();
    let keyspaces = loop {
        match create(&ports, &settings, release).await {
            Ok(count) => break count,
            Err(error) if started.elapsed() < PATIENCE => note!("kith: waiting: {error:#}"),
            Err(error) => return Err(error),
        }
        runtime.sleep(ASK_EVERY).await;
    };
    create_keys(&settings, &runtime)?;
    say!("topics ({}), keyspaces ({keyspaces}) and keys are there", topics::ALL.len());
    Ok(())
}

/// Topics, and the keyspaces of every generation of this release's folds that every group has by what operators decided:
/// tables that were deleted are made anew, whichever generation they were of. Gives how many keyspaces there are.
pub async fn create(ports: &Ports, settings: &Settings, release: Release) -> anyhow::Result<usize> {
    ports.log.create_topics(&topics::ALL).await.context("creating topics")?;
    let operations = Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await?;
    // Embedded tables have only the services of their own process.
    let firsts: Vec<Group> =
        release.here(settings).flat_map(|service| service.groups_in(settings, Generations::FIRST)).collect();
    open_first_events(ports, &operations, &firsts).await?;
    for group in &firsts {
        found(ports, &operations, group).await?;
    }
    let mut keyspaces = 0;
    for group in release.groups(settings, |group| operations.generations(group)) {
        engine::create(ports, &group).await.with_context(|| format!("creating {}", group.keyspace()))?;
        keyspaces += 1;
    }
    Ok(keyspaces)
}

/// The keys, where they are missing.
pub fn create_keys(settings: &Settings, runtime: &Runtime) -> anyhow::Result<()> {
    Ok(KeyFolder::at(&settings.keys_dir).create_missing(runtime)?)
}
