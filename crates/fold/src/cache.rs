use std::num::NonZeroUsize;

use kith_tables::{Key, Table};
use lru::LruCache;

use crate::Rows;

/// Rows that one worker keeps of the table partitions it touched last. A process of all services has 208 workers, and a
/// row takes about 1 KiB with what stands around it.
const CACHE_ROWS: usize = 64;
/// A table partition with more known rows than this starts over instead of growing.
const CACHE_ROWS_PER_PARTITION: usize = 32;

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

#[cfg(test)]
mod tests {
    use kith_tables::{Column, Order, Row, RowKey, Section};

    use super::*;

    static THINGS: Table = Table {
        name: "things",
        partition: &[Column::text("id")],
        clustering: &[Column::bigint("n")],
        order: Order::Ascending,
        sections: &[Section { id: 0, name: "thing", columns: &[Column::bigint("seen")] }],
        summary: &[],
    };

    fn rows(count: usize) -> Rows {
        let mut rows = Rows::new(&THINGS, 1);
        for n in 0..count as i64 {
            let key = RowKey { section: 0, clustering: vec![n.into()] };
            rows.learn(key.clone(), Some(Row { key, columns: vec![n.into()], position: 0 }));
        }
        rows
    }

    fn put(cache: &mut Cache, id: usize, count: usize) {
        cache.put(&THINGS, Key::text(&id.to_string()), rows(count));
    }

    fn take(cache: &mut Cache, id: usize) -> usize {
        cache.take(&THINGS, &Key::text(&id.to_string()), 1).len()
    }

    #[test]
    fn what_is_taken_out_is_gone_until_it_is_put_back() {
        let mut cache = Cache::new();
        put(&mut cache, 1, 3);
        assert_eq!([take(&mut cache, 1), take(&mut cache, 1), take(&mut cache, 2)], [3, 0, 0]);
        assert_eq!(cache.rows, 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = Cache::new();
        let each = CACHE_ROWS_PER_PARTITION;
        let fit = CACHE_ROWS / each;
        for id in 0..fit + 2 {
            put(&mut cache, id, each);
        }
        assert_eq!(cache.rows, CACHE_ROWS);
        assert_eq!([take(&mut cache, 0), take(&mut cache, 1), take(&mut cache, 2)], [0, 0, each]);
    }

    #[test]
    fn empty_partitions_are_bounded_too() {
        let mut cache = Cache::new();
        (0..CACHE_ROWS + 5).for_each(|id| put(&mut cache, id, 0));
        assert_eq!((cache.partitions.len(), cache.rows), (CACHE_ROWS, 0));
    }

    #[test]
    fn a_partition_that_grew_too_wide_starts_over() {
        let mut cache = Cache::new();
        put(&mut cache, 1, CACHE_ROWS_PER_PARTITION + 1);
        assert_eq!((take(&mut cache, 1), cache.rows), (0, 0));
    }

    #[test]
    fn rows_are_counted_once_when_a_partition_is_put_twice() {
        let mut cache = Cache::new();
        put(&mut cache, 1, 5);
        put(&mut cache, 1, 2);
        assert_eq!(cache.rows, 2);
        cache.clear();
        assert_eq!((take(&mut cache, 1), cache.rows), (0, 0));
    }
}
