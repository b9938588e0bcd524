//! The encoding of a record in the store.
//!
//! Key: topic id u16, partition u16, offset u64, all big-endian, so that a partition's records are in order. Value:
//! CRC-32 u32 over the key and the rest; then when the log took the record i64 (milliseconds since 1970), the record's
//! key, the number of headers u32, for each its name and value, and the record's value; every text and byte string is a
//! length u32 (little-endian) and that many bytes.

use bytes::{Buf, BufMut, Bytes};
use kith_runtime::UnixMillis;

use crate::{Header, LogError, LogPartition, MAX_HEADERS, NewRecord, Offset, Position, Record};

pub(super) const KEY_BYTES: usize = 12;

pub(super) fn key(partition: LogPartition, offset: Offset) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..2].copy_from_slice(&partition.topic.id.to_be_bytes());
    key[2..4].copy_from_slice(&partition.index.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in a key, if it is one.
pub(super) fn offset_of(key: &[u8]) -> Option<Offset> {
    let offset = key.get(4..KEY_BYTES)?.try_into().ok()?;
    (key.len() == KEY_BYTES).then(|| Offset::from_be_bytes(offset))
}

/// The length of the record's value.
pub(super) fn len_bytes(record: &NewRecord) -> usize {
    24 + record.len_bytes() + 8 * record.headers.len()
}

/// Adds the value of the record for `position`. Its size was checked, so that no length exceeds a u32.
pub(super) fn encode(frames: &mut Vec<u8>, position: Position, record: &NewRecord, logged_ms: UnixMillis) {
    let start = frames.len();
    frames.put_u32_le(0);
    frames.put_i64_le(logged_ms);
    put(frames, record.key.as_bytes());
    frames.put_u32_le(record.headers.len() as u32);
    for header in &record.headers {
        put(frames, header.name.as_bytes());
        put(frames, &header.value);
    }
    put(frames, &record.value);
    let body = start + 4;
    let checksum = checksum(&key(position.partition, position.offset), &frames[body..]);
    frames[start..body].copy_from_slice(&checksum.to_le_bytes());
}

/// The record at `position`. The bytes may be anything: they are checked before use.
pub(super) fn decode(position: Position, mut frame: Bytes) -> Result<Record, LogError> {
    let key = key(position.partition, position.offset);
    let damaged = |what: &str| LogError::Damaged(format!("{position}: {what}"));
    if frame.len() < 4 || frame.get_u32_le() != checksum(&key, &frame) {
        return Err(damaged("checksum"));
    }
    parse(position, &mut frame).filter(|_| frame.is_empty()).ok_or_else(|| damaged("frame"))
}

fn parse(position: Position, frame: &mut Bytes) -> Option<Record> {
    let logged_ms = (frame.len() >= size_of::<UnixMillis>()).then(|| frame.get_i64_le())?;
    let key = take(frame)?;
    let count = length(frame).filter(|count| *count <= MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = take(frame)?;
        headers.push(Header::new(std::str::from_utf8(&name).ok()?, take(frame)?));
    }
    Some(Record { position, key, headers, value: take(frame)?, logged_ms })
}

fn put(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.put_u32_le(bytes.len() as u32);
    frame.put_slice(bytes);
}

fn take(frame: &mut Bytes) -> Option<Bytes> {
    let len = length(frame)?;
    (len <= frame.len()).then(|| frame.split_to(len))
}

fn length(frame: &mut Bytes) -> Option<usize> {
    (frame.len() >= 4).then(|| frame.get_u32_le() as usize)
}

/// It covers the key, so that a frame at a wrong place is detected.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics;
    use proptest::prelude::*;

    fn position(offset: Offset) -> Position {
        Position { partition: LogPartition { topic: topics::POSTS, index: 3 }, offset }
    }

    fn framed(offset: Offset, record: &NewRecord) -> Bytes {
        let mut frame = Vec::new();
        encode(&mut frame, position(offset), record, 7);
        assert_eq!(frame.len(), len_bytes(record));
        frame.into()
    }

    prop_compose! {
        fn records()(
            key in "\\PC{0,40}",
            headers in prop::collection::vec(("[a-z_]{1,20}", prop::collection::vec(any::<u8>(), 0..50)), 0..12),
            value in prop::collection::vec(any::<u8>(), 1..300),
        ) -> NewRecord {
            let header = |(name, value): (String, Vec<u8>)| Header { name: name.into(), value: value.into() };
            let headers = headers.into_iter().map(header).collect();
            NewRecord { topic: topics::POSTS, key, headers, value: value.into() }
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back(record in records(), offset: Offset) {
            let read = decode(position(offset), framed(offset, &record)).unwrap();
            prop_assert_eq!(&read.key[..], record.key.as_bytes());
            prop_assert_eq!(read.headers, record.headers);
            prop_assert_eq!(read.value, record.value);
        }

        #[test]
        fn one_changed_byte_is_noticed(record in records(), at: prop::sample::Index, by in 1..=255_u8) {
            let mut frame = framed(7, &record).to_vec();
            let at = at.index(frame.len());
            frame[at] ^= by;
            prop_assert!(decode(position(7), frame.into()).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_not_believed(mut frame in prop::collection::vec(any::<u8>(), 0..200)) {
            if frame.len() >= 4 {
                let right = checksum(&key(position(7).partition, 7), &frame[4..]);
                frame[..4].copy_from_slice(&right.to_le_bytes());
            }
            let _ = decode(position(7), frame.into());
        }
    }

    #[test]
    fn a_frame_at_anothers_place_is_noticed() {
        let record = NewRecord { topic: topics::POSTS, key: "k".into(), headers: vec![], value: "v".into() };
        assert!(decode(position(8), framed(7, &record)).is_err());
    }
}
