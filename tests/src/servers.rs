//! The real Kafkas and Cassandras that the tests of one binary share: a few of each, started on demand. The holder of one has
//! exclusive use.

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard, Semaphore, SemaphorePermit};

use crate::server::Server;
use crate::{cassandra_server, kafka_server};

/// The number of each. Tests over them wait more than they compute: for elections, sessions that end, starts of a JVM.
const SERVERS_OF_A_KIND: usize = 2;

/// A shared server, held exclusively by one test. It is running and ready.
pub struct Shared {
    // Dropped in this order: whoever gets the turn finds a server that nobody holds.
    server: MappedMutexGuard<'static, Server>,
    _turn: SemaphorePermit<'static>,
}

impl Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The servers of a kind.
struct Pool {
    slots: [Mutex<Option<Server>>; SERVERS_OF_A_KIND],
    free: Semaphore,
}

impl Pool {
    const fn new() -> Self {
        let slots = [const { Mutex::const_new(None) }; SERVERS_OF_A_KIND];
        Self { slots, free: Semaphore::const_new(SERVERS_OF_A_KIND) }
    }

    async fn take(&'static self, start: impl AsyncFn() -> Result<Server>) -> Result<Shared> {
        let turn = self.free.acquire().await?;
        let mut free = self.slots.iter().filter_map(|slot| slot.try_lock().ok());
        let mut held = free.next().context("no more are held than have a turn")?;
        fill(&mut held, start).await?;
        let server = MutexGuard::try_map(held, Option::as_mut).ok().context("it was just filled")?;
        Ok(Shared { server, _turn: turn })
    }
}

static KAFKA: Pool = Pool::new();
static CASSANDRA: Pool = Pool::new();

/// A broker, with whatever topics earlier tests have left ([`Server::wipe`] empties it). `None`: this machine cannot
/// run it, which was said once on standard error.
///
/// # Panics
/// When it does not start, or cannot run here though `CI=true`.
pub async fn kafka() -> Option<Shared> {
    shared(&KAFKA, async || kafka_server::start().await).await
}

/// A CQL server, with whatever keyspaces earlier tests have left. Otherwise as [`kafka`].
pub async fn cassandra() -> Option<Shared> {
    shared(&CASSANDRA, async || cassandra_server::start().await).await
}

/// One of each. Always taken in this order: a test that wants both must not take them one by one.
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
async fn shared(pool: &'static Pool, start: impl AsyncFn() -> Result<Server>) -> Option<Shared> {
    if let Some(why) = why_not_live() {
        skip(&why);
        return None;
    }
    match pool.take(start).await {
        Ok(held) => Some(held),
        Err(error) => panic!("{error:?}"),
    }
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
