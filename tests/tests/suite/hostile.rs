//! Hostile callers against the binary, all from one address and without an account. Whoever calls honestly from another address is
//! served meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use kith_log::{LogPartition, Position, topics};
use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest, CreateSessionResponse};
use kith_runtime::Runtime;
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::keys::KeyFolder;
use kith_service::keys::secret::Secret;
use kith_service::limits::{
    ADMIN_CONNECTIONS, CANCELLED_UNSEEN_PER_CONNECTION, CONNECTIONS, GUESSES_FREE, RPCS_IN_FLIGHT,
    RPCS_IN_FLIGHT_ANONYMOUS, STREAMS_PER_CONNECTION, WAITS_ANONYMOUS,
};
use kith_tests::kith::{ADMIN_PORT, Launch, PORT};
use kith_tests::suite::Suite;
use kith_tests::{http, wait, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::sessions::reason;

/// 127.0.0.`n`.
const HOSTILE: u8 = 66;
const HONEST: u8 = 77;
const PASSWORD: &str = "correct horse battery";
const SOON: Duration = Duration::from_secs(10);
/// The longest deadline that a call gets.
const LONG: Duration = Duration::from_secs(30);
/// What has to happen beside a build.
const PATIENCE: Duration = Duration::from_secs(60);
const CREATE_SESSION: &str = "/kith.identity.v1.SessionService/CreateSession";

struct World {
    suite: Suite,
    callers: SocketAddr,
    admin: SocketAddr,
    keys: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let launch = Launch::run("suite").set("keys_dir", keys.path().display().to_string());
        let launch = settings.iter().fold(launch, |launch, (key, value)| launch.set(key, *value));
        let suite = Suite::of("suite", launch).await.unwrap();
        let socket = |port| suite.processes["suite"].socket(port);
        let (callers, admin) = (socket(PORT), socket(ADMIN_PORT));
        Self { suite, callers, admin, keys }
    }

    /// A good token of what the tables will not have for long: as if the folds were far behind.
    fn token_of_the_future(&self) -> String {
        seal(KeyFolder::at(self.keys.path()).consistency_token_key().unwrap())
    }

    fn channel(&self, host: u8) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.callers)).unwrap();
        endpoint.local_address(Some([127, 0, 0, host].into())).connect_lazy()
    }

    /// Signs up, signs in and reads.
    async fn serves_others(&self, handle: &str) {
        let channel = self.channel(HONEST);
        let created = sign_up(&channel, handle).await.unwrap();
        let session = sign_in(&channel, handle, PASSWORD, &created).await.unwrap();
        let mut request = Request::new(GetHomeFeedRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {}", session.access_token).parse().unwrap());
        FeedServiceClient::new(channel).get_home_feed(request).await.unwrap();
    }

    /// The sum of these metrics.
    async fn count(&self, names: &[&str]) -> u64 {
        let metrics = http::get(self.admin, "/metrics").await.unwrap().body;
        let values = metrics.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| names.contains(name));
        values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    async fn until_counted(&self, names: &[&str], least: u64) {
        let is_so = async || Ok((self.count(names).await >= least).then_some(()));
        wait::until(&format!("{names:?}: {least}"), PATIENCE, is_so).await.unwrap();
    }

    async fn log_lines(&mut self) -> usize {
        self.suite.process("suite").unwrap().process().unwrap().output().unwrap().lines().count()
    }
}

/// Of a place far behind the end of the log.
fn seal(key: impl Into<Secret>) -> String {
    let far = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset: 1_000_000_000 };
    ConsistencyTokens::new(key, 16, Runtime::system()).unwrap().seal(&far.into()).unwrap()
}

/// The token of the new account.
async fn sign_up(channel: &Channel, handle: &str) -> Result<String, Status> {
    let request = CreateAccountRequest { handle: handle.into(), password: PASSWORD.into(), ..Default::default() };
    Ok(AccountServiceClient::new(channel.clone()).create_account(request).await?.into_inner().consistency_token)
}

async fn sign_in(
    channel: &Channel,
    handle: &str,
    password: &str,
    at_least: &str,
) -> Result<CreateSessionResponse, Status> {
    let at_least = Some(at_least.to_owned()).filter(|token| !token.is_empty()).into_iter().collect();
    let (handle, password) = (handle.to_owned(), password.to_owned());
    let request = CreateSessionRequest { handle, password, at_least, ..Default::default() };
    let mut request = Request::new(request);
    // Whoever is made to wait would wait for long.
    request.set_timeout(LONG);
    Ok(SessionServiceClient::new(channel.clone()).create_session(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come() {
    let world = World::new().await;
    let mut held = Vec::new();
    let per_connection = STREAMS_PER_CONNECTION as usize - 1;
    for _ in 0..RPCS_IN_FLIGHT.div_ceil(per_connection) {
        let mut caller = wire::greeted(world.callers, HOSTILE).await.unwrap();
        let calls: Vec<u8> =
            wire::streams(per_connection).flat_map(|stream| wire::call(stream, CREATE_SESSION, &[])).collect();
        let last = wire::whole_call(STREAMS_PER_CONNECTION * 2 - 1);
        caller.write_all(&[calls, last].concat()).await.unwrap();
        tokio::time::timeout(SOON, wire::until_answered(&mut caller)).await.unwrap().unwrap();
        held.push(caller);
    }
    for n in 0..10 {
        world.serves_others(&format!("honest_{n}")).await;
    }
    let given_up = r#"rpc_server_call_duration_seconds_count{rpc_method="kith.identity.v1.SessionService/CreateSession",rpc_status_code="DEADLINE_EXCEEDED"}"#;
    world.until_counted(&[given_up], RPCS_IN_FLIGHT as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_tokens() {
    let world = World::new().await;
    let hostile = world.channel(HOSTILE);
    let good = sign_up(&hostile, "known").await.unwrap();
    let end = if good.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{end}", &good[..good.len() - 1]);
    for (made_up, why) in [(seal(&[7; 32]), "CONSISTENCY_TOKEN_EXPIRED"), (changed, "CONSISTENCY_TOKEN_INVALID")] {
        let began = Instant::now();
        for _ in 0..2 * WAITS_ANONYMOUS {
            assert_eq!(reason(&sign_in(&hostile, "known", PASSWORD, &made_up).await.unwrap_err()), why);
        }
        // Not one of them waited.
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    }
    world.serves_others("honest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_future() {
    let world = World::new().await;
    let (far, hostile) = (world.token_of_the_future(), world.channel(HOSTILE));
    let waits = stream::iter(0..2 * RPCS_IN_FLIGHT_ANONYMOUS).map(|_| sign_in(&hostile, "nobody", "a guess", &far));
    let mut waits = Box::pin(waits.buffer_unordered(2 * RPCS_IN_FLIGHT_ANONYMOUS));
    // Most are answered at once: those that find no turn to wait.
    for _ in 0..2 * RPCS_IN_FLIGHT_ANONYMOUS - WAITS_ANONYMOUS {
        let answered = tokio::time::timeout(SOON, waits.next()).await.unwrap().unwrap().unwrap_err();
        assert!(["BEHIND_TOKEN", "OVERLOADED"].contains(&&*reason(&answered)), "{answered:?}");
    }
    world.serves_others("honest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_password() {
    let world = World::new().await;
    let (hostile, honest) = (world.channel(HOSTILE), world.channel(HONEST));
    let created = sign_up(&honest, "victim").await.unwrap();
    sign_in(&honest, "victim", PASSWORD, &created).await.unwrap();
    let guess = async |n: usize| reason(&sign_in(&hostile, "victim", &format!("guess {n}"), "").await.unwrap_err());
    let answers: Vec<String> = stream::iter(0..90).map(guess).buffer_unordered(9).collect().await;
    let compared = answers.iter().filter(|reason| *reason == "CREDENTIALS_INVALID").count();
    // Beside a build they may take some seconds; waits double.
    assert!((1..GUESSES_FREE as usize + 6).contains(&compared), "{compared}");
    assert!(answers.iter().all(|reason| ["CREDENTIALS_INVALID", "RATE_LIMITED"].contains(&&**reason)), "{answers:?}");
    sign_in(&honest, "victim", PASSWORD, "").await.unwrap();
    let right = sign_in(&hostile, "victim", PASSWORD, "").await.unwrap_err();
    assert_eq!((right.code(), &*reason(&right)), (Code::ResourceExhausted, "RATE_LIMITED"));
    world.until_counted(&[r#"kith_rate_limited_total{kind="guesses"}"#], 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_made_by_anyone() {
    let world = World::with(&[("rate_sign_up", "60:10")]).await;
    let hostile = world.channel(HOSTILE);
    let sign_up = async |n: usize| sign_up(&hostile, &format!("made_{n}")).await;
    let answers: Vec<_> = stream::iter(0..100).map(sign_up).buffer_unordered(10).collect().await;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    // One more a minute.
    assert!((1..=15).contains(&made), "{made}");
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(|status| reason(status) == "RATE_LIMITED"));
    world.serves_others("honest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections() {
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        // One that is refused may be closed before it has greeted.
        held.extend(wire::greeted(world.callers, HOSTILE).await);
    }
    world.until_counted(&["kith_connections", "kith_connections_refused_total"], CONNECTIONS as u64).await;
    world.serves_others("honest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_alive_connections_against_the_probe() {
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS {
        let mut connection = wire::connect(world.admin, HOSTILE).await.unwrap();
        let asked = connection.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if asked.is_ok() && connection.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes == 1) {
            held.push(connection);
        }
    }
    assert_eq!(held.len(), ADMIN_CONNECTIONS / 2);
    for _ in 0..10 {
        assert_eq!(http::get(world.admin, "/livez").await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_cancelled_calls_write_no_log() {
    const FLOODS: u64 = 100;
    let mut world = World::new().await;
    let before = world.log_lines().await;
    let flood: Vec<u8> = wire::streams(8 * CANCELLED_UNSEEN_PER_CONNECTION).flat_map(wire::cancelled).collect();
    for _ in 0..FLOODS {
        let mut caller = wire::greeted(world.callers, HOSTILE).await.unwrap();
        // It may be closed before all of it is sent.
        let _ = caller.write_all(&flood).await;
        let _ = tokio::time::timeout(SOON, caller.read_to_end(&mut Vec::new())).await;
    }
    world.until_counted(&["kith_connections_failed_total"], FLOODS / 2).await;
    world.serves_others("honest").await;
    let written = world.log_lines().await - before;
    assert!(written < 10, "{written} lines");
}
