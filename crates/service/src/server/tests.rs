use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::session_service_server::{SessionService, SessionServiceServer};
use kith_proto::identity::v1::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;
use tower::Service;

use super::*;
use crate::auth::{Asker, Principals, SessionRef, TokenIssuer, Verifier};
use crate::health::{READINESS, ReadinessCheck};
use crate::keys::{JWKS_FILE, KeyFolder};
use crate::layers::EdgeRules;
use crate::peer::PeerIdentity;
use crate::rate::Refused;

mod crowds;
mod frames;
mod secured;

use frames::connect_from;

const SESSION: SessionRef = SessionRef { id: kith_log::RecordId([3; 16]), made_at: 0 };

type Reply<T> = Result<tonic::Response<T>, Status>;

/// `GetSigningKeys` answers when it is let; `CreateSession` needs a caller, unlike the real one.
#[derive(Clone, Default)]
struct Sessions {
    entered: Arc<Notify>,
    may_leave: Arc<Notify>,
    /// Who has called `CreateSession`.
    peers: Arc<std::sync::Mutex<Vec<Option<PeerIdentity>>>>,
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Reply<CreateSessionResponse> {
        self.peers.lock().unwrap().push(request.extensions().get().cloned());
        Asker::with_account(&request)?;
        Ok(tonic::Response::new(CreateSessionResponse::default()))
    }

    async fn refresh_session(&self, _: Request<RefreshSessionRequest>) -> Reply<RefreshSessionResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Reply<ListSessionsResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn revoke_session(&self, _: Request<RevokeSessionRequest>) -> Reply<RevokeSessionResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn revoke_all_sessions(&self, _: Request<RevokeAllSessionsRequest>) -> Reply<RevokeAllSessionsResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn reset_password(&self, _: Request<ResetPasswordRequest>) -> Reply<ResetPasswordResponse> {
        Err(Status::unimplemented(""))
    }

    async fn change_password(&self, _: Request<ChangePasswordRequest>) -> Reply<ChangePasswordResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_signing_keys(&self, _: Request<GetSigningKeysRequest>) -> Reply<GetSigningKeysResponse> {
        self.entered.notify_one();
        self.may_leave.notified().await;
        let large = JsonWebKey { kty: "x".repeat(1_000_000), ..Default::default() };
        Ok(tonic::Response::new(GetSigningKeysResponse { keys: vec![large] }))
    }

    async fn link_identity(&self, _: Request<LinkIdentityRequest>) -> Reply<LinkIdentityResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn unlink_identity(&self, _: Request<UnlinkIdentityRequest>) -> Reply<UnlinkIdentityResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn exchange_token(&self, _: Request<ExchangeTokenRequest>) -> Reply<ExchangeTokenResponse> {
        Err(Status::unimplemented("not here"))
    }
}

struct Running {
    callers: SocketAddr,
    admin: SocketAddr,
    sessions: Sessions,
    log: ReadinessCheck,
    issuer: TokenIssuer,
    end: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
    _keys: tempfile::TempDir,
}

async fn start() -> Running {
    start_with(ListenersTls::default(), EdgeRules::default()).await
}

async fn start_with(tls: ListenersTls, rules: EdgeRules) -> Running {
    let runtime = Runtime::system();
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::at(folder.path());
    keys.create_missing(&runtime).unwrap();
    let issuer = TokenIssuer::new(keys.signing_key().unwrap(), runtime.clone());
    let verifier = Verifier::open(folder.path().join(JWKS_FILE), runtime.clone()).unwrap();
    let (metrics, readiness, sessions) = (Metrics::default(), Readiness::default(), Sessions::default());
    let callers = bind("listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let admin = bind("admin_listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addresses = (callers.local_addr().unwrap(), admin.local_addr().unwrap());
    let log = readiness.check("log");
    let serving = Serving {
        runtime: runtime.clone(),
        routes: Routes::new(crate::limited!(SessionServiceServer::new(sessions.clone()))),
        services: vec![SessionServiceServer::<Sessions>::NAME],
        tokens: consistency_tokens(),
        callers,
        admin: Admin::open(&runtime, admin, &readiness, &metrics).await,
        operators: (bind("ops_listen", "127.0.0.1:0".parse().unwrap()).await.unwrap(), Routes::default()),
        tls,
        edge: Edge::new(&metrics, (&runtime, Refused::default()), verifier, Principals::default(), rules).unwrap(),
        readiness,
        metrics,
        reflection: true,
        connection_age: Duration::from_secs(300),
        drain: Duration::from_secs(10),
    };
    let (end, ended) = oneshot::channel::<()>();
    let served = runtime.spawn(serve(serving, async move {
        let _ = ended.await;
    }));
    Running { callers: addresses.0, admin: addresses.1, sessions, log, issuer, end, served, _keys: folder }
}

/// With the key that the tests' server has.
fn consistency_tokens() -> ConsistencyTokens {
    ConsistencyTokens::new(&[1; 32], 16, Runtime::system()).unwrap()
}

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn health(address: SocketAddr, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel(address).await).check(request).await.unwrap().into_inner().status()
}

async fn until_health(address: SocketAddr, service: &str, status: ServingStatus) {
    let mut client = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status() != status {}
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn operators_see_how_it_stands_on_one_port() {
    let running = start().await;
    assert!(http(running.admin, "/livez").await.starts_with("HTTP/1.1 200"));
    let readyz = http(running.admin, "/readyz").await;
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(r#""reason":"starting""#), "{readyz}");
    assert_eq!(health(running.admin, "").await, ServingStatus::Serving);
    assert_eq!(health(running.admin, READINESS).await, ServingStatus::NotServing);
    running.log.ready();
    for address in [running.admin, running.callers] {
        until_health(address, READINESS, ServingStatus::Serving).await;
        until_health(address, "kith.identity.v1.SessionService", ServingStatus::Serving).await;
    }
    assert!(http(running.admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = http(running.admin, "/metrics").await;
    assert!(metrics.contains("openmetrics-text") && metrics.contains("rpc_server_call_duration_seconds"));
    assert!(http(running.admin, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn callers_get_a_reason_for_every_refusal() {
    let running = start().await;
    let mut client = SessionServiceClient::new(channel(running.callers).await);
    let status = client.create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unauthenticated, "UNAUTHENTICATED"));
    let large = CreateSessionRequest { handle: "x".repeat(300 * 1024), ..Default::default() };
    let status = client.create_session(large).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "REQUEST_TOO_LARGE"));
    let mut request = Request::new(GetSigningKeysRequest::default());
    request.set_timeout(Duration::from_millis(1));
    let status = client.get_signing_keys(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let running = start().await;
    let mut client = ServerReflectionClient::new(channel(running.callers).await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut replies = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = reply else { panic!("{reply:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"kith.identity.v1.SessionService".to_owned()), "{names:?}");
    assert!(!names.contains(&"kith.posts.v1.PostService".to_owned()), "{names:?}");
}

#[tokio::test]
async fn what_is_in_flight_finishes_before_the_end() {
    let running = start().await;
    let mut client = SessionServiceClient::new(channel(running.callers).await);
    let call = Runtime::system().spawn(async move { client.get_signing_keys(GetSigningKeysRequest::default()).await });
    running.sessions.entered.notified().await;
    let mut watcher = HealthClient::new(channel(running.callers).await);
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = watcher.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    running.end.send(()).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.message()).await;
    assert!(ended.unwrap().unwrap().is_none(), "watches end, or they would hold the server up");
    assert_eq!(health(running.admin, "").await, ServingStatus::NotServing);
    until_refused(running.callers).await;
    assert!(!running.served.is_finished());
    running.sessions.may_leave.notify_one();
    call.await.unwrap().unwrap();
    drop((watcher, watch));
    running.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_cut_and_holds_nothing_up() {
    let running = start().await;
    let mut silent = TcpStream::connect(running.callers).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let started = tokio::time::Instant::now();
    silent.read_to_end(&mut Vec::new()).await.unwrap();
    assert!((10..12).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(http(running.admin, "/metrics").await.contains("kith_connections_cut_total 1"));

    let (mut silent, mut operator) =
        (TcpStream::connect(running.callers).await.unwrap(), TcpStream::connect(running.admin).await.unwrap());
    let idle = channel(running.callers).await;
    let started = tokio::time::Instant::now();
    running.end.send(()).unwrap();
    running.served.await.unwrap().unwrap();
    assert!(started.elapsed() <= CLOSE_WITHIN, "{:?}", started.elapsed());
    silent.read_to_end(&mut Vec::new()).await.unwrap();
    operator.read_to_end(&mut Vec::new()).await.unwrap();
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_is_cut() {
    let running = start().await;
    running.sessions.may_leave.notify_one();
    // As little as HTTP/2 has room for by default.
    let endpoint = Channel::from_shared(format!("http://{}", running.callers)).unwrap();
    let mut channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let request = http::Request::post("/kith.identity.v1.SessionService/GetSigningKeys")
        .header("content-type", "application/grpc")
        .body(Body::new(http_body_util::Full::from(&[0_u8; 5][..])))
        .unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap().into_body();
    tokio::time::sleep(Duration::from_secs(32)).await;
    assert!(http_body_util::BodyExt::collect(answer).await.is_err());
    assert!(http(running.admin, "/metrics").await.contains("kith_connections_cut_total 1"));
}

/// Whoever keeps connections to the operators' port open has no more than a share of them: a probe is answered.
#[tokio::test]
async fn one_address_leaves_operators_connections_for_others() {
    let running = start().await;
    let mut held = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS {
        let mut connection = connect_from(running.admin, 1).await.unwrap();
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        if connection.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes == 1) {
            held.push(connection);
        }
    }
    assert_eq!(held.len(), ADMIN_CONNECTIONS / 2);
    assert!(!is_answered(running.admin, 1).await);
    assert!(is_answered(running.admin, 2).await);
    drop(held.pop());
    let answered = async { while !is_answered(running.admin, 1).await {} };
    tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap();
}

/// Asked from 127.0.0.`host`.
async fn is_answered(address: SocketAddr, host: u8) -> bool {
    let mut stream = connect_from(address, host).await.unwrap();
    let mut answer = String::new();
    let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200")
}

async fn until_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), refused).await.unwrap();
}

#[tokio::test]
async fn a_taken_address_says_which_setting_to_change() {
    let taken = bind("listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = bind("listen", taken.local_addr().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("is taken by another process") && error.to_string().contains("`listen`"));
    assert!(bind("listen", "203.0.113.1:1".parse().unwrap()).await.is_err());
}
