//! An ordinary client: one channel a service, bearer tokens, patience with servers that come and go.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest, Profile};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// A server that is killed and started again gets this long.
const PATIENCE: Duration = Duration::from_secs(120);
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);
const CALL_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// `HOST:PORT` for all, or `identity=HOST:PORT,posts=…,engagement=…,messaging=…,feeds=…`. Connects when first used.
    pub fn at(addresses: &str) -> anyhow::Result<Self> {
        let of = |name: &str| -> anyhow::Result<Channel> {
            let named = addresses.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            let address = match named {
                Some(address) => address,
                None if !addresses.contains('=') => addresses,
                None => bail!("no address of {name} in `{addresses}`"),
            };
            let endpoint = Endpoint::from_shared(format!("http://{address}")).context("not an address")?;
            Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_DEADLINE).tcp_nodelay(true).connect_lazy())
        };
        Ok(Self {
            identity: of("identity")?,
            posts: of("posts")?,
            engagement: of("engagement")?,
            messaging: of("messaging")?,
            feeds: of("feeds")?,
        })
    }
}

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Session {
    pub account_id: String,
    pub bearer: MetadataValue<Ascii>,
    /// Of the account's creation.
    pub token: String,
}

impl Session {
    /// The message as this account sends it.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
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
        $crate::demo::client::patiently(stringify!($method), || {
            let (mut client, request) = ($client.clone(), $session.request($message.clone()));
            async move { client.$method(request).await }
        })
    };
    ($client:ident . $method:ident ($message:ident)) => {
        $crate::demo::client::patiently(stringify!($method), || {
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
    let handle =
        if run.starts_with("demo") { super::handle(person) } else { format!("{}_{person}", run.replace('-', "_")) };
    let password = format!("password-of-{person}");
    let message = CreateAccountRequest {
        handle: handle.clone(),
        password: password.clone(),
        profile: Some(Profile { display_name: format!("Person {person}"), bio: String::new() }),
        request_id: format!("{run}-account-{person}"),
        at_least: Vec::new(),
    };
    let created = ask!(accounts.create_account(message)).await?;
    let sessions = SessionServiceClient::new(services.identity.clone());
    let at_least = vec![created.consistency_token.clone()];
    let message = CreateSessionRequest { handle, password, at_least };
    let session = ask!(sessions.create_session(message)).await?;
    let bearer = format!("Bearer {}", session.access_token).parse().context("access token")?;
    Ok(Session { account_id: session.account_id, bearer, token: created.consistency_token })
}
