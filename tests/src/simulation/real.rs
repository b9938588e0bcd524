//! The same clients, nouns and checks against real processes; other modules inject the faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use kith_log::{PartitionIndex, Record};
use kith_runtime::Runtime;
use kith_service::auth::TokenIssuer;
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::keys::KeyFolder;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

use super::callers::Callers;
use super::checks;
use super::client::{Client, Shared};
use super::history::{Heads, Outcome};
use super::model::Model;
use super::operation::{Ask, Op};
use super::plan::{Mode, Plan};
use super::settled;
use super::target::{Patience, Target, outcome};

/// A process that is killed and started again gets some two minutes.
const PATIENCE: Patience =
    Patience { attempts: 240, retry_ms: (20, 1_000), think_ms: (0, 4), call_timeout: Duration::from_secs(10) };
/// As of a release.
const EDIT_WINDOW: Duration = Duration::from_secs(kith_service::limits::MESSAGE_EDIT_SECONDS);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;
/// Things that are done for each person.
const STEPS_PER_PERSON: usize = 24;
/// Between two things of a client that goes on until it is told to end: what it was told is all checked.
const UNHURRIED_MS: (u64, u64) = (40, 120);
/// It goes on no longer than this, were it not told.
const UNHURRIED_STEPS: usize = 20_000;
const FINDINGS_SHOWN: usize = 6;
const FINDING_CHARS: usize = 600;

/// Clients at work, and what they were told.
pub struct Workload {
    clients: JoinHandle<()>,
    target: Arc<Processes>,
    shared: Arc<Shared>,
}

/// How long clients go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// For so many steps for each person.
    Steps,
    /// Until [`Workload::end`].
    UntilTold,
}

struct Processes {
    lasts: Lasts,
    over: AtomicBool,
    plan: Plan,
    runtime: Runtime,
    callers: Callers,
}

impl Workload {
    /// Clients of `people` accounts, over connections to services by their names. `keys`: the folder of the keys that the
    /// processes sign and verify with.
    pub fn start(
        sockets: &BTreeMap<&'static str, SocketAddr>,
        keys: &Path,
        partitions: PartitionIndex,
        (seed, people, lasts): (u64, usize, Lasts),
    ) -> Result<Self> {
        let runtime = Runtime::system();
        let channel = |socket: &SocketAddr| {
            let endpoint = Endpoint::from_shared(format!("http://{socket}"))?;
            anyhow::Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect_lazy())
        };
        let channels = sockets.iter().map(|(&service, socket)| Ok((service, channel(socket)?)));
        let issuer = TokenIssuer::new(KeyFolder::at(keys).signing_key()?, runtime.clone());
        let key = KeyFolder::at(keys).consistency_token_key()?;
        let tokens = ConsistencyTokens::new(key, partitions, runtime.clone())?;
        let callers = Callers::over(channels.collect::<Result<_>>()?, issuer, tokens);
        let steps = match lasts {
            Lasts::Steps => (people * STEPS_PER_PERSON).div_ceil(CLIENTS),
            Lasts::UntilTold => UNHURRIED_STEPS,
        };
        let plan = Plan { partitions, people, clients: CLIENTS, steps, copies: true, ..Plan::of(seed, Mode::Safety) };
        let target =
            Arc::new(Processes { lasts, over: AtomicBool::new(false), plan, runtime: runtime.clone(), callers });
        let shared = Arc::new(Shared::default());
        let client = |number| Client::new(number, Arc::clone(&target) as _, Arc::clone(&shared)).run();
        let all: Vec<_> = (0..CLIENTS).map(|number| runtime.spawn(client(number))).collect();
        let clients = runtime.spawn(async move {
            // One that panicked says so, and has told less.
            futures::future::join_all(all).await;
        });
        Ok(Self { clients, target, shared })
    }

    /// Whether all clients have done what they had to do.
    pub fn has_ended(&self) -> bool {
        self.clients.is_finished()
    }

    /// Tells them to end, and waits for it.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        self.target.over.store(true, Ordering::Relaxed);
        self.ended(within).await
    }

    pub async fn ended(&mut self, within: Duration) -> Result<()> {
        tokio::time::timeout(within, &mut self.clients).await.context("the clients did not end")??;
        Ok(())
    }

    /// Reads everything readable, and checks all answers against the log. Returns the number of commands answered OK.
    pub async fn holds(self, log: &[Record]) -> Result<u64> {
        let mut model = Model::of(log, self.target.plan.partitions, EDIT_WINDOW);
        let mut history = self.shared.take_history();
        // What the log had when a call was answered is not known: any of it.
        history.iter_mut().for_each(|call| call.after = model.ends.clone());
        model.remember(&history);
        let last = settled::read_all(&self.target.callers, &model, PATIENCE.attempts).await;
        let findings = checks::told(&model, &history, &last);
        // A question may be as long as what it asks for.
        let shown = |found: &checks::Finding| format!("{}: {:.FINDING_CHARS$}", found.check, found.what);
        let shown: Vec<String> = findings.iter().take(FINDINGS_SHOWN).map(shown).collect();
        ensure!(findings.is_empty(), "{} findings: {shown:#?}", findings.len());
        Ok(history.iter().filter(|call| !call.op.is_read() && call.reply().is_some()).count() as u64)
    }
}

#[async_trait]
impl Target for Processes {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn patience(&self) -> Patience {
        match self.lasts {
            Lasts::Steps => PATIENCE,
            Lasts::UntilTold => Patience { think_ms: UNHURRIED_MS, ..PATIENCE },
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn heads(&self) -> Heads {
        Heads::default()
    }

    fn is_shaken(&self) -> bool {
        false
    }

    fn knows_services(&self) -> bool {
        false
    }

    fn processes(&self) -> usize {
        1
    }

    async fn ask(&self, _wanted: usize, op: &Op, ask: Ask, _attempt: u32) -> (Option<(usize, u64)>, Outcome) {
        let asked = tokio::time::timeout(PATIENCE.call_timeout, op.call(&self.callers, ask));
        let outcome = match asked.await {
            Ok(answer) => outcome(answer),
            Err(_) => Outcome::Unknown("no answer in time".to_owned()),
        };
        (None, outcome)
    }
}
