use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kith_log::{
    AppendError, EventLog, Header, LogError, LogPartition, NewRecord, Offset, Position, RecordId, Topic, headers,
};
use kith_proto::{Event, time};
use kith_runtime::{Runtime, UnixMicros, UnixMillis};
use prometheus_client::metrics::histogram::Histogram;
use tracing::Instrument;

use crate::engine::head_of;
use crate::metrics::timed;
use crate::rules::{FIRST_EVENTS, made_at, needs};
use crate::{Cause, trace};

/// Appends events as CloudEvents (Kafka binding, binary mode).
#[derive(Clone)]
pub struct Publisher {
    log: Arc<dyn EventLog>,
    runtime: Runtime,
    /// `ce_source`: `/kith/posts`.
    source: Arc<str>,
    took: Option<Histogram>,
    /// The recent appends of this and its clones.
    own: Arc<OwnAppends>,
}

/// What this process appended last, per partition.
#[derive(Default)]
struct OwnAppends(Mutex<BTreeMap<LogPartition, BTreeMap<Offset, OwnAppend>>>);

/// What the answer to a command depends on, beside the rows that it was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependsOn {
    /// Names a part of the state: a record about the same part that is not folded yet may change the answer.
    pub part: u64,
    /// `Some`: the fold dates the record later than all others with this number, which stands for their key.
    pub rises_under: Option<u64>,
}

/// A record that this process appended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OwnAppend {
    id: RecordId,
    time: UnixMicros,
    depends_on: DependsOn,
}

/// Appends kept per partition: more than a fold without lag has pending.
const OWN_APPENDS_KEPT: usize = 4_096;

impl Publisher {
    pub fn new(log: Arc<dyn EventLog>, runtime: Runtime, service: &str) -> Self {
        Self { log, runtime, source: format!("/kith/{service}").into(), took: None, own: Arc::default() }
    }

    /// With the duration of each append recorded.
    pub(crate) fn timed(self, took: Histogram) -> Self {
        Self { took: Some(took), ..self }
    }

    /// Whether this publisher appended every record between `next`, the first offset that is not in the tables, and the
    /// record at `position`, none under that record's id, none about the same part, and none that moves its time. Then the
    /// state that its command was decided on was still current at the record, and no copy precedes it. False if that is
    /// unknown, also if a fold appended a fact, which it does by its own publisher.
    pub fn appended_alone(&self, position: Position, next: Offset) -> bool {
        if next >= position.offset {
            return true;
        }
        let all = self.own.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get(&position.partition) else { return false };
        let Some(this) = own.get(&position.offset) else { return false };
        let mut between = own.range(next..position.offset);
        let count = position.offset - next;
        (next..position.offset)
            .all(|offset| between.next().is_some_and(|(&at, other)| at == offset && this.is_apart(other, count)))
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The last record now of the partition of `key`; `None`: it has none.
    pub async fn last(&self, topic: Topic, key: &str) -> Result<Option<Position>, LogError> {
        let partition = LogPartition::of_key(topic, key, self.log.partition_count());
        let head = head_of(&*self.log, partition).await?;
        Ok(head.checked_sub(1).map(|offset| Position { partition, offset }))
    }

    /// When the record at `position` was written, by its `ce_time`; `None`: unknown.
    pub async fn time_of(&self, position: Position) -> Result<Option<UnixMillis>, LogError> {
        let mut reader = self.log.read(position.partition, position.offset).await?;
        let Some(records) = reader.next().await else { return Ok(None) };
        let record = records?.into_iter().find(|record| record.position == position);
        Ok(record.as_ref().and_then(made_at))
    }

    /// Appends `event` under `key`. Durable when it returns; a future dropped half way may still have appended.
    pub async fn append(
        &self,
        topic: Topic,
        key: &str,
        id: RecordId,
        event: &Event,
        cause: &Cause,
    ) -> Result<Position, AppendError> {
        self.append_command(DependsOn { part: 0, rises_under: None }, topic, key, id, event, cause).await
    }

    /// As [`Self::append`], for a command with such an answer.
    pub async fn append_command(
        &self,
        depends_on: DependsOn,
        topic: Topic,
        key: &str,
        id: RecordId,
        event: &Event,
        cause: &Cause,
    ) -> Result<Position, AppendError> {
        debug_assert_eq!(topic.name, event.topic_name());
        let span = trace::send_span(topic, cause);
        let trace_parent = trace::trace_parent(&span).or_else(|| cause.trace_parent.clone());
        let headers = self.headers(id, event, &Cause { trace_parent, ..cause.clone() });
        let value = Bytes::from(event.encode());
        let record = NewRecord { topic, key: key.to_owned(), headers, value };
        // Noted by the log, not when this task runs again: a command may ask about the appends before its own at once.
        let (own, append) = (Arc::clone(&self.own), OwnAppend { id, time: time::unix_us(event.time()), depends_on });
        let note = Box::new(move |position| own.note(position, append));
        let append = self.log.append_noted(record, note).instrument(span.clone());
        let appended = match &self.took {
            Some(took) => timed(took, append).await,
            None => append.await,
        };
        trace::sent(&span, &appended);
        appended
    }

    fn headers(&self, id: RecordId, event: &Event, cause: &Cause) -> Vec<Header> {
        let header = |name: &str, value: String| Header::new(name, value);
        let fixed = |name: &str, value: &'static str| Header::new(name, value);
        let mut all = vec![
            fixed(headers::SPEC_VERSION, "1.0"),
            header(headers::ID, id.to_string()),
            header(headers::SOURCE, self.source.to_string()),
            fixed(headers::TYPE, event.type_name()),
            header(headers::TIME, rfc3339(self.runtime.now_ms())),
            header(headers::SUBJECT, event.subject().to_owned()),
            fixed(headers::CONTENT_TYPE, "application/protobuf"),
        ];
        let needed = needs(event);
        if needed > FIRST_EVENTS {
            all.push(header(headers::READER, needed.to_string()));
        }
        all.push(header(headers::CORRELATION_ID, cause.correlation.unwrap_or(id).to_string()));
        if let Some(causation) = cause.causation {
            all.push(header(headers::CAUSATION_ID, causation.to_string()));
        }
        if let Some(trace_parent) = &cause.trace_parent {
            all.push(header(headers::TRACE_PARENT, trace_parent.clone()));
        }
        if let Some(principal) = &cause.principal {
            all.push(header(headers::PRINCIPAL, principal.to_string()));
        }
        all
    }
}

impl OwnAppend {
    /// Whether `other`, one of `count` records right before this one, changes nothing of this one's answer.
    fn is_apart(&self, other: &Self, count: u64) -> bool {
        // Each of them may be dated one microsecond after the one before it.
        let moved = other.time.saturating_add_unsigned(count);
        let rises = self.depends_on.rises_under;
        let moves = rises.is_some() && rises == other.depends_on.rises_under && moved >= self.time;
        other.id != self.id && other.depends_on.part != self.depends_on.part && !moves
    }
}

impl OwnAppends {
    fn note(&self, position: Position, append: OwnAppend) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(position.partition).or_default();
        own.insert(position.offset, append);
        if own.len() > OWN_APPENDS_KEPT {
            own.pop_first();
        }
    }
}

/// RFC 3339 in UTC; a time that no calendar holds is given as the epoch.
fn rfc3339(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(id: u8, part: u64, rises_under: Option<u64>, time: UnixMicros) -> OwnAppend {
        OwnAppend { id: RecordId([id; 16]), time, depends_on: DependsOn { part, rises_under } }
    }

    #[test]
    fn what_moves_an_answer_is_not_apart() {
        let this = own(1, 7, Some(3), 100);
        assert!(this.is_apart(&own(2, 8, None, 500), 1));
        assert!(this.is_apart(&own(2, 8, Some(4), 500), 1), "under another key");
        assert!(this.is_apart(&own(2, 8, Some(3), 98), 1));
        assert!(!this.is_apart(&own(2, 8, Some(3), 98), 2), "another one may have moved that one");
        assert!(!this.is_apart(&own(2, 8, Some(3), 500), 1), "dated later, and before it in the log");
        assert!(!this.is_apart(&own(1, 8, None, 98), 1) && !this.is_apart(&own(2, 7, None, 98), 1));
        assert!(own(1, 7, None, 100).is_apart(&own(2, 8, None, 500), 1));
    }
}
