use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kith_runtime::Runtime;
use kith_tests::wait;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;

/// An OTLP collector that keeps what it gets.
#[derive(Clone)]
pub struct Collector {
    address: SocketAddr,
    exports: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

/// What tests look at of a span. Ids in hexadecimal; a root has an empty parent.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: Kind,
    attributes: BTreeMap<String, String>,
}

impl Collector {
    /// One on a free port, for as long as the test's runtime lives.
    pub async fn start() -> Self {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let collector = Self { address: incoming.local_addr().unwrap(), exports: Arc::default() };
        let service = TraceServiceServer::new(collector.clone());
        Runtime::system().spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        collector
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that are meant, once there are at least so many.
    pub async fn trace(&self, within: Duration, is_meant: impl Fn(&Span) -> bool, at_least: usize) -> Vec<Span> {
        let mut seen = Vec::new();
        let arrived = wait::until("the spans have arrived", within, async || {
            seen = self.spans();
            let meant: Vec<Span> = seen.iter().filter(|span| is_meant(span)).cloned().collect();
            Ok((meant.len() >= at_least).then_some(meant))
        });
        match arrived.await {
            Ok(meant) => meant,
            Err(error) => panic!("{error}, but {seen:#?}"),
        }
    }

    /// Whether `text` stands anywhere in what was received.
    pub fn was_sent(&self, text: &str) -> bool {
        let exports = self.exports.lock().unwrap();
        let bytes = exports.iter().map(Message::encode_to_vec);
        bytes.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().unwrap();
        let scopes = exports.iter().flat_map(|export| &export.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(Span::of).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.exports.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Span {
    fn of(span: &otlp::Span) -> Self {
        let text = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let value = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| {
            attribute.value.as_ref().and_then(|value| value.value.as_ref()).map(text).unwrap_or_default()
        };
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind(),
            attributes: span.attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect(),
        }
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub fn assert_attributes(&self, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            assert_eq!(self.attribute(name), Some(*value), "{name} of {self:#?}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
