use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kith_log::{
    AppendError, EventLog, Header, LogError, LogPartition, NewRecord, Offset, Position, RecordId, Topic, headers,
};
use kith_proto::Event;
use kith_runtime::{Runtime, UnixMillis};
use prometheus_client::metrics::histogram::Histogram;
use tracing::Instrument;

use crate::metrics::timed;
use crate::rules::made_at;
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

/// A record that this process appended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OwnAppend {
    id: RecordId,
    /// What the answer to its command depends on, for its caller.
    about: u64,
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
    /// record at `position`, none under that record's id and none about the same thing. Then the state that its command
    /// was decided on was still current at the record, and no copy precedes it. False if that is unknown, also if a
    /// fold appended a fact, which it does by its own publisher.
    pub fn appended_alone(&self, position: Position, next: Offset) -> bool {
        if next >= position.offset {
            return true;
        }
        let all = self.own.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get(&position.partition) else { return false };
        let Some(this) = own.get(&position.offset) else { return false };
        let mut between = own.range(next..position.offset);
        let is_apart = |other: &OwnAppend| other.id != this.id && other.about != this.about;
        (next..position.offset).all(|offset| between.next().is_some_and(|(&at, other)| at == offset && is_apart(other)))
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The last record now of the partition of `key`; `None`: it has none.
    pub async fn last(&self, topic: Topic, key: &str) -> Result<Option<Position>, LogError> {
        let partition = LogPartition::of_key(topic, key, self.log.partition_count());
        let heads = self.log.heads(topic).await?;
        let head = heads.get(usize::from(partition.index)).copied().unwrap_or(0);
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
        self.append_about(0, topic, key, id, event, cause).await
    }

    /// As [`Self::append`], for a command whose answer depends on what `about` names.
    pub async fn append_about(
        &self,
        about: u64,
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
        let append = self.log.append(record).instrument(span.clone());
        let appended = match &self.took {
            Some(took) => timed(took, append).await,
            None => append.await,
        };
        trace::sent(&span, &appended);
        if let Ok(position) = &appended {
            self.own.note(*position, OwnAppend { id, about });
        }
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
        all.push(header(headers::CORRELATION_ID, cause.correlation.unwrap_or(id).to_string()));
        if let Some(causation) = cause.causation {
            all.push(header(headers::CAUSATION_ID, causation.to_string()));
        }
        if let Some(trace_parent) = &cause.trace_parent {
            all.push(header(headers::TRACE_PARENT, trace_parent.clone()));
        }
        all
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
