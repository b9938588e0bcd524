//! What is counted, logged and traced of a call.

use http::{HeaderMap, Request};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{Span, field};

use crate::auth::Authentication;
use crate::metrics::{RpcMethod, RpcMetrics, code_name};
use crate::trace_context::{self, TRACE_PARENT};

/// Counts the call when it ends, also when the caller goes away and the future is dropped.
pub(super) struct Call<'a> {
    pub rpcs: &'a RpcMetrics,
    pub method: RpcMethod,
    pub started: Instant,
    pub code: Code,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.rpcs.observe(&self.method, self.code, took);
        Span::current().record("rpc.status_code", code_name(self.code));
        tracing::debug!(method = self.method.name(), status = code_name(self.code), took_us = took.as_micros(), "rpc");
    }
}

/// By OpenTelemetry's conventions for RPCs, and the calling service's name. Without the account's identity or an address.
pub(super) fn span_of(method: &RpcMethod, request: &Request<Body>) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = method.name(),
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method.name(),
        rpc.status_code = field::Empty,
        kith.principal = field::Empty,
    );
    if let Some(principal) = request.extensions().get::<Authentication>().and_then(Authentication::principal) {
        span.record("kith.principal", &**principal.name());
    }
    if let Some(parent) = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok()) {
        trace_context::set_parent(&span, parent);
    }
    span
}

/// The status in the headers or trailers of a response. One that comes later, after a stream, is not seen here.
pub(super) fn code_in(headers: &HeaderMap) -> Code {
    headers.get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}
