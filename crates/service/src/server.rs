//! The server: binds, serves callers and operators, drains.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use kith_proto::tokens::v1::token_service_server::TokenServiceServer;
use kith_runtime::Runtime;
use kith_tls::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::{Layer, ServiceExt};

use crate::connections::{ConnectionMetrics, Handshakes, Port, Protocol};
use crate::consistency_token::ConsistencyTokens;
use crate::descriptors;
use crate::health::{Health, Readiness};
use crate::layers::Edge;
use crate::limits::{ADMIN_CONNECTIONS, CONNECTION_AGE_SECONDS};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::source::Proxies;
use crate::tokens::Tokens;

/// How long connections may take to close once nothing is in flight: time for a GOAWAY, or for a scrape.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Of connections whose age is no setting.
const CONNECTION_AGE: Duration = Duration::from_secs(CONNECTION_AGE_SECONDS);

/// Why the server did not start, or ended.
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
    /// The generated servers, each through [`crate::limited!`]. Health, reflection and `kith.tokens.v1` are added here.
    pub routes: Routes,
    /// The full names of those services (`NamedService::NAME`), for health and reflection.
    pub services: Vec<&'static str>,
    /// What opens and seals consistency tokens.
    pub tokens: ConsistencyTokens,
    pub callers: TcpListener,
    pub admin: Admin,
    /// The address of operators' commands, and the services there.
    pub operators: (TcpListener, Routes),
    pub tls: ListenersTls,
    pub edge: Edge,
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub reflection: bool,
    /// The age at which a caller's connection is asked to close; [`crate::limits::CONNECTION_AGE_SECONDS`] but in tests.
    pub connection_age: Duration,
    /// How long calls in flight may take after the drain has begun: the deadline cap plus a margin.
    pub drain: Duration,
}

/// How the two gRPC ports are secured; the admin port, for probes and scrapes, is not. `None`: plaintext.
#[derive(Default)]
pub struct ListenersTls {
    pub callers: Option<Arc<ServerTls>>,
    pub operators: Option<Arc<ServerTls>>,
}

/// The admin port at work: health for probes, readiness, metrics. It answers from the process's first moment, also while the
/// process waits for its stores.
pub struct Admin {
    health: Health,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Admin {
    /// Serves until [`serve`] ends. The process is alive; it is not ready before `serve` follows `readiness`.
    pub async fn open(runtime: &Runtime, listener: TcpListener, readiness: &Readiness, metrics: &Metrics) -> Self {
        let health = Health::starting().await;
        let port = Port {
            listener,
            limit: ADMIN_CONNECTIONS,
            proxies: Proxies::default(),
            protocol: Protocol::Any,
            age: CONNECTION_AGE,
            metrics: ConnectionMetrics::default(),
            tls: None,
        };
        let (end, ending) = watch::channel(false);
        let router = admin_router(&health, readiness, metrics);
        let router = ServiceExt::<http::Request<Body>>::map_response(router, |response| response.map(Body::new));
        let task = runtime.spawn(port.serve(runtime.clone(), router, ending));
        Self { health, end, task }
    }
}

/// Listens. `key` is the setting of `address`, for the message when the address is in use.
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

/// Serves until `shutdown` resolves, then drains: health reports NOT_SERVING, no new connections, calls in flight
/// finish within `drain`. Returns when no caller is served any more; then flush and exit.
pub async fn serve(serving: Serving, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let Serving { runtime, routes, mut services, tokens, callers, admin, operators, edge, .. } = serving;
    let Serving { readiness, metrics, reflection, connection_age, drain, tls, .. } = serving;
    services.push(TokenServiceServer::<Tokens>::NAME);
    let Admin { mut health, end: end_admin, task: admin } = admin;
    health.add(&services);
    let routes = routes.add_service(Tokens::server(tokens));
    let routes = with_own_services(routes, &health, &services, reflection)?;
    let (end, ending) = watch::channel(false);

    let (listener, commands) = operators;
    let operators = Port {
        listener,
        limit: ADMIN_CONNECTIONS,
        proxies: Proxies::default(),
        protocol: Protocol::Http2,
        age: CONNECTION_AGE,
        metrics: ConnectionMetrics::default(),
        tls: tls.operators.map(Handshakes::new),
    };
    let commands = edge.for_operators(&runtime).layer(commands.prepare());
    let operators = operators.serve(runtime.clone(), commands, ending.clone());
    let operators = runtime.spawn(operators);
    let callers = Port {
        listener: callers,
        limit: descriptors::connections_allowed(),
        proxies: edge.proxies().clone(),
        protocol: Protocol::Http2,
        age: connection_age,
        metrics: ConnectionMetrics::register(&metrics),
        tls: tls.callers.map(Handshakes::new),
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
    // An open connection with nothing in flight does not delay the end.
    let _ = tokio::time::timeout(CLOSE_WITHIN, async { tokio::join!(callers, admin, operators) }).await;
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
        // The details of errors, which reflection clients would otherwise show as bytes.
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
mod tests;
