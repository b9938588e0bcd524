//! An ordinary client: one channel a service, bearer tokens, patience with servers that come and go.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{
    ClientClass, CreateAccountRequest, CreateSessionRequest, Profile, RefreshSessionRequest,
};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::addresses::Addresses;
use crate::plan::handle;
use crate::secure::TlsFiles;
use crate::terminal::note;

/// A server that is killed and started again gets this long.
const PATIENCE: Duration = Duration::from_secs(120);
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);
const CALL_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers that nobody has answered from yet get this long: more likely they were never started.
pub const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// A first answer that takes longer is said to be waited for.
const SILENT_WAIT: Duration = Duration::from_millis(1_500);
const ONE_TRY: Duration = Duration::from_secs(2);
/// Half of an access token's life.
const RENEW_AFTER: Duration = Duration::from_secs(300);
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Where each service is; one address for all of them, or one each.
#[derive(Clone)]
pub struct Services {
    pub identity: Channel,
    pub posts: Channel,
    pub engagement: Channel,
    pub messaging: Channel,
    pub feeds: Channel,
}

impl Services {
    /// Connects, and waits until every address has answered something: `patience` for all of them.
    pub async fn reach(addresses: &Addresses, tls: &TlsFiles, patience: Duration) -> anyhow::Result<Self> {
        let tls = tls.config()?;
        let channel = |address| channel(address, tls.as_ref());
        let Addresses { identity, posts, engagement, messaging, feeds } = addresses;
        let services = Self {
            identity: channel(identity)?,
            posts: channel(posts)?,
            engagement: channel(engagement)?,
            messaging: channel(messaging)?,
            feeds: channel(feeds)?,
        };
        let until = Instant::now() + patience;
        let each = [
            (identity, &services.identity),
            (posts, &services.posts),
            (engagement, &services.engagement),
            (messaging, &services.messaging),
            (feeds, &services.feeds),
        ];
        for (address, channel) in each {
            first_answer(address, channel, until).await?;
        }
        Ok(services)
    }
}

/// Connects when first used.
fn channel(address: &str, tls: Option<&ClientTlsConfig>) -> anyhow::Result<Channel> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).context("not an address")?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.clone()).context("the files of TLS")?;
    }
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_DEADLINE).tcp_nodelay(true).connect_lazy())
}

/// Asks until there is any answer from a server; says once that it waits.
async fn first_answer(address: &str, channel: &Channel, until: Instant) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut said = false;
    loop {
        let mut health = HealthClient::new(channel.clone());
        let asked = health.check(HealthCheckRequest::default());
        let problem = match tokio::time::timeout(ONE_TRY, asked).await {
            Ok(Err(status)) if may_pass(status.code()) => status.message().to_owned(),
            // A refusal is an answer too.
            Ok(_) => return Ok(()),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= until {
            bail!("nobody answers at {address} ({problem}): start the services with `kith run`, or give --addresses");
        }
        if !said && started.elapsed() >= SILENT_WAIT {
            said = true;
            note(format_args!("waiting for {address}: {problem}"));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Somebody who is signed in. Clones share the tokens.
#[derive(Clone)]
pub struct Session {
    pub account_id: String,
    /// Of the account's creation.
    pub token: String,
    sessions: SessionServiceClient<Channel>,
    tokens: Arc<Mutex<Tokens>>,
}

struct Tokens {
    bearer: MetadataValue<Ascii>,
    refresh_token: String,
    renew_at: Instant,
}

impl Tokens {
    fn new(access_token: &str, refresh_token: String) -> Result<Self, Status> {
        let bearer = format!("Bearer {access_token}").parse();
        let bearer = bearer.map_err(|_| Status::data_loss("an access token that no header can have"))?;
        Ok(Self { bearer, refresh_token, renew_at: Instant::now() + RENEW_AFTER })
    }
}

impl Session {
    /// The message as this account sends it. Gets another access token before the one at hand expires.
    pub async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut tokens = self.tokens.lock().await;
        if Instant::now() >= tokens.renew_at {
            let refresh_token = tokens.refresh_token.clone();
            let refresh = RefreshSessionRequest { refresh_token, at_least: Vec::new() };
            let fresh = self.sessions.clone().refresh_session(refresh).await?.into_inner();
            *tokens = Tokens::new(&fresh.access_token, fresh.refresh_token)?;
        }
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", tokens.bearer.clone());
        Ok(request)
    }
}

/// Calls until it is answered: what may pass (a server that is down or behind) is asked again with the same request id,
/// what is final is an error.
pub async fn patiently<T, F, Fut>(what: &str, call: F) -> anyhow::Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let started = Instant::now();
    let mut pause = MIN_PAUSE;
    loop {
        match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if may_pass(status.code()) && started.elapsed() < PATIENCE => {}
            Err(status) => return Err(Refused { status }).with_context(|| what.to_owned()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Asks patiently: `ask!(client.method(session, message))`, or without a session.
macro_rules! ask {
    ($client:ident . $method:ident ($session:expr, $message:ident)) => {
        $crate::client::patiently(stringify!($method), || {
            let (mut client, session, message) = ($client.clone(), $session.clone(), $message.clone());
            async move { client.$method(session.request(message).await?).await }
        })
    };
    ($client:ident . $method:ident ($message:ident)) => {
        $crate::client::patiently(stringify!($method), || {
            let (mut client, request) = ($client.clone(), $message.clone());
            async move { client.$method(request).await }
        })
    };
}
pub(crate) use ask;

/// A final answer that is not OK.
#[derive(Debug, thiserror::Error)]
#[error("{:?}: {}", status.code(), status.message())]
pub struct Refused {
    pub status: Status,
}

/// Whether `error` is a refusal with one of these codes.
pub fn refused_with(error: &anyhow::Error, codes: &[Code]) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| codes.contains(&refused.status.code()))
}

/// A connection that broke shows as Unknown or Internal from the transport; a deadline of ours as Cancelled.
fn may_pass(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown};
    matches!(code, Unavailable | DeadlineExceeded | ResourceExhausted | Cancelled | Unknown | Aborted | Internal)
}

/// Creates person number `person` of `run`, or finds them created, and signs in.
pub async fn join(services: &Services, run: &str, person: usize) -> anyhow::Result<Session> {
    let accounts = AccountServiceClient::new(services.identity.clone());
    let handle = if run.starts_with("demo") { handle(person) } else { format!("{}_{person}", run.replace('-', "_")) };
    let password = format!("password-of-{person}");
    let message = CreateAccountRequest {
        handle: handle.clone(),
        password: password.clone(),
        profile: Some(Profile { display_name: format!("Person {person}"), ..Default::default() }),
        request_id: format!("{run}-account-{person}"),
        ..CreateAccountRequest::default()
    };
    let created = ask!(accounts.create_account(message)).await?;
    let sessions = SessionServiceClient::new(services.identity.clone());
    let at_least = vec![created.consistency_token.clone()];
    let client = ClientClass::Program.into();
    let request_id = format!("{run}-session-{person}");
    let message = CreateSessionRequest { handle, password, at_least, client, request_id };
    let session = ask!(sessions.create_session(message)).await?;
    let tokens = Arc::new(Mutex::new(Tokens::new(&session.access_token, session.refresh_token)?));
    Ok(Session { account_id: session.account_id, token: created.consistency_token, sessions, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_nobody_answers_is_said_with_what_to_do() {
        // Accepts connections, and says nothing.
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for address in [free, mute.local_addr().unwrap()] {
            let reached = Services::reach(&address.into(), &TlsFiles::default(), Duration::from_millis(10)).await;
            let error = reached.err().unwrap().to_string();
            assert!(error.contains(&address.to_string()) && error.contains("`kith run`"), "{error}");
        }
    }
}
