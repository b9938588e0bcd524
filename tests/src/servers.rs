//! The real Kafka and the real Cassandra that the tests of one binary share. Whoever holds one has it alone.

use std::io::Write;
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::server::Server;
use crate::{cassandra_server, kafka_server};

/// A shared server, alone in the hands of one test. It runs and is ready when it is handed out.
pub type Shared = MappedMutexGuard<'static, Server>;

static KAFKA: Mutex<Option<Server>> = Mutex::const_new(None);
static CASSANDRA: Mutex<Option<Server>> = Mutex::const_new(None);

/// The broker, with whatever topics earlier tests have left ([`Server::wipe`] empties it). `None`: this machine cannot
/// run it, which was said once on standard error.
///
/// # Panics
/// When it does not start, or cannot run here though `CI=true`.
pub async fn kafka() -> Option<Shared> {
    shared(&KAFKA, async || kafka_server::start().await).await
}

/// The CQL server, with whatever keyspaces earlier tests have left. Otherwise as [`kafka`].
pub async fn cassandra() -> Option<Shared> {
    shared(&CASSANDRA, async || cassandra_server::start().await).await
}

/// Both. Always locked in this order: a test that wants both must not take them one by one.
pub async fn both() -> Option<(Shared, Shared)> {
    let kafka = kafka().await?;
    Some((kafka, cassandra().await?))
}

/// The program that the live tier lacks here, if any.
pub fn missing_program() -> Option<&'static str> {
    ["java", "mvn"].into_iter().find(|program| !is_on_path(program))
}

#[allow(clippy::panic, reason = "a test that cannot have its server fails here, with the server's output")]
async fn shared(slot: &'static Mutex<Option<Server>>, start: impl AsyncFn() -> Result<Server>) -> Option<Shared> {
    if let Some(missing) = missing_program() {
        skip(missing);
        return None;
    }
    let mut held = slot.lock().await;
    if let Err(error) = fill(&mut held, start).await {
        panic!("{error:?}");
    }
    MutexGuard::try_map(held, Option::as_mut).ok()
}

async fn fill(slot: &mut Option<Server>, start: impl AsyncFn() -> Result<Server>) -> Result<()> {
    match slot {
        Some(server) => server.revive().await.context("the shared server does not come back"),
        None => {
            *slot = Some(start().await?);
            Ok(())
        }
    }
}

/// Straight to standard error: what a passing test prints with `eprintln!` is never shown.
#[allow(clippy::panic, reason = "in CI the live tier runs or fails")]
fn skip(missing: &str) {
    static SAID: Once = Once::new();
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{missing} not found, and CI=true: the live tier must run"
    );
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "SKIPPED live tier: {missing} not found");
    });
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
