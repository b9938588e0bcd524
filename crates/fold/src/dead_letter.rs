//! Records that cannot be decoded: set aside in the log, once, and flagged in the tables at their offset.

use std::sync::Arc;

use bytes::Bytes;
use kith_log::{LogPartition, MAX_RECORD_BYTES, Position, Record, RecordId, headers, topics};
use kith_proto::Event;
use kith_proto::deadletters::v1::{DeadLetter, dead_letter::Header};
use kith_tables::{Column, Key, Order, Row, RowKey, Section, Table, row};
use sha2::{Digest, Sha256};

use crate::{Append, Cause, Effect};

/// A letter carries the record's bytes up to this; a longer record is read at its origin, which the log keeps.
const MAX_LETTER_BYTES: usize = MAX_RECORD_BYTES - 4 * 1024;

/// The offsets of a log partition that are set aside. A replay sees the row and appends no second letter. A row implies
/// a letter in the log, so a generation that does not append writes no rows.
pub(crate) static SET_ASIDE: Table = Table {
    name: "set_aside",
    partition: &[Column::text("topic"), Column::bigint("log_partition")],
    clustering: &[Column::bigint("record_offset")],
    order: Order::Ascending,
    sections: &[Section::of::<SetAsideRow>("letter")],
    summary: &[],
};

row! {
    /// A function of the record's place alone: the decoder's message may change with a release.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct SetAsideRow in 0 { pub letter_id: String }
}

/// A record that cannot be decoded, and the letter that sets it aside. The letter's id is a function of its origin, so
/// that a second one is recognised as a copy.
#[derive(Clone)]
pub(crate) struct Poison {
    origin: Position,
    letter: Append,
}

impl Poison {
    pub fn new(record: &Record, reason: &str) -> Self {
        Self { origin: record.position, letter: letter(record, reason) }
    }

    pub fn letter_id(&self) -> RecordId {
        self.letter.id
    }

    /// Appends the letter unless the tables show that it was appended; then marks it in the tables. `is_in_log`: it is,
    /// whatever the tables show.
    pub fn effect(self, is_in_log: bool) -> Effect {
        let Self { origin, letter } = self;
        let row = RowKey::of::<SetAsideRow>([i64::try_from(origin.offset).unwrap_or(i64::MAX).into()]);
        let (partition, clustering) = (key_of(origin.partition), row.clustering.clone());
        let then = move |found: &[Option<Row>]| {
            if found.iter().any(Option::is_some) {
                return Vec::new();
            }
            let flag = SetAsideRow { letter_id: letter.id.to_string() };
            let flag = Effect::put(&SET_ASIDE, key_of(origin.partition), clustering.clone(), flag, origin.offset);
            match is_in_log {
                true => vec![flag],
                false => vec![Effect::AppendThen(Box::new(letter.clone()), vec![flag])],
            }
        };
        Effect::Read { table: &SET_ASIDE, partition, rows: vec![row], then: Arc::new(then) }
    }
}

/// The key of all letters about records of a log partition: they are in one partition of their topic.
pub(crate) fn letters_key(origin: LogPartition) -> String {
    origin.to_string()
}

fn key_of(partition: LogPartition) -> Key {
    Key(vec![partition.topic.name.into(), i64::from(partition.index).into()])
}

fn letter(record: &Record, reason: &str) -> Append {
    let origin = record.position;
    let size: usize = record.headers.iter().map(|h| h.name.len() + h.value.len() + 8).sum();
    // The content of a private topic is for its service alone (password hashes, for example). It is read at its origin.
    let fits = record.key.len() + record.value.len() + size <= MAX_LETTER_BYTES && !origin.partition.topic.is_private();
    let headers =
        record.headers.iter().filter(|_| fits).map(|h| Header { name: h.name.to_string(), value: h.value.clone() });
    let letter = DeadLetter {
        origin_topic: origin.partition.topic.name.to_owned(),
        origin_partition: u32::from(origin.partition.index),
        origin_offset: origin.offset,
        reason: reason.to_owned(),
        key: if fits { record.key.clone() } else { Bytes::new() },
        headers: headers.collect(),
        value: if fits { record.value.clone() } else { Bytes::new() },
        ..DeadLetter::default()
    };
    Append {
        topic: topics::DEAD_LETTERS,
        key: letters_key(origin.partition),
        id: id_of_origin(record),
        event: Event::DeadLetter(letter),
        cause: Cause {
            causation: record.id(),
            trace_parent: record.header(headers::TRACE_PARENT).map(str::to_owned),
            ..Cause::default()
        },
    }
}

fn id_of_origin(record: &Record) -> RecordId {
    let hash = Sha256::digest(format!("dead letter {}", record.position));
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RecordId(id)
}
