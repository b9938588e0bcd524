use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::Record;

/// The span in which a record is folded, a child of the request that made it; none when that was not traced.
pub(crate) fn process_span(record: &Record) -> Span {
    let Some(parent) = record.trace_parent.as_deref().and_then(span_context) else { return Span::none() };
    let at = record.position;
    let span = tracing::info_span!(
        "process",
        messaging.destination.name = at.partition.topic.name,
        messaging.destination.partition.id = at.partition.index,
        messaging.kafka.offset = at.offset,
    );
    // A span that no OpenTelemetry layer sees has no context to set.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    span
}

/// W3C trace context: `00-<32 hex>-<16 hex>-<2 hex>`.
fn span_context(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}
