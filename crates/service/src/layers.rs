//! What every RPC passes before its handler: counted, traced, let in or shed, given a deadline, its caller looked up.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use crate::Failure;
use crate::auth::{self, Verifier};
use crate::deadline::DeadlineRules;
use crate::limits::{REQUEST_HEADER_BYTES, RPCS_IN_FLIGHT, STREAMS_OPEN};
use crate::metrics::{Metrics, RpcMethod, RpcMetrics, code_name};
use crate::response::{Answer, Open, Untaken, UntakenBytes};
use crate::telemetry::{self, TRACE_PARENT};

const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Sets the message limits of a generated server: requests of 256 KiB, responses of 4 MiB.
#[macro_export]
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::limits::REQUEST_BYTES)
            .max_encoding_message_size($crate::limits::RESPONSE_BYTES)
    };
}

/// The stack, as one layer: what one call costs stays in sight.
#[derive(Clone)]
pub struct Edge {
    shared: Arc<EdgeShared>,
}

struct EdgeShared {
    rpcs: RpcMetrics,
    verifier: Verifier,
    deadlines: DeadlineRules,
    /// Over all connections. A place is held until the caller has taken the answer.
    in_flight: Arc<Semaphore>,
    /// The places of methods whose answers are streams, which may go on for ever.
    streams: Arc<Semaphore>,
    untaken: Arc<UntakenBytes>,
}

impl Edge {
    /// Registers the RPC metrics in `metrics`; one a process.
    pub fn new(metrics: &Metrics, verifier: Verifier, deadlines: DeadlineRules) -> Result<Self, prost::DecodeError> {
        let descriptors = [
            kith_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let rpcs = RpcMetrics::register(metrics, &descriptors)?;
        let (in_flight, streams) = (Semaphore::new(RPCS_IN_FLIGHT).into(), Semaphore::new(STREAMS_OPEN).into());
        let shared = EdgeShared { rpcs, verifier, deadlines, in_flight, streams, untaken: Arc::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Waits until nothing is in flight; what comes meanwhile is shed as soon as nothing else is.
    pub(crate) async fn idle(&self) {
        for (places, all) in [(&self.shared.in_flight, RPCS_IN_FLIGHT), (&self.shared.streams, STREAMS_OPEN)] {
            // An error means that the semaphore is closed, which nobody does.
            let _ = places.acquire_many(all as u32).await;
        }
    }
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService { edge: self.shared.clone(), inner }
    }
}

/// A service with the stack before it.
#[derive(Clone)]
pub struct EdgeService<S> {
    edge: Arc<EdgeShared>,
    inner: S,
}

impl<S> Service<Request<Body>> for EdgeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that was polled ready is the one to call.
        let inner = std::mem::replace(&mut self.inner, clone);
        let edge = self.edge.clone();
        let method = edge.rpcs.method(request.uri().path());
        let span = span_of(&method, &request);
        Box::pin(async move { Ok(edge.call(method, inner, request).await) }.instrument(span))
    }
}

impl EdgeShared {
    async fn call<S>(&self, method: RpcMethod, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let mut call = Call { rpcs: &self.rpcs, method, started: Instant::now(), code: Code::Cancelled };
        let handled = match call.method.is_streaming() {
            true => self.open(inner, request).await,
            false => self.answer(inner, request).await,
        };
        let (code, response) = handled.unwrap_or_else(|failure| (failure.code(), Status::from(failure).into_http()));
        call.code = code;
        response
    }

    /// A stream: it has its place for as long as it goes on, and starts within the deadline.
    async fn open<S>(&self, inner: S, request: Request<Body>) -> Result<(Code, Response<Body>), Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let _place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Failure::overloaded())?;
        let response = with_reason(self.handle(inner, request).await?);
        Ok((code_in(response.headers()), response.map(|body| Body::new(Open { body, _place }))))
    }

    /// One answer: all of it within the deadline, and in memory no longer than its caller needs to take it.
    async fn answer<S>(&self, inner: S, request: Request<Body>) -> Result<(Code, Response<Body>), Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        let place = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| Failure::overloaded())?;
        let connection = request.extensions().get::<Arc<Untaken>>().cloned().unwrap_or_default();
        let (head, body) = with_reason(self.handle(inner, request).await?).into_parts();
        let answer = Answer::of(body).await.map_err(|status| Failure::defect("encoding an answer", &status))?;
        let code = code_in(answer.trailers().unwrap_or(&head.headers));
        let body = answer.into_body(connection, Arc::clone(&self.untaken), place).ok_or_else(Failure::overloaded)?;
        Ok((code, Response::from_parts(head, body)))
    }

    async fn handle<S>(&self, mut inner: S, mut request: Request<Body>) -> Result<Response<Body>, Failure>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    {
        if header_bytes(request.headers()) > REQUEST_HEADER_BYTES {
            return Err(Failure::headers_too_large());
        }
        let deadline = self.deadlines.admit(request.headers())?;
        let authentication = auth::authenticate(&self.verifier, request.headers());
        request.extensions_mut().insert(deadline);
        request.extensions_mut().insert(authentication);
        match tokio::time::timeout_at(deadline.at(), inner.call(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => Err(Failure::deadline_exceeded()),
        }
    }
}

/// As HTTP/2 counts them (RFC 9113, section 6.5.2).
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Counts the call when it ends, also when the caller goes away and the future is dropped.
struct Call<'a> {
    rpcs: &'a RpcMetrics,
    method: RpcMethod,
    started: Instant,
    code: Code,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.rpcs.observe(&self.method, self.code, took);
        Span::current().record("rpc.status_code", code_name(self.code));
        tracing::debug!(method = self.method.name(), status = code_name(self.code), took_us = took.as_micros(), "rpc");
    }
}

/// By OpenTelemetry's conventions for RPCs. Nothing of who calls, or from where.
fn span_of(method: &RpcMethod, request: &Request<Body>) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = method.name(),
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method.name(),
        rpc.status_code = field::Empty,
    );
    if let Some(parent) = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok()) {
        telemetry::set_parent(&span, parent);
    }
    span
}

/// The status in the headers or trailers of a response. One that comes later, after a stream, is not seen here.
fn code_in(headers: &HeaderMap) -> Code {
    headers.get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// What tonic answers by itself comes without a reason, and calls a request that it cannot decode INTERNAL.
fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS) || headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    let Some(status) = Status::from_header_map(headers) else { return response };
    let failure = match status.code() {
        Code::Unimplemented if status.message().starts_with("Content is compressed") => {
            return compression_unknown(headers);
        }
        Code::Unimplemented => Failure::method_unknown(),
        Code::OutOfRange if status.message().contains("message length too large") => Failure::request_too_large(),
        Code::Internal if is_decoding_error(status.message()) => Failure::request_undecodable(),
        _ => return response,
    };
    Status::from(failure).into_http()
}

/// With the encodings that are known, as gRPC's specification of compression asks.
fn compression_unknown(headers: &HeaderMap) -> Response<Body> {
    let mut response = Status::from(Failure::compression_unknown()).into_http();
    if let Some(known) = headers.get(ACCEPT_ENCODING) {
        response.headers_mut().insert(ACCEPT_ENCODING, known.clone());
    }
    response
}

fn is_decoding_error(message: &str) -> bool {
    ["failed to decode Protobuf message", "Unexpected EOF", "Missing request message", "protocol error"]
        .iter()
        .any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kith_log::RecordId;
    use kith_runtime::Runtime;
    use tonic_types::StatusExt;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::auth::{Authentication, TokenIssuer};
    use crate::deadline::Deadline;
    use crate::keys::{JWKS_FILE, KeyFolder};

    struct Suite {
        metrics: Metrics,
        edge: Edge,
        issuer: TokenIssuer,
        _keys: tempfile::TempDir,
    }

    fn suite() -> Suite {
        let runtime = Runtime::simulated(1, 1_700_000_000_000);
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&runtime).unwrap();
        let verifier = Verifier::open(folder.path().join(JWKS_FILE), runtime.clone()).unwrap();
        let issuer = TokenIssuer::new(keys.signing_key().unwrap(), runtime);
        let metrics = Metrics::default();
        let edge = Edge::new(&metrics, verifier, DeadlineRules::default()).unwrap();
        Suite { metrics, edge, issuer, _keys: folder }
    }

    async fn call<S>(edge: &Edge, headers: &[(&str, &str)], handler: S) -> Status
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let mut request = Request::post("/kith.identity.v1.AccountService/GetAccount");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = edge.layer(handler).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
    }

    async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
        Ok(Response::new(Body::empty()))
    }

    async fn never(_: Request<Body>) -> Result<Response<Body>, Infallible> {
        std::future::pending().await
    }

    fn reason(status: &Status) -> String {
        status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn handlers_find_their_deadline_and_their_caller() {
        let suite = suite();
        let token = suite.issuer.issue(RecordId([7; 16])).unwrap().text;
        let handler = service_fn(|request: Request<Body>| {
            let deadline = request.extensions().get::<Deadline>().copied().unwrap();
            assert_eq!(deadline.remaining(), Duration::from_millis(998));
            let authentication = request.extensions().get::<Authentication>().copied().unwrap();
            assert!(matches!(authentication, Authentication::Caller(caller) if caller.account_id == RecordId([7; 16])));
            ok(request)
        });
        let headers = [("grpc-timeout", "1S"), ("authorization", &*format!("Bearer {token}"))];
        assert_eq!(call(&suite.edge, &headers, handler).await.code(), Code::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_loses_to_its_deadline() {
        let suite = suite();
        let started = Instant::now();
        let status = call(&suite.edge, &[("grpc-timeout", "2S")], service_fn(never)).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
        assert!((1_990..2_000).contains(&started.elapsed().as_millis()), "before the caller gives up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_deadline_never_reaches_the_handler() {
        let suite = suite();
        let handler = service_fn(|_| async { panic!("called") });
        let status = call(&suite.edge, &[("grpc-timeout", "5x")], handler).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "FIELD_INVALID"));
        let status = call(&suite.edge, &[("grpc-timeout", "1m")], handler).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_TOO_SHORT"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_shed_at_once_and_counted() {
        let suite = suite();
        let held = suite.edge.shared.in_flight.clone().try_acquire_many_owned(RPCS_IN_FLIGHT as u32).unwrap();
        let status = call(&suite.edge, &[], service_fn(ok)).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "OVERLOADED"));
        assert!(status.get_details_retry_info().is_some());
        drop(held);
        assert_eq!(call(&suite.edge, &[], service_fn(ok)).await.code(), Code::Ok);
        let text = suite.metrics.encode().unwrap();
        for status in ["OK", "RESOURCE_EXHAUSTED"] {
            let labels =
                format!(r#"rpc_method="kith.identity.v1.AccountService/GetAccount",rpc_status_code="{status}""#);
            assert!(text.contains(&format!("duration_seconds_count{{{labels}}} 1")), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_goes_away_is_counted_and_gives_its_place_back() {
        let suite = suite();
        let gone = tokio::time::timeout(Duration::from_millis(50), call(&suite.edge, &[], service_fn(never))).await;
        assert!(gone.is_err());
        assert_eq!(suite.edge.shared.in_flight.available_permits(), RPCS_IN_FLIGHT);
        assert!(suite.metrics.encode().unwrap().contains(r#"rpc_status_code="CANCELLED""#));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_held_until_the_answer_is_taken() {
        let suite = suite();
        let places = || suite.edge.shared.in_flight.available_permits();
        let handler = service_fn(|_| async { Ok(Response::new(Body::new(http_body_util::Full::from("answer")))) });
        let request = Request::post("/kith.identity.v1.AccountService/GetAccount").body(Body::empty()).unwrap();
        let response = suite.edge.layer(handler).oneshot(request).await.unwrap();
        assert_eq!(places(), RPCS_IN_FLIGHT - 1);
        let idle = suite.edge.idle();
        assert!(tokio::time::timeout(Duration::from_secs(1), idle).await.is_err());
        drop(response);
        assert_eq!(places(), RPCS_IN_FLIGHT);
        suite.edge.idle().await;
    }

    #[tokio::test(start_paused = true)]
    async fn headers_over_the_limit_never_reach_the_handler() {
        let suite = suite();
        let handler = service_fn(|_| async { panic!("called") });
        let status = call(&suite.edge, &[("x-large", &"x".repeat(REQUEST_HEADER_BYTES))], handler).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "HEADERS_TOO_LARGE"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_tonic_answers_by_itself_gets_a_reason() {
        let suite = suite();
        for (status, code, expected) in [
            (Status::unimplemented(""), Code::Unimplemented, "METHOD_UNKNOWN"),
            (
                Status::unimplemented("Content is compressed with `gzip` ..."),
                Code::Unimplemented,
                "COMPRESSION_UNKNOWN",
            ),
            (Status::internal("failed to decode Protobuf message: x"), Code::InvalidArgument, "REQUEST_MALFORMED"),
            (
                Status::out_of_range("Error, decoded message length too large: found 9 bytes"),
                Code::InvalidArgument,
                "REQUEST_TOO_LARGE",
            ),
            (Status::from(Failure::text_empty("text")), Code::InvalidArgument, "TEXT_EMPTY"),
            (Status::internal("a defect"), Code::Internal, ""),
        ] {
            let handler = service_fn(move |_| std::future::ready(Ok(status.clone().into_http())));
            let status = call(&suite.edge, &[], handler).await;
            assert_eq!((status.code(), &*reason(&status)), (code, expected));
        }
    }
}
