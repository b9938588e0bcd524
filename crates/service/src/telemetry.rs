//! The process's own messages and its traces: structured lines on standard error, spans over OTLP when it is set.

use std::time::Duration;

use kith_runtime::Runtime;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogFormat, Settings};

/// W3C trace context, in metadata and in record headers.
pub const TRACE_PARENT: &str = "traceparent";
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Transports below this level say nothing that helps, and the exporter's own calls would trace themselves.
const QUIET: [&str; 6] = ["h2=warn", "hyper=warn", "hyper_util=warn", "tonic=warn", "tower=warn", "opentelemetry=warn"];

/// Keep it until the process ends, then [`Telemetry::flush`] it.
#[must_use = "traces are lost unless it is flushed"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`log_level` is not a level or a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("`otlp_endpoint` is not usable: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("telemetry was started twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Starts it for this process, once, inside tokio's runtime. `name` is the process as traces show it.
    pub fn start(settings: &Settings, name: &str) -> Result<Self, TelemetryError> {
        let provider = match settings.otlp_endpoint.as_str() {
            "" => None,
            endpoint => Some(otlp_provider(endpoint, name)?),
        };
        let traces = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer().with_tracer(provider.tracer("kith")).with_location(false).boxed()
        });
        let lines: Box<dyn Layer<_> + Send + Sync> = match settings.log_format {
            LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).boxed(),
        };
        Registry::default().with(filter(&settings.log_level)?).with(lines).with(traces).try_init()?;
        Ok(Self { provider })
    }

    /// Sends what is still here, within about `EXPORT_TIMEOUT` (5 s). What cannot be sent is lost, and said.
    pub async fn flush(self, runtime: &Runtime) {
        let Some(provider) = self.provider else { return };
        // The exporter blocks until its thread has answered.
        let ended = runtime.blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// The current span as a `traceparent`, to be sent along; `None` when nothing is traced.
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// `span` as a `traceparent`; `None` when it is not traced.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut carrier = Carrier(String::new());
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    (!carrier.0.is_empty()).then_some(carrier.0)
}

/// Makes `span`, not yet entered, a child of the remote span that `traceparent` names. One that cannot be read, or a
/// process that does not trace, changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    let parent = TraceContextPropagator::new().extract(&Carrier(traceparent.to_owned()));
    if parent.span().span_context().is_valid() {
        // It fails only when nothing is traced, or the span has started: then it keeps the parent that it has.
        let _ = span.set_parent(parent);
    }
}

/// The id of the current trace, to be shown to callers and operators.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let id = span.span_context();
    id.is_valid().then(|| id.trace_id().to_string())
}

struct Carrier(String);

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACE_PARENT).then_some(&self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACE_PARENT {
            self.0 = value;
        }
    }
}

/// The most specific directive wins, so an operator can still ask for `info,h2=debug`.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let quiet = QUIET.iter().filter(|directive| !level.contains(directive.split('=').next().unwrap_or_default()));
    let directives: Vec<&str> = quiet.copied().chain([level]).collect();
    Ok(EnvFilter::try_new(directives.join(","))?)
}

fn otlp_provider(endpoint: &str, name: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let resource = Resource::builder().with_service_name(name.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_from_its_parent() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let span = tracing::info_span!("rpc");
            set_parent(&span, PARENT);
            let _entered = span.enter();
            let child = traceparent().unwrap();
            assert_eq!(child[..36], PARENT[..36], "the trace is the same");
            assert_ne!(child, PARENT, "the span is another");
            assert_eq!(trace_id().as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        });
    }

    #[test]
    fn an_unreadable_parent_is_as_none() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            for bad in ["", "00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "\u{0}"] {
                let span = tracing::info_span!("rpc");
                set_parent(&span, bad);
                assert!(traceparent_of(&span).is_some_and(|own| own.len() == PARENT.len()));
            }
        });
    }

    #[test]
    fn without_traces_there_is_nothing_to_send_along() {
        assert_eq!((traceparent(), trace_id()), (None, None));
        set_parent(&Span::current(), PARENT);
    }

    #[test]
    fn filters_are_checked() {
        assert!(filter("info").is_ok() && filter("info,kith_fold=debug").is_ok() && filter("debug,h2=debug").is_ok());
        assert!(filter("loud=,=").is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn flushing_sends_what_is_still_here() {
        let (called, mut calls) = tokio::sync::mpsc::channel(8);
        let collector = axum::Router::new().fallback(move |uri: http::Uri| async move {
            let _ = called.send(uri.path().to_owned()).await;
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let runtime = Runtime::system();
        runtime.spawn(axum::serve(listener, collector).into_future());

        let provider = otlp_provider(&endpoint, "kith-test").unwrap();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            drop(tracing::info_span!("rpc").entered())
        });
        Telemetry { provider: Some(provider) }.flush(&runtime).await;
        let path = calls.recv().await.unwrap();
        assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    }
}
