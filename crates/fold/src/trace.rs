use kith_log::{AppendError, Offset, Position, Topic};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Cause, Group, Record};

/// Both logs are Kafka in what these attributes say: topics, partitions, offsets.
const SYSTEM: &str = "kafka";

/// The span in which a record is appended, a child of its cause's span; none if that is not traced. It contains no key
/// and no value: they are personal data.
pub(crate) fn send_span(topic: Topic, cause: &Cause) -> Span {
    let parent = cause.trace_parent.as_deref().and_then(span_context);
    if parent.is_none() && trace_parent(&Span::current()).is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "send",
        otel.name = %format_args!("send {}", topic.name),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        messaging.system = SYSTEM,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = topic.name,
        messaging.destination.partition.id = field::Empty,
        messaging.kafka.offset = field::Empty,
    );
    follow(&span, parent);
    span
}

/// Adds the outcome to the span of [`send_span`].
pub(crate) fn sent(span: &Span, appended: &Result<Position, AppendError>) {
    match appended {
        Ok(at) => {
            span.record("messaging.destination.partition.id", field::display(at.partition.index));
            span.record("messaging.kafka.offset", number(at.offset));
        }
        Err(error) => {
            let kind = match error {
                AppendError::Refused(_) => "refused",
                AppendError::Full => "full",
                AppendError::Unknown(_) => "unknown",
            };
            span.record("error.type", kind);
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The span in which a group folds a record, a child of the one that appended it; none if that was not traced. From
/// here on the record carries this span's context, which its effects inherit.
pub(crate) fn process_span(record: &mut Record, group: &Group) -> Span {
    let Some(parent) = record.trace_parent.as_deref().and_then(span_context) else { return Span::none() };
    let at = record.position;
    let span = tracing::info_span!(
        "process",
        otel.name = %format_args!("process {}", at.partition.topic.name),
        otel.kind = "consumer",
        messaging.system = SYSTEM,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group.consumer_group(),
        messaging.destination.name = at.partition.topic.name,
        messaging.destination.partition.id = %at.partition.index,
        messaging.kafka.offset = number(at.offset),
    );
    follow(&span, Some(parent));
    record.trace_parent = trace_parent(&span).or(record.trace_parent.take());
    span
}

/// Makes `span`, not yet entered, a child of a remote one; without one it stays a child of the current span.
fn follow(span: &Span, parent: Option<SpanContext>) {
    if let Some(parent) = parent {
        // A span that no OpenTelemetry layer sees has no context to set.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// `span` as W3C trace context, to be sent along; `None` when it is not traced.
pub(crate) fn trace_parent(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
    context.is_valid().then(|| format!("00-{trace}-{span}-{flags:02x}"))
}

/// As the one kind of integer that an attribute can be.
fn number(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
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
