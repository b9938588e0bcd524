//! Removed rows, and when their removals end.
//!
//! A removal is a value without columns in its row's place: it keeps its position, so that an older write loses, and
//! every read passes over it. It ends an hour after it was made, or when the folder is opened again, whichever comes
//! first. No older writer is left by then: all writers are in the one process that has the folder open, and end with it;
//! a write waits a few seconds at most; and a fold that goes back writes what it wrote before, removals included.
//!
//! A removal costs two small entries (the row's place, and one here by time) for that hour, and the next removals pay
//! for its end: a look-up and two deletions. Nothing runs in the background, so without any more removals the last ones
//! stay until the next start.

use std::time::Duration;

use tokio::time::Instant;

use super::keys::under;
use super::store::{Batch, Store};
use super::values;
use crate::StoreError;

/// Under a keyspace number that no keyspace gets.
const TOMBSTONES: u32 = u32::MAX;
/// How long a removal is kept.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Removals that one batch ends at a start.
const CLEARED_TOGETHER: usize = 1_000;

pub(super) struct Tombstones {
    opened: Instant,
}

/// A removal that may end.
pub(super) struct Tombstone {
    index_key: Vec<u8>,
    row_key: Vec<u8>,
    position: u64,
    /// Which lock guards the row.
    pub lock: usize,
}

impl Tombstones {
    /// Ends all removals of earlier runs; seconds per million.
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        let tombstones = Self { opened: Instant::now() };
        loop {
            let some = first(store, u64::MAX, CLEARED_TOGETHER)?;
            if some.is_empty() {
                return Ok(tombstones);
            }
            let mut batch = store.batch();
            some.iter().try_for_each(|tombstone| tombstone.end(store, &mut batch))?;
            batch.commit()?;
        }
    }

    /// The oldest of those that are due.
    pub fn due(&self, store: &Store, most: usize) -> Result<Vec<Tombstone>, StoreError> {
        match self.opened.elapsed().checked_sub(KEPT) {
            Some(before) => first(store, millis(before), most),
            None => Ok(Vec::new()),
        }
    }

    /// Writes a removal. The caller has the row's `lock`.
    pub fn insert(&self, batch: &mut Batch<'_>, row_key: Vec<u8>, position: u64, lock: usize) {
        let index_key = index_key(millis(self.opened.elapsed()), &row_key);
        let lock = u64::try_from(lock).unwrap_or(u64::MAX);
        batch.insert(index_key, [position.to_be_bytes(), lock.to_be_bytes()].concat());
        batch.insert(row_key, values::encode_removal(position));
    }
}

impl Tombstone {
    pub fn row_key(&self) -> &[u8] {
        &self.row_key
    }

    /// The caller has the row's lock. A row that was written or removed again since stays as it is.
    pub fn end(&self, store: &Store, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        if let Some(there) = store.get(&self.row_key)?
            && values::is_removal(&there)?
            && values::position(&there)? == self.position
        {
            batch.remove(self.row_key.clone());
        }
        batch.remove(self.index_key.clone());
        Ok(())
    }
}

/// The first removals made up to that time, ms after the start.
fn first(store: &Store, until_ms: u64, most: usize) -> Result<Vec<Tombstone>, StoreError> {
    let mut tombstones = Vec::new();
    for entry in store.state().range(under(TOMBSTONES.to_be_bytes().to_vec())).take(most) {
        let (key, value) = entry?;
        let mut rest = key.get(size_of::<u32>()..).unwrap_or_default();
        let made_ms = take_number(&mut rest)?;
        if made_ms > until_ms {
            break;
        }
        let mut content = &value[..];
        let (position, lock) = (take_number(&mut content)?, take_number(&mut content)?);
        let lock = usize::try_from(lock).map_err(|_| damaged())?;
        tombstones.push(Tombstone { index_key: key.to_vec(), row_key: rest.to_vec(), position, lock });
    }
    Ok(tombstones)
}

fn index_key(made_ms: u64, row_key: &[u8]) -> Vec<u8> {
    [&TOMBSTONES.to_be_bytes()[..], &made_ms.to_be_bytes(), row_key].concat()
}

fn take_number(rest: &mut &[u8]) -> Result<u64, StoreError> {
    let (number, left) = rest.split_first_chunk().ok_or_else(damaged)?;
    *rest = left;
    Ok(u64::from_be_bytes(*number))
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

fn damaged() -> StoreError {
    StoreError::Damaged("the list of removed rows cannot be read".to_owned())
}
