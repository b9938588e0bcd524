//! The dead letters of the log, each once: the same letter may be there several times (its service's tables were
//! dropped and folded again), and the first one counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kith_fold::LetterFate;
use kith_log::{EventLog, Header, LogPartition, Position, Record, RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::deadletters::v1::DeadLetter;
use kith_proto::ops::v1::{DeadLetterState, DeadLetterSummary};
use kith_service::Failure;
use kith_service::deadline::Deadline;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout_at;

use super::scan::{Place, look};
use super::{letter_not_found, shown};

/// Letters that one process knows of, some 30 MB.
const KNOWN_LETTERS: usize = 100_000;
/// A decoder's message is shorter; another writer's could be longer.
const REASON_BYTES: usize = 500;

const NO_SUCH_ORIGIN: &str = "names a record that the log does not hold";

/// The letter's own fields, without the record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub id: RecordId,
    /// The letter's place.
    pub place: Place,
    pub origin: Origin,
    reason: String,
    set_aside_ms: Option<i64>,
}

/// The place of its record, as the letter claims: any program can write into the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

/// A record's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub key: Bytes,
    pub headers: Vec<Header>,
    pub value: Bytes,
}

/// The letters of a log; each call reads only new ones, so that none is read twice.
pub struct Letters {
    log: Arc<dyn EventLog>,
    known: Mutex<Known>,
}

/// The letters read so far.
#[derive(Default)]
pub struct Known {
    next: Vec<Place>,
    by_place: BTreeMap<Place, Letter>,
    by_id: BTreeMap<RecordId, Place>,
    /// There are more than [`KNOWN_LETTERS`].
    overflowed: bool,
}

impl Letters {
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        let place = |partition| Place { partition, offset: 0 };
        let next = (0..log.partition_count()).map(place).collect();
        Self { log, known: Mutex::new(Known { next, ..Known::default() }) }
    }

    /// All letters that the log had at the time of the call. DEADLINE_EXCEEDED: the next call continues from there.
    pub async fn known(&self, until: Deadline) -> Result<MutexGuard<'_, Known>, Failure> {
        let late = |_| Failure::deadline_exceeded();
        let mut known = timeout_at(until.at(), self.known.lock()).await.map_err(late)?;
        loop {
            let places = known.next.clone();
            let looked = look(&*self.log, topics::DEAD_LETTERS, &places, until, |record| {
                known.take(record);
                true
            });
            if looked.await?.next.is_none() {
                return Ok(known);
            }
            if until.remaining().is_zero() {
                return Err(Failure::deadline_exceeded());
            }
        }
    }

    pub async fn get(&self, id: RecordId, until: Deadline) -> Result<Letter, Failure> {
        let known = self.known(until).await?;
        let place = known.by_id.get(&id).and_then(|place| known.by_place.get(place));
        match place {
            Some(letter) => Ok(letter.clone()),
            None if known.overflowed => Err(too_many()),
            None => Err(letter_not_found()),
        }
    }

    /// The record's content as operators may see it: nothing of a record of a confidential topic.
    pub async fn shown_content(&self, letter: &Letter, until: Deadline) -> Result<Content, Failure> {
        if letter.origin.is_confidential() {
            return Ok(Content::default());
        }
        self.content(letter, until).await
    }

    /// The record's content. If a letter lacks it (a record of a private topic, or a too large one), it is read at the
    /// record's place.
    pub async fn content(&self, letter: &Letter, until: Deadline) -> Result<Content, Failure> {
        let record = self.record(topics::DEAD_LETTERS, letter.place, until).await?;
        let Some(DeadLetter { key, headers, value, .. }) = decoded(&record) else { return Err(letter_not_found()) };
        let headers = headers.into_iter().map(|header| Header::new(&header.name, header.value)).collect();
        let content = Content { key, headers, value };
        if content != Content::default() && !letter.origin.is_private() {
            return Ok(content);
        }
        let at = letter.origin.position().ok_or_else(|| Failure::dead_letter_state(NO_SUCH_ORIGIN))?;
        let place = Place { partition: at.partition.index, offset: at.offset };
        let Record { key, headers, value, .. } = self.record(at.partition.topic, place, until).await?;
        Ok(Content { key, headers, value })
    }

    async fn record(&self, topic: Topic, place: Place, until: Deadline) -> Result<Record, Failure> {
        let mut found = None;
        look(&*self.log, topic, &[place], until, |record| {
            found = Some(record.clone());
            false
        })
        .await?;
        let found = found.filter(|record| record.position.offset == place.offset);
        found.ok_or_else(|| Failure::dead_letter_state(NO_SUCH_ORIGIN))
    }
}

impl Known {
    fn take(&mut self, record: &Record) {
        let Position { partition, offset } = record.position;
        let place = Place { partition: partition.index, offset };
        if let Some(next) = self.next.get_mut(usize::from(partition.index)) {
            next.offset = offset + 1;
        }
        // A record of the topic that is no letter is visible there, but no command applies to it.
        let (Some(id), Some(letter)) = (record.id(), decoded(record)) else { return };
        if self.by_id.contains_key(&id) {
            return;
        }
        if self.by_id.len() == KNOWN_LETTERS {
            self.overflowed = true;
            return;
        }
        self.by_id.insert(id, place);
        self.by_place.insert(place, Letter::of(record, id, place, letter));
    }

    /// Those after `after`, in their order.
    pub fn after(&self, after: Option<Place>) -> impl Iterator<Item = &Letter> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_place.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, letter)| letter)
    }

    /// The end of a list; an error if there are more letters than are known.
    pub fn end(&self) -> Result<(), Failure> {
        if self.overflowed { Err(too_many()) } else { Ok(()) }
    }
}

impl Letter {
    fn of(record: &Record, id: RecordId, place: Place, letter: DeadLetter) -> Self {
        let mut reason = letter.reason;
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        let origin =
            Origin { topic: letter.origin_topic, partition: letter.origin_partition, offset: letter.origin_offset };
        let said = letter.record_time.map(|time| kith_proto::time::unix_ms(Some(&time)));
        Self { id, place, origin, reason, set_aside_ms: said.or_else(|| shown::record_ms(record)) }
    }

    pub fn summary(&self, fate: Option<LetterFate>) -> DeadLetterSummary {
        let (state, retried_as_record_id, discard_note) = match fate {
            None => (DeadLetterState::Open, String::new(), String::new()),
            Some(LetterFate::Retried(record)) => (DeadLetterState::Retried, record, String::new()),
            Some(LetterFate::Discarded(note)) => (DeadLetterState::Discarded, String::new(), note),
        };
        DeadLetterSummary {
            letter_id: self.id.to_string(),
            origin_topic: self.origin.topic.clone(),
            origin_partition: self.origin.partition,
            origin_offset: self.origin.offset,
            reason: self.reason.clone(),
            set_aside_time: self.set_aside_ms.map(kith_proto::time::timestamp),
            state: state.into(),
            retried_as_record_id,
            discard_note,
        }
    }
}

impl Origin {
    fn is_confidential(&self) -> bool {
        topics::by_name(&self.topic).is_some_and(Topic::is_confidential)
    }

    pub fn is_private(&self) -> bool {
        topics::by_name(&self.topic).is_some_and(Topic::is_private)
    }

    /// `None`: it names no place of this suite.
    pub fn position(&self) -> Option<Position> {
        let (topic, index) = (topics::by_name(&self.topic)?, self.partition.try_into().ok()?);
        Some(Position { partition: LogPartition { topic, index }, offset: self.offset })
    }
}

fn decoded(record: &Record) -> Option<DeadLetter> {
    match Event::decode(topics::DEAD_LETTERS.name, &record.value) {
        Ok(Event::DeadLetter(letter)) => Some(letter),
        _ => None,
    }
}

fn too_many() -> Failure {
    Failure::new(
        kith_proto::errors::v1::Reason::Overloaded,
        format!("there are more than {KNOWN_LETTERS} dead letters; only the first can be looked at"),
    )
    .with("limit", KNOWN_LETTERS)
}

#[cfg(test)]
impl Letter {
    pub fn in_test(id: RecordId, origin: Origin) -> Self {
        Self { id, place: Place { partition: 0, offset: 0 }, origin, reason: String::new(), set_aside_ms: None }
    }
}
