//! The naive model of the log: one record after the other, every id once. The nouns give the meaning of records. Pure.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_content::{Content, Opener};
use kith_fold::Token;
use kith_log::{LogPartition, Offset, PartitionIndex, Position, Record, RecordId, Topic, headers};
use kith_proto::Event;
use prost::Message;
use prost_types::Timestamp;

use super::history::{Call, Heads};
use super::nouns;

/// A record with an effect.
pub struct Fact {
    pub position: Position,
    pub id: RecordId,
    /// When it happened, microseconds: as the event says, but no later than a minute after the log took it.
    pub at: i64,
    pub event: Event,
    /// Whether no record of its id came before it.
    pub is_new: bool,
    /// The calling service that asked, as the record says.
    pub principal: Option<String>,
}

/// Something that a record made.
#[derive(Debug, Clone)]
pub struct Made {
    pub position: Position,
    /// What its maker had seen; `None`: no client was told that it made it.
    pub at_least: Option<Token>,
}

/// What the log says.
#[derive(Default)]
pub struct Model {
    partitions: PartitionIndex,
    /// What each noun has read.
    states: BTreeMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub places: BTreeMap<RecordId, Vec<Position>>,
    /// Records by partition.
    pub ends: Heads,
    /// When each record that is an event happened.
    times: BTreeMap<Position, i64>,
    /// Records with a time too far ahead, dated by the log's milliseconds.
    clamped: BTreeSet<Position>,
    /// Texts of what is made, with the ids that say them.
    pub said: BTreeMap<String, BTreeSet<String>>,
    made: BTreeMap<String, Made>,
    /// For how long a message may be edited.
    pub edit_window_us: i64,
}

/// What a record says; of a record that says nothing, nothing.
pub fn said<M: Message + Default>(content: Option<&Content>) -> M {
    content.map(|content| Opener::new().open(content)).unwrap_or_default()
}

impl Model {
    pub fn of(records: &[Record], partitions: PartitionIndex, edit_window: Duration) -> Self {
        let edit_window_us = i64::try_from(edit_window.as_micros()).unwrap_or(i64::MAX);
        let mut model = Self { partitions, edit_window_us, ..Self::default() };
        nouns::ALL.iter().for_each(|noun| noun.begin(&mut model));
        for record in records {
            let position = record.position;
            model.ends.insert(position.partition, position.offset + 1);
            let Some(id) = record.id() else { continue };
            let places = model.places.entry(id).or_default();
            places.push(position);
            let is_new = places.len() == 1;
            let Ok(event) = Event::decode(position.partition.topic.name, &record.value) else { continue };
            let at = happened_at(&event, record);
            model.times.insert(position, at);
            if at < micros(event.time()) {
                model.clamped.insert(position);
            }
            let principal = record.header(headers::PRINCIPAL).map(str::to_owned);
            let fact = Fact { position, id, at, event, is_new, principal };
            nouns::ALL.iter().for_each(|noun| noun.read(&mut model, &fact));
        }
        model
    }

    /// A token for the whole log.
    pub fn end(&self) -> Token {
        let last =
            |(&partition, end): (&LogPartition, &Offset)| Some(Position { partition, offset: end.checked_sub(1)? });
        self.ends.iter().filter_map(last).collect()
    }

    pub fn partition(&self, topic: Topic, key: &str) -> LogPartition {
        LogPartition::of_key(topic, key, self.partitions)
    }

    pub fn partitions(&self) -> PartitionIndex {
        self.partitions
    }

    /// A noun's place for what it reads.
    pub fn begin<S: Default + Send + Sync + 'static>(&mut self) {
        self.states.insert(TypeId::of::<S>(), Box::new(S::default()));
    }

    /// What a noun has read.
    ///
    /// # Panics
    /// When no noun in the registry began with it.
    #[allow(clippy::expect_used, reason = "a noun that does not begin is a mistake in a test")]
    pub fn state<S: 'static>(&self) -> &S {
        let state = self.states.get(&TypeId::of::<S>()).and_then(|state| state.downcast_ref());
        state.expect("a noun that begins")
    }

    /// As [`Self::state`].
    #[allow(clippy::expect_used, reason = "a noun that does not begin is a mistake in a test")]
    pub fn state_mut<S: 'static>(&mut self) -> &mut S {
        let state = self.states.get_mut(&TypeId::of::<S>()).and_then(|state| state.downcast_mut());
        state.expect("a noun that begins")
    }

    /// A record made `id`; `text`: what it says, if it says anything.
    pub fn makes(&mut self, id: &str, text: Option<&str>, position: Position) {
        self.made.entry(id.to_owned()).or_insert(Made { position, at_least: None });
        if let Some(text) = text {
            self.said.entry(text.to_owned()).or_default().insert(id.to_owned());
        }
    }

    pub fn made(&self, id: &str) -> Option<&Made> {
        self.made.get(id)
    }

    /// Takes in who made what, as clients were told.
    pub fn remember(&mut self, history: &[Call]) {
        for call in history.iter().filter(|call| !call.is_copy) {
            if let Some(id) = call.reply().and_then(|reply| call.op.made(&reply.answer)) {
                self.saw(&id, &call.at_least);
            }
        }
    }

    /// Who made `id` had seen that.
    pub fn saw(&mut self, id: &str, at_least: &Token) {
        if let Some(made) = self.made.get_mut(id) {
            made.at_least = Some(at_least.clone());
        }
    }

    /// When the record says it happened, microseconds.
    pub fn time(&self, position: Position) -> Option<i64> {
        self.times.get(&position).copied()
    }

    /// Whether it said a time too far ahead: of two such records of one millisecond none is the later.
    pub fn is_clamped(&self, position: Position) -> bool {
        self.clamped.contains(&position)
    }

    /// Places and times of the records that a token stands for.
    pub fn before(&self, token: &Token) -> impl Iterator<Item = (Position, i64)> {
        let within = move |at: Position| {
            self.times.range(..=at).rev().take_while(move |(other, _)| other.partition == at.partition)
        };
        let all: Vec<Position> = token.positions().collect();
        all.into_iter().flat_map(within).map(|(&position, &time)| (position, time))
    }
}

/// A time in microseconds since 1970, as naively as it can be: what is unset is 0.
pub fn micros(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000)
}

/// The clamp that ADR 18 promises, read from there.
const AHEAD_MAX_US: i64 = 60_000_000;

fn happened_at(event: &Event, record: &Record) -> i64 {
    micros(event.time()).min(record.logged_ms * 1_000 + AHEAD_MAX_US)
}
