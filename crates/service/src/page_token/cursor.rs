//! The content of every page token: the values of the list's order after which the next page starts.
//!
//! Per value a byte for its kind, then: a text or blob as its length u16 and bytes, a number or time as 8 bytes, a bool as
//! one. All big-endian.

use bytes::Bytes;
use kith_tables::{Timestamp, Value};

const TEXT: u8 = 1;
const NUMBER: u8 = 2;
const TIME: u8 = 3;
const BOOL: u8 = 4;
const BLOB: u8 = 5;

pub fn encode(place: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    for value in place {
        match value {
            Value::Text(text) => put(&mut bytes, TEXT, text.as_bytes()),
            Value::Blob(blob) => put(&mut bytes, BLOB, blob),
            Value::BigInt(number) => put_number(&mut bytes, NUMBER, *number),
            Value::Timestamp(Timestamp(micros)) => put_number(&mut bytes, TIME, *micros),
            Value::Bool(yes) => bytes.extend([BOOL, u8::from(*yes)]),
        }
    }
    bytes
}

/// `None`: it was not made by [`encode`].
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut place = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        bytes = rest;
        place.push(match kind {
            TEXT => Value::Text(std::str::from_utf8(take(&mut bytes)?).ok()?.to_owned()),
            BLOB => Value::Blob(Bytes::copy_from_slice(take(&mut bytes)?)),
            NUMBER => Value::BigInt(take_number(&mut bytes)?),
            TIME => Value::Timestamp(Timestamp(take_number(&mut bytes)?)),
            BOOL => Value::Bool(take_bool(&mut bytes)?),
            _ => return None,
        });
    }
    Some(place)
}

/// A value too long for its two length bytes is also too long for a page token, which refuses it.
fn put(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    bytes.push(kind);
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(value);
}

fn put_number(bytes: &mut Vec<u8>, kind: u8, number: i64) {
    bytes.push(kind);
    bytes.extend(number.to_be_bytes());
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    Some(value)
}

fn take_number(bytes: &mut &[u8]) -> Option<i64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(i64::from_be_bytes(*number))
}

fn take_bool(bytes: &mut &[u8]) -> Option<bool> {
    let (&yes, rest) = bytes.split_first()?;
    *bytes = rest;
    (yes <= 1).then_some(yes == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_a_broken_one_does_not() {
        let place =
            vec!["é".into(), Value::BigInt(-5), Timestamp(i64::MAX).into(), true.into(), Value::Blob("xy".into())];
        let bytes = encode(&place);
        assert_eq!(decode(&bytes), Some(place));
        assert_eq!(decode(&[]), Some(Vec::new()));
        let whole: Vec<usize> = (0..bytes.len()).filter(|&end| decode(&bytes[..end]).is_some()).collect();
        assert_eq!(whole, [0, 5, 14, 23, 25], "only where a value ends");
        for broken in [&[9][..], &[BOOL, 2], &[TEXT, 0, 1, 0xff]] {
            assert_eq!(decode(broken), None, "{broken:?}");
        }
    }
}
