use bytes::Bytes;
use kith_log::{MAX_RECORD_BYTES, Record, RecordId, headers, topics};
use kith_proto::Event;
use kith_proto::deadletters::v1::{DeadLetter, dead_letter::Header};
use sha2::{Digest, Sha256};

use crate::{Append, Cause, Effect};

/// A letter carries the record's bytes up to this; a longer record is read at its origin, which the log keeps.
const MAX_LETTER_BYTES: usize = MAX_RECORD_BYTES - 4 * 1024;

/// Sets a record aside that nobody can decode. Its id is a function of its origin, so that a replay makes no other one.
pub(crate) fn effect(record: &Record, reason: &str) -> Effect {
    let origin = record.position;
    let id = id_of_origin(record);
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
    Effect::append(Append {
        topic: topics::DEAD_LETTERS,
        key: origin.partition.to_string(),
        id,
        event: Event::DeadLetter(letter),
        cause: Cause {
            causation: record.id(),
            trace_parent: record.header(headers::TRACE_PARENT).map(str::to_owned),
            ..Cause::default()
        },
    })
}

fn id_of_origin(record: &Record) -> RecordId {
    let hash = Sha256::digest(format!("dead letter {}", record.position));
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RecordId(id)
}
