//! The process's own messages and its traces: structured lines on standard error, spans over OTLP when it is set.

use std::io::IsTerminal;
use std::time::Duration;

use kith_runtime::Runtime;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogFormat, Settings};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const TRACED_LEVEL: &str = "info";
/// Transports and the embedded store log nothing useful below this level, and the exporter's own calls would trace
/// themselves. h2 warns of every connection that it closes for too many cancelled calls: callers could fill a disk with that.
const QUIET: [&str; 8] = [
    "h2=error",
    "hyper=warn",
    "hyper_util=warn",
    "tonic=warn",
    "tower=warn",
    "opentelemetry=warn",
    "fjall=warn",
    "lsm_tree=warn",
];

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
        // Traces do not depend on the log level.
        let traced = filter(TRACED_LEVEL)?;
        let traces = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("kith"));
            let layer = layer.with_location(false).with_threads(false).with_target(false);
            layer.with_tracked_inactivity(false).with_filter(traced)
        });
        let lines = lines(settings.log_format).with_filter(filter(settings.log_level.as_str())?);
        Registry::default().with(lines).with(traces).try_init()?;
        Ok(Self { provider })
    }

    /// Sends pending spans, within about `EXPORT_TIMEOUT` (5 s). Spans that cannot be sent are lost, with a message.
    pub async fn flush(self, runtime: &Runtime) {
        let Some(provider) = self.provider else { return };
        // The exporter blocks until its thread has answered.
        let ended = runtime.blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Colours only on a terminal, not for a file or a collector. NO_COLOR is respected.
fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text if std::io::stderr().is_terminal() => layer.boxed(),
        LogFormat::Text => layer.with_ansi(false).boxed(),
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
