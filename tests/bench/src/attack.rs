//! Hostile callers, all from one address: each attack of docs/security.md that a caller without an account, or with one, can keep up.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_fold::Token;
use kith_log::{LogPartition, Position, topics};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest};
use kith_service::limits::{CANCELLED_UNSEEN_PER_CONNECTION, CONNECTIONS, RPCS_IN_FLIGHT, STREAMS_PER_CONNECTION};
use kith_tests::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::tokens;

/// 127.0.0.`n`.
const HOSTILE: u8 = 66;
/// Calls that one connection has open.
const OPEN: usize = STREAMS_PER_CONNECTION as usize - 1;
/// Guesses and sign-ups on their way.
const IN_FLIGHT: usize = 16;
const CREATE_SESSION: &str = "/kith.identity.v1.SessionService/CreateSession";
const GET_HOME_FEED: &str = "/kith.feeds.v1.FeedService/GetHomeFeed";
/// How long an attacker waits before it repeats a call. Attackers run on the cores of the suite: without a pause the bench would
/// measure how the two share them.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it waits before it replaces a connection that was refused or closed.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);
/// The longest that a call, or a connection, is waited for.
const LONG: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Calls whose messages never come.
    Bodies,
    /// Answers that an account does not read.
    Unread,
    /// Waits for what has not happened, with a token that the suite takes for its own.
    Future,
    Guesses,
    SignUps,
    /// As many connections as there are places, and more of them again and again.
    Connections,
    /// Calls that are cancelled at once.
    Cancelled,
}

impl Attack {
    pub const ALL: [Self; 7] =
        [Self::Bodies, Self::Unread, Self::Future, Self::Guesses, Self::SignUps, Self::Connections, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bodies => "bodies that never come",
            Self::Unread => "answers that nobody reads",
            Self::Future => "tokens of the future",
            Self::Guesses => "guesses at a password",
            Self::SignUps => "accounts made by anyone",
            Self::Connections => "idle connections",
            Self::Cancelled => "floods of cancelled calls",
        }
    }
}

/// An attack that goes on until this is dropped.
pub struct Attackers {
    what: Attack,
    began: Instant,
    /// Calls, connections or floods so far.
    made: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Attackers {
    /// `bearer`: of the account that attacks where one does. Returns once the first of it was made.
    pub async fn begin(what: Attack, address: SocketAddr, bearer: &str) -> Result<Self> {
        let mut attackers = Self { what, began: Instant::now(), made: Arc::default(), tasks: JoinSet::new() };
        attackers.start(address, bearer)?;
        let made = Arc::clone(&attackers.made);
        let is_on = async || Ok((made.load(Ordering::Relaxed) > 0).then_some(()));
        kith_tests::wait::until(what.name(), SOON, is_on).await?;
        Ok(attackers)
    }

    /// How many calls, connections or floods a second there were.
    pub fn end(self) -> Result<f64> {
        let made = self.made.load(Ordering::Relaxed);
        ensure!(made > 0 && !self.tasks.is_empty(), "{}: nothing was made", self.what.name());
        Ok(made as f64 / self.began.elapsed().as_secs_f64())
    }

    fn start(&mut self, address: SocketAddr, bearer: &str) -> Result<()> {
        match self.what {
            Attack::Bodies => {
                let calls: Vec<u8> = wire::streams(OPEN).flat_map(|n| wire::call(n, CREATE_SESSION, &[])).collect();
                self.held(move || hold(address, false, calls.clone()));
            }
            Attack::Unread => {
                let bearer = [("authorization", bearer)];
                let whole = |n| [wire::call(n, GET_HOME_FEED, &bearer), wire::empty_message(n)].concat();
                let calls: Vec<u8> = wire::streams(OPEN).flat_map(whole).collect();
                self.held(move || hold(address, true, calls.clone()));
            }
            Attack::Connections => {
                self.keep_up((CONNECTIONS, RECONNECT_PAUSE), move || hold(address, false, Vec::new()));
            }
            Attack::Cancelled => {
                let calls = 8 * CANCELLED_UNSEEN_PER_CONNECTION;
                let flood: Arc<[u8]> = wire::streams(calls).flat_map(wire::cancelled).collect();
                self.keep_up((1, PAUSE), move || cancelled(address, Arc::clone(&flood)));
            }
            Attack::Future => {
                let partition = LogPartition { topic: topics::IDENTITY, index: 0 };
                let far = tokens::seal(&Token::from(Position { partition, offset: 1_000_000_000 }))?;
                let channel = hostile(address)?;
                self.keep_up((RPCS_IN_FLIGHT, PAUSE), move || sign_in(channel.clone(), "nobody", vec![far.clone()]));
            }
            Attack::Guesses => {
                let channel = hostile(address)?;
                self.keep_up((IN_FLIGHT, PAUSE), move || sign_in(channel.clone(), "person_0", Vec::new()));
            }
            Attack::SignUps => {
                let (channel, made) = (hostile(address)?, Arc::clone(&self.made));
                self.keep_up((IN_FLIGHT, PAUSE), move || sign_up(channel.clone(), made.load(Ordering::Relaxed)));
            }
        }
        Ok(())
    }

    /// As many connections as could hold all places.
    fn held<F>(&mut self, make: impl Fn() -> F + Clone + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_up((RPCS_IN_FLIGHT.div_ceil(OPEN), RECONNECT_PAUSE), make);
    }

    /// So many at a time, each again and again with a pause. They begin one after the other, so that those who are refused do not come
    /// back all at once.
    fn keep_up<F>(&mut self, (at_once, pause): (usize, Duration), make: impl Fn() -> F + Clone + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for n in 0..at_once {
            let (make, made) = (make.clone(), Arc::clone(&self.made));
            let first = pause.mul_f64(n as f64 / at_once as f64);
            self.tasks.spawn(async move {
                tokio::time::sleep(first).await;
                loop {
                    made.fetch_add(1, Ordering::Relaxed);
                    make().await;
                    tokio::time::sleep(pause).await;
                }
            });
        }
    }
}

fn hostile(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(LONG);
    Ok(endpoint.local_address(Some([127, 0, 0, HOSTILE].into())).connect_lazy())
}

/// Sends this over a new connection and keeps it until the server closes it. A connection that is refused is what an attack
/// comes to.
async fn hold(address: SocketAddr, deaf: bool, bytes: Vec<u8>) {
    let connected =
        if deaf { wire::greeted_deaf(address, HOSTILE).await } else { wire::greeted(address, HOSTILE).await };
    let Ok(mut connection) = connected else { return };
    if connection.write_all(&bytes).await.is_ok() {
        // What it is answered does not matter.
        let _ = timeout(LONG, tokio::io::copy(&mut connection, &mut tokio::io::sink())).await;
    }
}

async fn cancelled(address: SocketAddr, flood: Arc<[u8]>) {
    let Ok(mut connection) = wire::greeted(address, HOSTILE).await else { return };
    // It may be closed before all of it is sent.
    if connection.write_all(&flood).await.is_ok() {
        let _ = timeout(SOON, connection.read_to_end(&mut Vec::new())).await;
    }
}

async fn sign_in(channel: Channel, handle: &str, at_least: Vec<String>) {
    let request =
        CreateSessionRequest { handle: handle.into(), password: "a guess".into(), at_least, ..Default::default() };
    // Whatever it is answered, it goes on.
    drop(SessionServiceClient::new(channel).create_session(request).await);
}

async fn sign_up(channel: Channel, n: u64) {
    let (handle, password) = (format!("made_{n}"), "correct horse battery".to_owned());
    let request = CreateAccountRequest { handle, password, ..Default::default() };
    drop(AccountServiceClient::new(channel).create_account(request).await);
}
