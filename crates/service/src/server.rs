//! The server: binds, serves callers and operators, ends politely.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use kith_runtime::Runtime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer, ServiceExt};

use crate::connections::{ConnectionMetrics, Port, Protocol};
use crate::descriptors;
use crate::health::{Health, Readiness};
use crate::layers::Edge;
use crate::limits::ADMIN_CONNECTIONS;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long connections may take to close once nothing is in flight: the time of a goodbye, or of a scrape.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Why the server is not there, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{address} is taken by another process: end it, or set another `{key}`")]
    Taken { key: &'static str, address: SocketAddr },
    #[error("cannot listen on {address} (`{key}`): {error}")]
    Bind { key: &'static str, address: SocketAddr, error: io::Error },
    #[error("cannot describe the services for reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("cannot wait for the signals to end: {0}")]
    Signals(#[source] io::Error),
}

/// All that [`serve`] needs.
pub struct Serving {
    pub runtime: Runtime,
    /// The generated servers, each through [`crate::limited!`]. Health and reflection are added here.
    pub routes: Routes,
    /// The full names of those services (`NamedService::NAME`), for health and reflection.
    pub services: Vec<&'static str>,
    pub callers: TcpListener,
    pub admin: TcpListener,
    pub edge: Edge,
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub reflection: bool,
    /// How long calls in flight may take after the end has begun: the deadline cap, and a little.
    pub drain: Duration,
}

/// Listens. `key` is the setting that `address` comes from, for the message when it is taken.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::Taken { key, address },
        _ => ServeError::Bind { key, address, error },
    })
}

/// Resolves when the process is asked to end: SIGTERM, or SIGINT (Ctrl-C).
pub async fn termination() -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Serves until `shutdown` resolves, then ends: health says NOT_SERVING, nothing new is accepted, what is in flight
/// finishes within `drain`. Returns when callers are served no more; flush and leave then.
pub async fn serve(serving: Serving, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let Serving { runtime, routes, services, callers, admin, edge, readiness, metrics, reflection, drain } = serving;
    let mut health = Health::new(services.clone());
    let routes = with_own_services(routes, &health, &services, reflection)?;
    let (end, ending) = watch::channel(false);
    let (end_admin, ending_admin) = watch::channel(false);

    let admin = Port {
        listener: admin,
        limit: ADMIN_CONNECTIONS,
        protocol: Protocol::Any,
        metrics: ConnectionMetrics::default(),
    };
    let operators = admin_router(&health, &readiness, &metrics);
    let operators = ServiceExt::<http::Request<Body>>::map_response(operators, |response| response.map(Body::new));
    let admin = runtime.spawn(admin.serve(runtime.clone(), operators, ending_admin));
    let callers = Port {
        listener: callers,
        limit: descriptors::connections_allowed(),
        protocol: Protocol::Http2,
        metrics: ConnectionMetrics::register(&metrics),
    };
    let callers = runtime.spawn(callers.serve(runtime.clone(), edge.layer(routes.prepare()), ending));

    tokio::select! {
        () = health.follow(&readiness) => {}
        () = shutdown => {}
    }
    tracing::info!("ending: nothing new is accepted");
    readiness.drain();
    health.end().await;
    end.send_replace(true);
    if tokio::time::timeout(drain, edge.idle()).await.is_err() {
        tracing::warn!(drain_ms = drain.as_millis(), "calls were still in flight at the end");
    }
    end_admin.send_replace(true);
    // A connection that stays open with nothing in flight holds nothing up.
    let _ = tokio::time::timeout(CLOSE_WITHIN, async { tokio::join!(callers, admin) }).await;
    Ok(())
}

fn with_own_services(
    routes: Routes,
    health: &Health,
    services: &[&'static str],
    reflection: bool,
) -> Result<Routes, ServeError> {
    let routes = routes.add_service(health.for_callers());
    if !reflection {
        return Ok(routes);
    }
    let mut described = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(kith_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        // The details of errors, which clients that learn messages here would show as bytes.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection");
    for service in services {
        described = described.with_service_name(*service);
    }
    Ok(routes.add_service(described.build_v1()?))
}

/// HTTP/1.1 for people and scrapers, HTTP/2 for `grpc.health.v1`, on one plaintext port.
fn admin_router(health: &Health, readiness: &Readiness, metrics: &Metrics) -> Router {
    let http = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness.clone()))
        .route("/metrics", get(encoded_metrics).with_state(metrics.clone()));
    http.route_service("/grpc.health.v1.Health/{*method}", health.for_admin())
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn encoded_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::identity::v1::session_service_client::SessionServiceClient;
    use kith_proto::identity::v1::session_service_server::{SessionService, SessionServiceServer};
    use kith_proto::identity::v1::{
        CreateSessionRequest, CreateSessionResponse, GetSigningKeysRequest, GetSigningKeysResponse, JsonWebKey,
    };
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
    use crate::auth::{Verifier, caller};
    use crate::deadline::DeadlineRules;
    use crate::health::{READINESS, ReadinessCheck};
    use crate::keys::{JWKS_FILE, KeyFolder};

    type Reply<T> = Result<tonic::Response<T>, Status>;

    /// `GetSigningKeys` answers when it is let; `CreateSession` needs a caller, unlike the real one.
    #[derive(Clone, Default)]
    struct Sessions {
        entered: std::sync::Arc<Notify>,
        may_leave: std::sync::Arc<Notify>,
    }

    #[tonic::async_trait]
    impl SessionService for Sessions {
        async fn create_session(&self, request: Request<CreateSessionRequest>) -> Reply<CreateSessionResponse> {
            caller(&request)?;
            Ok(tonic::Response::new(CreateSessionResponse::default()))
        }

        async fn get_signing_keys(&self, _: Request<GetSigningKeysRequest>) -> Reply<GetSigningKeysResponse> {
            self.entered.notify_one();
            self.may_leave.notified().await;
            let large = JsonWebKey { kty: "x".repeat(1_000_000), ..Default::default() };
            Ok(tonic::Response::new(GetSigningKeysResponse { keys: vec![large] }))
        }
    }

    struct Running {
        callers: SocketAddr,
        admin: SocketAddr,
        sessions: Sessions,
        log: ReadinessCheck,
        end: oneshot::Sender<()>,
        served: JoinHandle<Result<(), ServeError>>,
        _keys: tempfile::TempDir,
    }

    async fn start() -> Running {
        let runtime = Runtime::system();
        let folder = tempfile::tempdir().unwrap();
        KeyFolder::at(folder.path()).create_missing(&runtime).unwrap();
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
            callers,
            admin,
            edge: Edge::new(&metrics, verifier, DeadlineRules::default()).unwrap(),
            readiness,
            metrics,
            reflection: true,
            drain: Duration::from_secs(10),
        };
        let (end, ended) = oneshot::channel::<()>();
        let served = runtime.spawn(serve(serving, async move {
            let _ = ended.await;
        }));
        Running { callers: addresses.0, admin: addresses.1, sessions, log, end, served, _keys: folder }
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
        let call =
            Runtime::system().spawn(async move { client.get_signing_keys(GetSigningKeysRequest::default()).await });
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

    #[tokio::test]
    async fn operators_connections_over_the_limit_are_closed_at_once() {
        let running = start().await;
        let mut held = Vec::new();
        for _ in 0..ADMIN_CONNECTIONS {
            held.push(TcpStream::connect(running.admin).await.unwrap());
        }
        let mut refused = TcpStream::connect(running.admin).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), refused.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
        drop(held.pop());
        let answered = async { while !is_answered(running.admin).await {} };
        tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap();
    }

    async fn is_answered(address: SocketAddr) -> bool {
        let mut stream = TcpStream::connect(address).await.unwrap();
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
}
