use std::num::NonZeroUsize;

use kith_tables::{Key, Table};
use lru::LruCache;

use crate::Rows;

/// Rows that one worker keeps of the table partitions it touched last.
const CACHE_ROWS: usize = 2_048;
/// A table partition with more known rows than this starts over instead of growing.
const CACHE_ROWS_PER_PARTITION: usize = 256;

/// Recent state of owned table partitions. It belongs to one worker and ends with it: a new owner starts empty.
pub(crate) struct Cache {
    partitions: LruCache<(&'static str, Key), Rows>,
    rows: usize,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let most = NonZeroUsize::new(CACHE_ROWS).unwrap_or(NonZeroUsize::MIN);
        Self { partitions: LruCache::new(most), rows: 0 }
    }

    /// Takes out what is known of a table partition; nothing, if nothing is.
    pub(crate) fn take(&mut self, table: &'static Table, partition: &Key, source: i32) -> Rows {
        match self.partitions.pop(&(table.name, partition.clone())) {
            Some(rows) => {
                self.rows -= rows.len();
                rows
            }
            None => Rows::new(table, source),
        }
    }

    /// Puts back what was written. Rows that were not written yet must not come back.
    pub(crate) fn put(&mut self, table: &'static Table, partition: Key, rows: Rows) {
        if rows.len() > CACHE_ROWS_PER_PARTITION {
            return;
        }
        self.rows += rows.len();
        if let Some((_, old)) = self.partitions.push((table.name, partition), rows) {
            self.rows -= old.len();
        }
        while self.rows > CACHE_ROWS {
            let Some((_, oldest)) = self.partitions.pop_lru() else { break };
            self.rows -= oldest.len();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
        self.rows = 0;
    }
}
