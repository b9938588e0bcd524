//! Records that nobody can decode: set aside in the log, once, and flagged in the tables at their offset.

use std::sync::Arc;

use bytes::Bytes;
use kith_log::{LogPartition, MAX_RECORD_BYTES, Record, RecordId, headers, topics};
use kith_proto::Event;
use kith_proto::deadletters::v1::{DeadLetter, dead_letter::Header};
use kith_tables::{Column, Key, Order, Row, RowKey, Section, Table, row};
use sha2::{Digest, Sha256};

use crate::{Append, Cause, Effect};

/// A letter carries the record's bytes up to this; a longer record is read at its origin, which the log keeps.
const MAX_LETTER_BYTES: usize = MAX_RECORD_BYTES - 4 * 1024;

/// Which offsets of a log partition are set aside. A replay sees it and appends no second letter. What is here is in the
/// log, so a generation that does not append writes none of it.
pub(crate) static SET_ASIDE: Table = Table {
    name: "set_aside",
    partition: &[Column::text("topic"), Column::bigint("log_partition")],
    clustering: &[Column::bigint("record_offset")],
    order: Order::Ascending,
    sections: &[Section::of::<SetAsideRow>("letter")],
    summary: &[],
};

row! {
    /// A function of the record's place alone: what the decoder says of it may change with a release.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct SetAsideRow in 0 { pub letter_id: String }
}

/// Sets a record aside that nobody can decode, unless the tables say that it was. The letter's id is a function of its
/// origin: where the tables are gone, or what they said is lost, the same letter is appended again under the same id.
pub(crate) fn effect(record: &Record, reason: &str) -> Effect {
    let origin = record.position;
    let row = RowKey::of::<SetAsideRow>([i64::try_from(origin.offset).unwrap_or(i64::MAX).into()]);
    let (partition, clustering) = (key_of(origin.partition), row.clustering.clone());
    let letter = letter(record, reason);
    let then = move |found: &[Option<Row>]| {
        if found.iter().any(Option::is_some) {
            return Vec::new();
        }
        let flag = SetAsideRow { letter_id: letter.id.to_string() };
        let flag = Effect::put(&SET_ASIDE, key_of(origin.partition), clustering.clone(), flag, origin.offset);
        vec![Effect::AppendThen(Box::new(letter.clone()), vec![flag])]
    };
    Effect::Read { table: &SET_ASIDE, partition, rows: vec![row], then: Arc::new(then) }
}

fn key_of(partition: LogPartition) -> Key {
    Key(vec![partition.topic.name.into(), i64::from(partition.index).into()])
}

fn letter(record: &Record, reason: &str) -> Append {
    let origin = record.position;
    let size: usize = record.headers.iter().map(|h| h.name.len() + h.value.len() + 8).sum();
    // What is in a private topic is for its service alone: passwords' hashes among it. It is read at its origin.
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
        key: origin.partition.to_string(),
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
