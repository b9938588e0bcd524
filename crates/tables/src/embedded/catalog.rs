//! The catalog of keyspaces and tables. Kept among the rows, under a keyspace number that no keyspace has.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::keys::{Place, under};
use super::store::Store;
use crate::{Column, StoreError, Table};

/// Rows that one batch of a drop removes.
const DROP_BATCH_ROWS: usize = 1_000;
const CATALOG: u32 = 0;

pub(super) struct Catalog<'a>(pub &'a Store);

impl Catalog<'_> {
    /// The number of a keyspace; a keyspace that is dropped and created again gets another.
    pub fn keyspace(&self, name: &str) -> Result<Option<u32>, StoreError> {
        self.number(&keyspace_key(name))
    }

    /// Creates what is missing. `Contract` when a table exists with another declaration.
    pub fn create(&self, name: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        let mut batch = self.0.batch();
        let keyspace = match self.keyspace(name)? {
            Some(keyspace) => keyspace,
            None => {
                let next = self.number(&last_key())?.unwrap_or(CATALOG) + 1;
                batch.insert(last_key(), next.to_be_bytes().to_vec());
                batch.insert(keyspace_key(name), next.to_be_bytes().to_vec());
                next
            }
        };
        let known = self.tables(keyspace)?;
        let mut number = known.values().map(|(number, _)| *number).max().unwrap_or(0);
        for table in tables {
            if known.contains_key(table.name) {
                place(&known, keyspace, table)?;
                continue;
            }
            number += 1;
            let declared = [&number.to_be_bytes()[..], declaration(table).as_bytes()].concat();
            batch.insert(table_key(keyspace, table.name), declared);
        }
        batch.commit()
    }

    /// Where each table's rows are, in the order asked. `Contract` when one is missing or differs.
    pub fn places(&self, name: &str, tables: &[&'static Table]) -> Result<(u32, Vec<Place>), StoreError> {
        let missing = || StoreError::Contract(format!("keyspace {name} is not there"));
        let keyspace = self.keyspace(name)?.ok_or_else(missing)?;
        let known = self.tables(keyspace)?;
        let places = tables.iter().map(|table| place(&known, keyspace, table)).collect::<Result<_, _>>()?;
        Ok((keyspace, places))
    }

    /// Forgets a keyspace at once; [`Self::finish_drop`] then removes its rows, also after a crash.
    pub fn start_drop(&self, name: &str, keyspace: u32) -> Result<(), StoreError> {
        let mut batch = self.0.batch();
        batch.remove(keyspace_key(name));
        batch.insert(dropping_key(keyspace), Vec::new());
        batch.commit()
    }

    /// Takes seconds per million rows; they are already invisible.
    pub fn finish_drop(&self, keyspace: u32) -> Result<(), StoreError> {
        self.remove_under(Place::keyspace_prefix(keyspace))?;
        self.remove_under(table_key(keyspace, ""))?;
        self.remove_under(dropping_key(keyspace))
    }

    /// Drops that a crash interrupted.
    pub fn finish_drops(&self) -> Result<(), StoreError> {
        for (key, _) in self.under(&dropping_prefix())? {
            let number = key.get(dropping_prefix().len()..).and_then(|n| n.try_into().ok()).ok_or_else(damaged)?;
            self.finish_drop(u32::from_be_bytes(number))?;
        }
        Ok(())
    }

    fn tables(&self, keyspace: u32) -> Result<BTreeMap<String, (u16, String)>, StoreError> {
        let prefix = table_key(keyspace, "");
        let mut known = BTreeMap::new();
        for (key, value) in self.under(&prefix)? {
            let (number, declared) = value.split_first_chunk().ok_or_else(damaged)?;
            let name = key.get(prefix.len()..).and_then(|name| str::from_utf8(name).ok()).ok_or_else(damaged)?;
            let declared = str::from_utf8(declared).map_err(|_| damaged())?;
            known.insert(name.to_owned(), (u16::from_be_bytes(*number), declared.to_owned()));
        }
        Ok(known)
    }

    fn number(&self, key: &[u8]) -> Result<Option<u32>, StoreError> {
        let Some(value) = self.0.get(key)? else { return Ok(None) };
        value.as_ref().try_into().map(|bytes| Some(u32::from_be_bytes(bytes))).map_err(|_| damaged())
    }

    /// Catalog entries only: they are few.
    fn under(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, fjall::Slice)>, StoreError> {
        let entries = self.0.state().range(under(prefix.to_vec()));
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value))).collect()
    }

    /// Row by row, because fjall has no deletion of a range; the space comes back with compaction.
    fn remove_under(&self, prefix: Vec<u8>) -> Result<(), StoreError> {
        let (mut start, end) = under(prefix);
        loop {
            let mut batch = self.0.batch();
            let mut last = None;
            for entry in self.0.state().range((start, end.clone())).take(DROP_BATCH_ROWS) {
                let (key, _) = entry?;
                last = Some(key.to_vec());
                batch.remove(key);
            }
            let Some(last) = last else { return Ok(()) };
            batch.commit()?;
            start = Bound::Excluded(last);
        }
    }
}

fn place(known: &BTreeMap<String, (u16, String)>, keyspace: u32, table: &Table) -> Result<Place, StoreError> {
    match known.get(table.name) {
        Some((number, declared)) if *declared == declaration(table) => Ok(Place { keyspace, table: *number }),
        Some(_) => Err(StoreError::Contract(format!("table {} has another declaration", table.name))),
        None => Err(StoreError::Contract(format!("table {} is not there", table.name))),
    }
}

/// The parts of a declaration on which rows depend.
fn declaration(table: &Table) -> String {
    let columns = |columns: &[Column]| {
        let columns: Vec<_> = columns.iter().map(|c| format!("{} {:?}", c.name, c.kind)).collect();
        columns.join(", ")
    };
    let sections: Vec<_> = table.sections.iter().map(|s| format!("{}: {}", s.id, columns(s.columns))).collect();
    format!(
        "({}) ({}) {:?} [{}] summary: {}",
        columns(table.partition),
        columns(table.clustering),
        table.order,
        sections.join("; "),
        columns(table.summary),
    )
}

fn catalog_key(kind: &[u8], rest: &[u8]) -> Vec<u8> {
    [&CATALOG.to_be_bytes()[..], kind, rest].concat()
}

fn last_key() -> Vec<u8> {
    catalog_key(b"last", &[])
}

fn keyspace_key(name: &str) -> Vec<u8> {
    catalog_key(b"keyspace/", name.as_bytes())
}

fn table_key(keyspace: u32, name: &str) -> Vec<u8> {
    catalog_key(b"table/", &[&keyspace.to_be_bytes()[..], name.as_bytes()].concat())
}

fn dropping_prefix() -> Vec<u8> {
    catalog_key(b"dropping/", &[])
}

fn dropping_key(keyspace: u32) -> Vec<u8> {
    catalog_key(b"dropping/", &keyspace.to_be_bytes())
}

fn damaged() -> StoreError {
    StoreError::Damaged("the catalog of tables cannot be read".to_owned())
}
