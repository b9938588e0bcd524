//! Connections: accepted up to a limit that sources share fairly, asked to close at an age, and cut when the peer sends or
//! reads nothing.

mod handshake;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use kith_runtime::Runtime;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::limits::{
    ADMIN_IDLE_SECONDS, ANSWER_TAKEN_SECONDS, CANCELLED_UNSEEN_PER_CONNECTION, CONNECTION_AGE_SECONDS,
    HANDSHAKE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_TIMEOUT_SECONDS, REQUEST_HEADER_BYTES_PARSED,
    RESETS_PER_CONNECTION, STREAMS_PER_CONNECTION,
};
use crate::metrics::Metrics;
use crate::peer::{PeerAddress, PeerIdentity};
use crate::response::Held;
use crate::share::{Shares, Taken};
use crate::source::{Proxies, Source};
pub(crate) use handshake::Handshakes;
use handshake::Transport;

/// How often a connection is checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause after a failed accept, mostly for lack of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What HTTP/2 may buffer of one stream's answer, bytes.
const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// With fewer bytes the peer has not completed the HTTP/2 preface ...
const HTTP2_PREFACE_BYTES: usize = 24;
/// ... or HTTP/1.1's shortest first line.
const HTTP1_LINE_BYTES: usize = 16;

/// Who listens, and to whom.
pub(crate) struct Port {
    pub listener: TcpListener,
    /// The maximum of concurrent connections.
    pub limit: usize,
    /// Which may have more of them than other addresses.
    pub proxies: Proxies,
    pub protocol: Protocol,
    /// The age at which a connection is asked to close.
    pub age: Duration,
    pub metrics: ConnectionMetrics,
    /// `None`: plaintext.
    pub tls: Option<Arc<Handshakes>>,
}

/// The protocols of a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Callers.
    Http2,
    /// Operators: HTTP/1.1 too.
    Any,
}

/// The number of connections, and of refused ones.
#[derive(Clone, Default)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
    cut: Counter,
    failed: Counter,
    handshakes_failed: Counter,
}

impl ConnectionMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let mut registry = metrics.registry();
        registry.register("kith_connections", "Connections of callers", own.open.clone());
        let help = "Connections of callers over the limit, or over their source's share of it";
        registry.register("kith_connections_refused", help, own.refused.clone());
        let help = "Connections cut because the other side said nothing or did not take its answers";
        registry.register("kith_connections_cut", help, own.cut.clone());
        let help = "Connections that ended by an error, such as too many cancelled calls";
        registry.register("kith_connections_failed", help, own.failed.clone());
        let help = "TLS handshakes of callers that failed, took too long or were too many";
        registry.register("kith_tls_handshakes_failed", help, own.handshakes_failed.clone());
        drop(registry);
        own
    }
}

impl Port {
    /// Accepts connections until `ending`, then asks all of them to close and returns when they have.
    pub async fn serve<S>(self, runtime: Runtime, service: S, mut ending: watch::Receiver<bool>)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone,
        S: Send + Sync + 'static,
    {
        let places = Shares::of(self.limit);
        // Closed when the last connection is.
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        let until_end = ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = ending.wait_for(|ending| *ending) => break,
            };
            let (stream, address) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    runtime.sleep(ACCEPT_AGAIN_AFTER).await;
                    continue;
                }
            };
            let Some(place) = places.take(&self.source(address), 1) else {
                self.metrics.refused.inc();
                continue;
            };
            let talk = Conversation::new(&runtime, &self, address, until_end.clone());
            let (service, places, open) = (service.clone(), Arc::clone(&places), open.clone());
            runtime.spawn(async move {
                talk.run(stream, (places, place), service).await;
                drop(open);
            });
        }
        drop((self.listener, open));
        all_closed.recv().await;
    }

    /// Whose connections from an address are, while no certificate tells more.
    fn source(&self, address: IpAddr) -> Source {
        if self.proxies.has(address) {
            return Source::Service(address.to_string().into());
        }
        Source::of_address(address)
    }
}

/// One connection from its first byte to its last.
struct Conversation {
    builder: Builder<Spawner>,
    first_bytes: usize,
    /// The idle time after which it is asked to close.
    idle: Duration,
    /// How long after its first byte.
    age: Duration,
    address: IpAddr,
    runtime: Runtime,
    metrics: ConnectionMetrics,
    tls: Option<Arc<Handshakes>>,
    ending: watch::Receiver<bool>,
}

impl Conversation {
    fn new(runtime: &Runtime, port: &Port, address: IpAddr, ending: watch::Receiver<bool>) -> Self {
        let mut builder = Builder::new(Spawner(runtime.clone()));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(HANDSHAKE_SECONDS));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .max_pending_accept_reset_streams(CANCELLED_UNSEEN_PER_CONNECTION)
            .max_local_error_reset_streams(RESETS_PER_CONNECTION)
            .max_header_list_size(REQUEST_HEADER_BYTES_PARSED)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(Some(Duration::from_secs(KEEPALIVE_INTERVAL_SECONDS)))
            .keep_alive_timeout(Duration::from_secs(KEEPALIVE_TIMEOUT_SECONDS));
        let (builder, first_bytes, idle_seconds) = match port.protocol {
            // Callers keep theirs open.
            Protocol::Http2 => (builder.http2_only(), HTTP2_PREFACE_BYTES, CONNECTION_AGE_SECONDS),
            Protocol::Any => (builder, HTTP1_LINE_BYTES, ADMIN_IDLE_SECONDS),
        };
        let idle = Duration::from_secs(idle_seconds);
        let (age, metrics, tls) = (port.age, port.metrics.clone(), port.tls.clone());
        Self { builder, first_bytes, idle, age, address, runtime: runtime.clone(), metrics, tls, ending }
    }

    async fn run<S>(mut self, stream: TcpStream, (places, place): (Arc<Shares>, Taken), service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone,
        S: Send + Sync + 'static,
    {
        self.metrics.open.inc();
        let open = self.metrics.open.clone();
        if let Some((stream, peer)) = self.greet(stream).await {
            match proved(peer.as_ref(), &places, place) {
                Some(_place) => self.talk(stream, peer, service).await,
                None => {
                    self.metrics.refused.inc();
                }
            }
        }
        open.dec();
    }

    /// The stream to talk over, and whom a certificate proves at its other end.
    async fn greet(&mut self, stream: TcpStream) -> Option<(Box<dyn Transport>, Option<PeerIdentity>)> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection that is gone already");
            return None;
        }
        let Some(tls) = &self.tls else { return Some((Box::new(stream), None)) };
        let source = Source::of_address(self.address);
        let shaken = tokio::select! {
            shaken = tls.shake(stream, &source) => shaken,
            _ = self.ending.wait_for(|ending| *ending) => return None,
        };
        if shaken.is_none() {
            self.metrics.handshakes_failed.inc();
        }
        shaken
    }

    async fn talk<S>(&mut self, stream: Box<dyn Transport>, peer: Option<PeerIdentity>, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone,
        S: Send + Sync + 'static,
    {
        let (line_state, held) = (Arc::<Line>::default(), Arc::<Held>::default());
        let (line, calls, address) = (Arc::clone(&held), Arc::clone(&line_state), PeerAddress(self.address));
        let service = service.map_request(move |request: Request<Incoming>| {
            calls.called();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&line));
            request.extensions_mut().insert(address);
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            request
        });
        let io = TokioIo::new(Watched { stream, line: Arc::clone(&line_state) });
        let connection = self.builder.serve_connection(io, TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let started = Instant::now();
        let mut asked_to_close = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        self.metrics.failed.inc();
                        tracing::debug!(%error, "a connection ended");
                    }
                    return;
                }
                _ = self.ending.wait_for(|ending| *ending), if !asked_to_close => {}
                () = self.runtime.sleep(LOOK_EVERY) => {}
            }
            let is_silent = line_state.heard_bytes.load(Ordering::Relaxed) < self.first_bytes;
            let too_late = |since: Instant, seconds| since.elapsed() >= Duration::from_secs(seconds);
            let oldest = held.oldest().into_iter().chain(line_state.stuck_since()).min();
            let waits = oldest.is_some_and(|since| too_late(since, ANSWER_TAKEN_SECONDS));
            let ending = *self.ending.borrow();
            if is_silent && ending {
                return;
            }
            if waits || is_silent && too_late(started, HANDSHAKE_SECONDS) {
                self.metrics.cut.inc();
                return;
            }
            let is_idle = line_state.last_call().unwrap_or(started).elapsed() >= self.idle;
            if !asked_to_close && (ending || is_idle || started.elapsed() >= self.age) {
                asked_to_close = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The place of a connection whose certificate is known: instead of its address's, its certificate's. `None`: that has its
/// share.
fn proved(peer: Option<&PeerIdentity>, places: &Arc<Shares>, place: Taken) -> Option<Taken> {
    let Some(name) = peer.and_then(|peer| peer.names.first()) else { return Some(place) };
    places.take(&Source::Service(name.as_str().into()), 1)
}

/// HTTP/2's tasks, through the one seam.
#[derive(Clone)]
struct Spawner(Runtime);

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// The activity of a connection, observed at its transport.
#[derive(Default)]
struct Line {
    heard_bytes: AtomicUsize,
    /// Since when the peer has read nothing of the pending bytes; `None`: it reads everything.
    stuck: Mutex<Option<Instant>>,
    /// When its last call came.
    called: Mutex<Option<Instant>>,
}

impl Line {
    fn stuck_since(&self) -> Option<Instant> {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last_call(&self) -> Option<Instant> {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        *stuck = if written.is_pending() { Some(stuck.unwrap_or_else(Instant::now)) } else { None };
        written
    }
}

/// A stream that is watched.
struct Watched {
    stream: Box<dyn Transport>,
    line: Arc<Line>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.line.heard_bytes.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.line.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.line.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
