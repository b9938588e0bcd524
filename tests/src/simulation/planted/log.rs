//! Defects of the log, and of how it is used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_fold::{EVENTS, FIRST_EVENTS};
use kith_log::{
    AppendError, EventLog, LogError, LogPartition, Membership, NewRecord, Note, Offset, PartitionIndex, Position,
    Record, RecordReader, Topic, headers,
};
use kith_proto::Event;
use kith_proto::ops::v1::ops_event::Event as Ops;
use kith_proto::ops::v1::{EventsOpened, RebuildStarted};
use kith_runtime::Runtime;
use tokio::sync::mpsc;

use super::Planted;

const LATE: Duration = Duration::from_millis(80);
/// Of so many records one is missed, or never made.
const ONE_OF: u64 = 12;

pub(super) fn wrap(defect: Planted, inner: Arc<dyn EventLog>, runtime: Runtime) -> Arc<dyn EventLog> {
    Arc::new(PlantedLog { defect, inner, runtime })
}

struct PlantedLog {
    defect: Planted,
    inner: Arc<dyn EventLog>,
    runtime: Runtime,
}

struct PlantedMembership {
    defect: Planted,
    /// Only ever used by the one who has it: a mutex because `report` takes it shared.
    inner: Mutex<Box<dyn Membership>>,
    runtime: Runtime,
}

/// Passes on what `reader` gives, with gaps, or changed.
fn distorted(defect: Planted, mut reader: RecordReader, runtime: &Runtime) -> RecordReader {
    if defect == Planted::OkBeforeDurable {
        return reader;
    }
    let (sender, batches) = mpsc::channel(1);
    let partition = reader.partition;
    let is_missed =
        move |record: &Record| defect == Planted::ReaderSkips && record.position.offset % ONE_OF == ONE_OF / 2;
    runtime.spawn(async move {
        loop {
            let next = tokio::select! {
                biased;
                () = sender.closed() => return,
                next = reader.next() => next,
            };
            let Some(next) = next else { return };
            let next = next.map(|records| {
                let kept = records.into_iter().filter(|record| !is_missed(record));
                kept.map(|record| changed(defect, record)).collect::<Vec<_>>()
            });
            if next.as_ref().is_ok_and(Vec::is_empty) {
                continue;
            }
            if sender.send(next).await.is_err() {
                return;
            }
        }
    });
    RecordReader::new(partition, batches)
}

fn changed(defect: Planted, record: Record) -> Record {
    match defect {
        Planted::OldFoldsNew => as_own(record),
        Planted::NewerFolded => as_understood(unopened(record)),
        Planted::RulesUnopened => unopened(record),
        _ => record,
    }
}

/// Nothing says that a record needs a later version of the events.
fn as_understood(record: Record) -> Record {
    let headers = record.headers.iter().filter(|header| *header.name != *headers::READER).cloned().collect();
    match Event::decode(record.position.partition.topic.name, &record.value) {
        Ok(mut event) if event.rules().is_some() => {
            event.set_rules(FIRST_EVENTS);
            with(Record { headers, ..record }, event)
        }
        _ => Record { headers, ..record },
    }
}

/// Nothing says that a later version of the events was opened.
fn unopened(record: Record) -> Record {
    match decision(&record) {
        Some(Ops::EventsOpened(event)) => with(record, EventsOpened { version: event.version.min(EVENTS), ..event }),
        _ => record,
    }
}

fn decision(record: &Record) -> Option<Ops> {
    match Event::decode(record.position.partition.topic.name, &record.value) {
        Ok(Event::Ops(decision)) => Some(decision),
        _ => None,
    }
}

fn with(record: Record, decision: impl Into<Event>) -> Record {
    Record { value: decision.into().encode().into(), ..record }
}

/// Every generation is said to be of the first folds.
fn as_own(record: Record) -> Record {
    match decision(&record) {
        Some(Ops::RebuildStarted(event)) => with(record, RebuildStarted { folds_version: 1, ..event }),
        _ => record,
    }
}

#[async_trait]
impl EventLog for PlantedLog {
    fn partition_count(&self) -> PartitionIndex {
        self.inner.partition_count()
    }

    async fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.inner.create_topics(topics).await
    }

    async fn check_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        self.inner.check_topics(topics).await
    }

    async fn append_noted(&self, record: NewRecord, note: Note) -> Result<Position, AppendError> {
        if self.defect != Planted::OkBeforeDurable {
            return self.inner.append_noted(record, note).await;
        }
        let partition = LogPartition::of_key(record.topic, &record.key, self.partition_count());
        let heads = self.inner.heads(record.topic).await.map_err(|error| AppendError::Refused(error.to_string()))?;
        let offset = heads.get(usize::from(partition.index)).copied().unwrap_or(0);
        let (inner, runtime) = (Arc::clone(&self.inner), self.runtime.clone());
        self.runtime.spawn(async move {
            runtime.sleep(LATE).await;
            if offset % ONE_OF != ONE_OF / 2 {
                // Nobody is told.
                let _ = inner.append(record).await;
            }
        });
        note(Position { partition, offset });
        Ok(Position { partition, offset })
    }

    async fn heads(&self, topic: Topic) -> Result<Vec<Offset>, LogError> {
        self.inner.heads(topic).await
    }

    async fn read(&self, partition: LogPartition, from: Offset) -> Result<RecordReader, LogError> {
        let reader = self.inner.read(partition, from).await?;
        Ok(distorted(self.defect, reader, &self.runtime))
    }

    async fn join(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Membership>, LogError> {
        let (defect, runtime) = (self.defect, self.runtime.clone());
        let inner = Mutex::new(self.inner.join(group, topics).await?);
        Ok(Box::new(PlantedMembership { defect, inner, runtime }))
    }

    async fn close(&self, within: Duration) {
        self.inner.close(within).await;
    }
}

#[async_trait]
impl Membership for PlantedMembership {
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError> {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).assigned().await
    }

    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError> {
        let readers = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).start(from).await?;
        Ok(readers.into_iter().map(|reader| distorted(self.defect, reader, &self.runtime)).collect())
    }

    async fn report(&self, _next: &[(LogPartition, Offset)]) {}
}
