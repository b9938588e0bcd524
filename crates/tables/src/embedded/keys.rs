//! Keys whose order as bytes is the order of the rows: keyspace, table, partition columns, section, clustering columns.

use std::ops::Bound;

use super::store::Range;
use crate::{Column, Key, Kind, Order, RowKey, SectionId, StoreError, Table, Timestamp, Value};

/// The prefix of a table's rows: the keyspace's number and the table's number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub keyspace: u32,
    pub table: u16,
}

impl Place {
    /// The prefix of all keys of the keyspace.
    pub fn keyspace_prefix(keyspace: u32) -> Vec<u8> {
        keyspace.to_be_bytes().to_vec()
    }

    /// The prefix of all keys of the table.
    pub fn prefix(self) -> Vec<u8> {
        let mut bytes = Self::keyspace_prefix(self.keyspace);
        bytes.extend(self.table.to_be_bytes());
        bytes
    }

    /// The prefix of all keys of one table partition.
    pub fn partition_prefix(self, partition: &Key) -> Vec<u8> {
        let mut bytes = self.prefix();
        partition.0.iter().for_each(|value| push_value(&mut bytes, value));
        bytes
    }
}

/// The key of one row, behind its partition's prefix.
pub(super) fn row_key(table: &Table, partition_prefix: &[u8], key: &RowKey) -> Vec<u8> {
    clustering_prefix(table, partition_prefix, key.section, key.clustering.iter())
}

/// The prefix of all keys in `section` whose first clustering columns are `values`.
pub(super) fn clustering_prefix<'a>(
    table: &Table,
    partition_prefix: &[u8],
    section: SectionId,
    values: impl Iterator<Item = &'a Value>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(partition_prefix.len() + 64);
    bytes.extend_from_slice(partition_prefix);
    bytes.extend((section ^ SectionId::MIN).to_be_bytes());
    let start = bytes.len();
    values.for_each(|value| push_value(&mut bytes, value));
    let mask = mask(table.order);
    bytes[start..].iter_mut().for_each(|byte| *byte ^= mask);
    bytes
}

/// All keys that start with `prefix`.
pub(super) fn under(prefix: Vec<u8>) -> Range {
    let end = successor(prefix.clone()).map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(prefix), end)
}

/// All keys after those that start with `after`, within `prefix`.
pub(super) fn behind(after: Vec<u8>, prefix: Vec<u8>) -> Range {
    (successor(after).map_or(Bound::Unbounded, Bound::Included), under(prefix).1)
}

/// The first key after all that start with `prefix`; `None` when there can be none.
fn successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// The partition and row key that a key encodes.
pub(super) fn parse(table: &Table, key: &[u8]) -> Result<(Key, RowKey), StoreError> {
    let mut rest = key.get(size_of::<u32>() + size_of::<u16>()..).ok_or_else(damaged)?;
    let partition = table.partition.iter().map(|c| take_value(&mut rest, *c, 0)).collect::<Result<_, _>>()?;
    Ok((Key(partition), parse_row_key(table, rest)?))
}

/// The row key after a partition's prefix.
pub(super) fn parse_row_key(table: &Table, mut rest: &[u8]) -> Result<RowKey, StoreError> {
    let section = i32::from_be_bytes(take(&mut rest, 0)?) ^ SectionId::MIN;
    let mask = mask(table.order);
    let clustering = table.clustering.iter().map(|c| take_value(&mut rest, *c, mask)).collect::<Result<_, _>>()?;
    if rest.is_empty() { Ok(RowKey { section, clustering }) } else { Err(damaged()) }
}

/// Complemented bytes sort in reverse. Sound because no encoded value is a prefix of another.
fn mask(order: Order) -> u8 {
    match order {
        Order::Ascending => 0,
        Order::Descending => u8::MAX,
    }
}

fn push_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => push_bytes(bytes, text.as_bytes()),
        Value::Blob(blob) => push_bytes(bytes, blob),
        Value::BigInt(number) | Value::Timestamp(Timestamp(number)) => bytes.extend((number ^ i64::MIN).to_be_bytes()),
        Value::Bool(yes) => bytes.push(u8::from(*yes)),
    }
}

/// A zero is followed by 255; the end is two zeros, below whatever else could follow.
fn push_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.reserve(content.len() + 2);
    for (index, part) in content.split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            bytes.extend([0, u8::MAX]);
        }
        bytes.extend_from_slice(part);
    }
    bytes.extend([0, 0]);
}

fn take_value(rest: &mut &[u8], column: Column, mask: u8) -> Result<Value, StoreError> {
    Ok(match column.kind {
        Kind::Text => Value::Text(String::from_utf8(take_bytes(rest, mask)?).map_err(|_| damaged())?),
        Kind::Blob => Value::Blob(take_bytes(rest, mask)?.into()),
        Kind::BigInt => Value::BigInt(i64::from_be_bytes(take(rest, mask)?) ^ i64::MIN),
        Kind::Timestamp => Value::Timestamp(Timestamp(i64::from_be_bytes(take(rest, mask)?) ^ i64::MIN)),
        Kind::Bool => Value::Bool(take::<1>(rest, mask)? == [1]),
    })
}

fn take_bytes(rest: &mut &[u8], mask: u8) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == mask).ok_or_else(damaged)?;
        content.extend(rest[..end].iter().map(|byte| byte ^ mask));
        *rest = &rest[end + 1..];
        if take::<1>(rest, mask)? == [0] {
            return Ok(content);
        }
        content.push(0);
    }
}

fn take<const N: usize>(rest: &mut &[u8], mask: u8) -> Result<[u8; N], StoreError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or_else(damaged)?;
    *rest = left;
    Ok(taken.map(|byte| byte ^ mask))
}

fn damaged() -> StoreError {
    StoreError::Damaged("a key is not of its table's form".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: &[Column] = &[Column::text("id"), Column { name: "flag", kind: Kind::Bool }];
    const CLUSTERING: &[Column] =
        &[Column::text("word"), Column::bigint("number"), Column { name: "raw", kind: Kind::Blob }];

    const fn table(order: Order) -> Table {
        Table { name: "things", partition: PARTITION, clustering: CLUSTERING, order, sections: &[], summary: &[] }
    }

    fn clusterings() -> Vec<Vec<Value>> {
        let words = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "ab", "ä", "\u{10ffff}"];
        let numbers = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX];
        let blobs = [&b""[..], &[0], &[0, 255], &[1], &[255], &[255, 0], &[255, 255]];
        let mut all = Vec::new();
        for word in words {
            for number in numbers {
                for blob in blobs {
                    all.push(vec![word.into(), number.into(), Value::Blob(blob.into())]);
                }
            }
        }
        all
    }

    #[test]
    fn keys_sort_as_their_rows_do() {
        for order in [Order::Ascending, Order::Descending] {
            let table = table(order);
            let keys: Vec<_> = clusterings()
                .into_iter()
                .map(|clustering| row_key(&table, b"p", &RowKey { section: 0, clustering }))
                .collect();
            let sorted = match order {
                Order::Ascending => keys.is_sorted_by(|a, b| a < b),
                Order::Descending => keys.is_sorted_by(|a, b| a > b),
            };
            assert!(sorted, "{order:?}");
        }
    }

    #[test]
    fn a_key_reads_back() {
        for order in [Order::Ascending, Order::Descending] {
            let table = table(order);
            let partition = Key(vec!["a\0b".into(), true.into()]);
            let prefix = Place { keyspace: 7, table: 3 }.partition_prefix(&partition);
            for section in [i32::MIN, -1, 0, 1, i32::MAX] {
                for clustering in clusterings() {
                    let key = RowKey { section, clustering };
                    let bytes = row_key(&table, &prefix, &key);
                    assert_eq!(parse(&table, &bytes).unwrap(), (partition.clone(), key));
                    assert!(parse(&table, &bytes[..bytes.len() - 1]).is_err());
                }
            }
        }
    }

    #[test]
    fn the_successor_is_behind_all_that_start_so() {
        assert_eq!(successor(vec![1, 255, 255]), Some(vec![2]));
        assert_eq!(successor(vec![255]), None);
    }
}
