//! The trace of the current work: taken from a caller's metadata, and returned to callers.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// W3C trace context, in metadata.
pub const TRACE_PARENT: &str = "traceparent";

/// Makes `span`, not yet entered, a child of the remote span that `traceparent` names. One that cannot be read, or a
/// process that does not trace, changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    let parent = TraceContextPropagator::new().extract(&Carrier(traceparent));
    if parent.span().span_context().is_valid() {
        // It fails only when nothing is traced, or the span has started: then it keeps its parent.
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

struct Carrier<'a>(&'a str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACE_PARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

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
            let own = span.context().span().span_context().span_id().to_string();
            assert_ne!(own, PARENT[36..52], "the span is another");
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
                let _entered = span.enter();
                assert!(trace_id().is_some_and(|own| own != "0".repeat(32)));
            }
        });
    }

    #[test]
    fn without_traces_there_is_no_trace_to_show() {
        assert_eq!(trace_id(), None);
        set_parent(&Span::current(), PARENT);
    }
}
