//! The real Kafka and the real Cassandra that the tests of one binary share. The holder has exclusive use.

use std::io::Write;
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::server::Server;
use crate::{cassandra_server, kafka_server};

/// A shared server, held exclusively by one test. It is running and ready.
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

/// Why tests against real servers are impossible here, if so. `LIVE_TESTS=no` disables them.
///
/// # Panics
/// When a program is missing, though `CI=true` and nobody asked.
#[allow(clippy::panic, reason = "in CI the live tier runs or fails")]
pub fn why_not_live() -> Option<String> {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    if is("LIVE_TESTS", "no") {
        return Some("LIVE_TESTS=no".to_owned());
    }
    let missing = ["java", "mvn"].into_iter().find(|program| !is_on_path(program))?;
    assert!(!is("CI", "true"), "{missing} not found, and CI=true: the live tier must run");
    Some(format!("{missing} not found"))
}

#[allow(clippy::panic, reason = "a test that cannot have its server fails here, with the server's output")]
async fn shared(slot: &'static Mutex<Option<Server>>, start: impl AsyncFn() -> Result<Server>) -> Option<Shared> {
    if let Some(why) = why_not_live() {
        skip(&why);
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
fn skip(why: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "SKIPPED live tier: {why}");
    });
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
