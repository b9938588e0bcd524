//! A row's position and columns as bytes. The declaration gives their meaning, so they contain no names and no kinds.
//!
//! A position alone is a removal: every row has a column, and every column takes a byte.

use crate::{Column, Kind, StoreError, Timestamp, Value};

pub(super) fn encode(position: u64, columns: &[Value]) -> Vec<u8> {
    let size: usize = columns.iter().map(|column| column.size_bytes() + 2).sum();
    let mut bytes = Vec::with_capacity(size + 10);
    push_varint(&mut bytes, position);
    for column in columns {
        match column {
            Value::Text(text) => push_bytes(&mut bytes, text.as_bytes()),
            Value::Blob(blob) => push_bytes(&mut bytes, blob),
            Value::BigInt(number) | Value::Timestamp(Timestamp(number)) => push_varint(&mut bytes, zigzag(*number)),
            Value::Bool(yes) => bytes.push(u8::from(*yes)),
        }
    }
    bytes
}

pub(super) fn encode_removal(position: u64) -> Vec<u8> {
    encode(position, &[])
}

/// The position alone: a later write needs only this of the existing row.
pub(super) fn position(bytes: &[u8]) -> Result<u64, StoreError> {
    take_varint(&mut &*bytes)
}

pub(super) fn decode(bytes: &[u8], columns: impl Iterator<Item = Column>) -> Result<(u64, Vec<Value>), StoreError> {
    let mut rest = bytes;
    let position = take_varint(&mut rest)?;
    let values = columns.map(|column| take_value(&mut rest, column.kind)).collect::<Result<_, _>>()?;
    if rest.is_empty() { Ok((position, values)) } else { Err(damaged()) }
}

/// Whether the row was removed.
pub(super) fn is_removal(bytes: &[u8]) -> Result<bool, StoreError> {
    let mut rest = bytes;
    take_varint(&mut rest)?;
    Ok(rest.is_empty())
}

fn push_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    push_varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small numbers of either sign become small.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn take_value(rest: &mut &[u8], kind: Kind) -> Result<Value, StoreError> {
    Ok(match kind {
        Kind::Text => Value::Text(String::from_utf8(take_bytes(rest)?.to_vec()).map_err(|_| damaged())?),
        Kind::Blob => Value::Blob(take_bytes(rest)?.to_vec().into()),
        Kind::BigInt => Value::BigInt(take_number(rest)?),
        Kind::Timestamp => Value::Timestamp(Timestamp(take_number(rest)?)),
        Kind::Bool => Value::Bool(take_slice(rest, 1)? == [1]),
    })
}

fn take_number(rest: &mut &[u8]) -> Result<i64, StoreError> {
    let zigzag = take_varint(rest)?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], StoreError> {
    let length = usize::try_from(take_varint(rest)?).map_err(|_| damaged())?;
    take_slice(rest, length)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], StoreError> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(damaged)?;
    *rest = left;
    Ok(taken)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, StoreError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first().ok_or_else(damaged)?;
        *rest = left;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged())
}

fn damaged() -> StoreError {
    StoreError::Damaged("a row is not of its table's form".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column::text("text"),
        Column::bigint("number"),
        Column { name: "yes", kind: Kind::Bool },
        Column::timestamp("at"),
        Column { name: "raw", kind: Kind::Blob },
    ];

    #[test]
    fn a_row_reads_back() {
        for number in [i64::MIN, -65, -1, 0, 1, 63, 64, i64::MAX] {
            for position in [0, 127, 128, u64::MAX] {
                let columns: Vec<Value> = vec![
                    "a\0ä".into(),
                    number.into(),
                    true.into(),
                    Timestamp(number).into(),
                    Value::Blob(vec![0; 300].into()),
                ];
                let bytes = encode(position, &columns);
                assert_eq!(super::position(&bytes).unwrap(), position);
                assert!(!is_removal(&bytes).unwrap());
                let removal = encode_removal(position);
                assert_eq!((super::position(&removal).unwrap(), is_removal(&removal).unwrap()), (position, true));
                assert_eq!(decode(&bytes, COLUMNS.into_iter()).unwrap(), (position, columns));
            }
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_damaged_not_a_panic() {
        let bytes = encode(300, &["abc".into(), 5.into(), true.into(), Timestamp(7).into(), Value::Blob("xy".into())]);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end], COLUMNS.into_iter()).is_err());
        }
        assert!(decode(&[bytes, vec![0]].concat(), COLUMNS.into_iter()).is_err());
        assert!(decode(&[0xff; 40], COLUMNS.into_iter()).is_err());
    }
}
