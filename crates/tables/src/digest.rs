//! A digest of a keyspace's tables: equal for equal rows in every adapter.
//!
//! Each row is hashed with SHA-256 together with its table's name and its whole key, every part with its length before
//! it, and the hashes of a table are added up modulo 2^256. A sum does not depend on the order of rows, so only sums
//! and counts are kept, however large the tables are. It is sound because no two rows of a table share a key, so all
//! summands differ, and sets of rows that differ by accident have the same sum with a probability of 2^-256. It is no
//! proof against an attacker who can choose rows freely and search for two sets of equal sum. It excludes positions:
//! two generations may write one row from different records of one history.

use sha2::{Digest as _, Sha256};

use crate::{Key, Keyspace, Row, StoreError, Table, Timestamp, Value};

/// The digest of some tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Over `tables`.
    pub bytes: [u8; 32],
    pub rows: u64,
    /// In the order of their names.
    pub tables: Vec<TableDigest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    pub name: &'static str,
    pub bytes: [u8; 32],
    pub rows: u64,
}

/// The digest of every row of `tables` but those that may be removed, which say only where to look (ADR 20). It may or may not
/// include rows written concurrently.
pub async fn digest(keyspace: &dyn Keyspace, tables: &[&'static Table]) -> Result<Digest, StoreError> {
    digest_where(keyspace, tables, |table, _, row| !table.is_removable(row.key.section)).await
}

/// The digest of the rows that `counts` accepts: for tables that may hold invisible rows.
pub async fn digest_where(
    keyspace: &dyn Keyspace,
    tables: &[&'static Table],
    counts: impl Fn(&'static Table, &Key, &Row) -> bool + Send,
) -> Result<Digest, StoreError> {
    let mut all = Vec::new();
    for table in tables {
        all.push(digest_table(keyspace, table, &counts).await?);
    }
    all.sort_by_key(|table| table.name);
    let mut hash = Sha256::new();
    for table in &all {
        hash_bytes(&mut hash, table.name.as_bytes());
        hash.update(table.bytes);
    }
    Ok(Digest { bytes: hash.finalize().into(), rows: all.iter().map(|table| table.rows).sum(), tables: all })
}

async fn digest_table(
    keyspace: &dyn Keyspace,
    table: &'static Table,
    counts: &(impl Fn(&'static Table, &Key, &Row) -> bool + Send),
) -> Result<TableDigest, StoreError> {
    let (mut sum, mut rows) = (Sum::default(), 0_u64);
    let mut cursor = None;
    loop {
        let page = keyspace.scan(table, cursor).await?;
        for (partition, row) in page.rows.iter().filter(|(partition, row)| counts(table, partition, row)) {
            sum.add(&hash_row(table, partition, row));
            rows += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut hash = Sha256::new();
    hash.update(rows.to_be_bytes());
    hash.update(sum.0);
    Ok(TableDigest { name: table.name, bytes: hash.finalize().into(), rows })
}

fn hash_row(table: &Table, partition: &Key, row: &Row) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash_bytes(&mut hash, table.name.as_bytes());
    hash_values(&mut hash, &partition.0);
    hash.update(row.key.section.to_be_bytes());
    hash_values(&mut hash, &row.key.clustering);
    hash_values(&mut hash, &row.columns);
    hash.finalize().into()
}

fn hash_values(hash: &mut Sha256, values: &[Value]) {
    hash.update((values.len() as u64).to_be_bytes());
    for value in values {
        match value {
            Value::Text(text) => hash_tagged(hash, 1, text.as_bytes()),
            Value::BigInt(number) => hash_tagged(hash, 2, &number.to_be_bytes()),
            Value::Bool(yes) => hash_tagged(hash, 3, &[u8::from(*yes)]),
            Value::Timestamp(Timestamp(micros)) => hash_tagged(hash, 4, &micros.to_be_bytes()),
            Value::Blob(bytes) => hash_tagged(hash, 5, bytes),
        }
    }
}

fn hash_tagged(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash_bytes(hash, bytes);
}

fn hash_bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// A number modulo 2^256, most significant byte first.
#[derive(Default)]
struct Sum([u8; 32]);

impl Sum {
    fn add(&mut self, summand: &[u8; 32]) {
        let mut carry = 0;
        for (byte, other) in self.0.iter_mut().zip(summand).rev() {
            let total = u16::from(*byte) + u16::from(*other) + carry;
            *byte = total as u8;
            carry = total >> 8;
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_wrap_and_do_not_ask_for_the_order() {
        let (mut forth, mut back) = (Sum::default(), Sum::default());
        let summands = [[0xff; 32], [7; 32], [0x80; 32]];
        summands.iter().for_each(|summand| forth.add(summand));
        summands.iter().rev().for_each(|summand| back.add(summand));
        assert_eq!(forth.0, back.0);
        let mut one = [0; 32];
        one[31] = 1;
        let mut sum = Sum([0xff; 32]);
        sum.add(&one);
        assert_eq!(sum.0, [0; 32]);
    }
}
