use kith_runtime::Runtime;
use kith_tables::{Key, Table};
use lru::LruCache;

use crate::Rows;

/// How much a worker keeps.
struct Sizes {
    /// Rows of the table partitions used last. A row takes about 1 KiB with its overhead.
    rows: usize,
    /// A table partition with more known rows than this is cleared instead of growing.
    rows_per_partition: usize,
    /// Summary rows of evicted table partitions of which every written row is known: a record that only adds a row to
    /// one costs no read.
    summaries: usize,
    /// Hashes of written rows in all of these, about 16 bytes each.
    written: usize,
}

/// A process of all services has 208 workers.
const SIZES: Sizes = Sizes { rows: 64, rows_per_partition: 32, summaries: 256, written: 8 * 1_024 };
/// A simulation has few rows: small sizes, so that rows are evicted there too.
const SIMULATED: Sizes = Sizes { rows: 6, rows_per_partition: 3, summaries: 4, written: 1_024 };
/// Hashes of written rows that take as much memory as one row.
const WRITTEN_PER_ROW: usize = 64;

/// Recent state of owned table partitions. It belongs to one worker and ends with it: a new owner starts empty.
pub(crate) struct PartitionCache {
    sizes: &'static Sizes,
    partitions: Shelf,
    /// Those of which only the summary is left.
    summaries: Shelf,
}

type Place = (&'static str, Key);

/// The ones used last, as many as their weights allow.
struct Shelf {
    partitions: LruCache<Place, Rows>,
    weigh: fn(&Rows) -> usize,
    weight: usize,
    most_partitions: usize,
    most_weight: usize,
}

fn written(rows: &Rows) -> usize {
    rows.written().unwrap_or_default()
}

impl PartitionCache {
    pub(crate) fn new(runtime: &Runtime) -> Self {
        Self::of(if runtime.is_simulated() { &SIMULATED } else { &SIZES })
    }

    fn of(sizes: &'static Sizes) -> Self {
        let weigh = |rows: &Rows| rows.len() + written(rows) / WRITTEN_PER_ROW;
        let partitions = Shelf::new(sizes.rows, sizes.rows, weigh);
        Self { sizes, partitions, summaries: Shelf::new(sizes.summaries, sizes.written, written) }
    }

    /// Takes out what is known of a table partition; nothing, if nothing is.
    pub(crate) fn take(&mut self, table: &'static Table, partition: &Key, source: i32) -> Rows {
        self.remove(&(table.name, partition.clone())).unwrap_or_else(|| Rows::new(table, source))
    }

    /// Puts back written rows. Rows whose write is not done must not come back.
    pub(crate) fn put(&mut self, table: &'static Table, partition: Key, rows: Rows) {
        let place = (table.name, partition);
        self.remove(&place);
        let made_room = match rows.len() > self.sizes.rows_per_partition {
            true => vec![(place, rows)],
            false => self.partitions.put(place, rows),
        };
        for (place, mut rows) in made_room.into_iter().filter(|(_, rows)| rows.written().is_some()) {
            rows.shrink();
            self.summaries.put(place, rows);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::of(self.sizes);
    }

    fn remove(&mut self, place: &Place) -> Option<Rows> {
        self.partitions.take(place).or_else(|| self.summaries.take(place))
    }
}

impl Shelf {
    fn new(most_partitions: usize, most_weight: usize, weigh: fn(&Rows) -> usize) -> Self {
        // Bounded here: otherwise each of many workers allocates room for all at once.
        Self { partitions: LruCache::unbounded(), weigh, weight: 0, most_partitions, most_weight }
    }

    fn take(&mut self, place: &Place) -> Option<Rows> {
        let rows = self.partitions.pop(place)?;
        self.weight -= (self.weigh)(&rows);
        Some(rows)
    }

    /// Returns the evicted ones.
    fn put(&mut self, place: Place, rows: Rows) -> Vec<(Place, Rows)> {
        self.weight += (self.weigh)(&rows);
        let mut made_room: Vec<_> = self.partitions.push(place, rows).into_iter().collect();
        self.weight -= made_room.iter().map(|(_, rows)| (self.weigh)(rows)).sum::<usize>();
        while self.weight > self.most_weight || self.partitions.len() > self.most_partitions {
            let Some((place, rows)) = self.partitions.pop_lru() else { break };
            self.weight -= (self.weigh)(&rows);
            made_room.push((place, rows));
        }
        made_room
    }
}

#[cfg(test)]
mod tests {
    use kith_tables::{Column, Order, Row, RowKey, Section, row};

    use super::*;

    static THINGS: Table = Table {
        name: "things",
        partition: &[Column::text("id")],
        clustering: &[Column::bigint("n")],
        order: Order::Ascending,
        sections: &[Section::of::<Thing>("thing")],
        summary: &[],
    };
    row! {
        #[derive(Debug, Clone, Default, PartialEq)]
        struct Thing in 0 { seen: i64 }
    }

    fn rows(count: usize) -> Rows {
        let mut rows = Rows::new(&THINGS, 1);
        for n in 0..count as i64 {
            let key = RowKey { section: 0, clustering: vec![n.into()] };
            rows.learn(key.clone(), Some(Row { key, columns: vec![n.into()], position: 0 }));
        }
        rows
    }

    /// Seen before it had a row.
    fn whole(count: usize) -> Rows {
        let mut empty = Rows::new(&THINGS, 1);
        empty.begin(THINGS.summary_key(1), []);
        empty.apply_at(0, |rows| (0..count as i64).for_each(|n| rows.put([n.into()], Thing { seen: n })));
        empty.take_dirty();
        empty
    }

    fn put(cache: &mut PartitionCache, id: usize, count: usize) {
        cache.put(&THINGS, Key::text(&id.to_string()), rows(count));
    }

    fn take(cache: &mut PartitionCache, id: usize) -> usize {
        cache.take(&THINGS, &Key::text(&id.to_string()), 1).len()
    }

    #[test]
    fn what_is_taken_out_is_gone_until_it_is_put_back() {
        let mut cache = PartitionCache::of(&SIZES);
        put(&mut cache, 1, 3);
        assert_eq!([take(&mut cache, 1), take(&mut cache, 1), take(&mut cache, 2)], [3, 0, 0]);
        assert_eq!(cache.partitions.weight, 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = PartitionCache::of(&SIZES);
        let each = SIZES.rows_per_partition;
        let fit = SIZES.rows / each;
        for id in 0..fit + 2 {
            put(&mut cache, id, each);
        }
        assert_eq!(cache.partitions.weight, SIZES.rows);
        assert_eq!([take(&mut cache, 0), take(&mut cache, 1), take(&mut cache, 2)], [0, 0, each]);
    }

    #[test]
    fn empty_partitions_are_bounded_too() {
        let mut cache = PartitionCache::of(&SIZES);
        (0..SIZES.rows + 5).for_each(|id| put(&mut cache, id, 0));
        assert_eq!((cache.partitions.partitions.len(), cache.partitions.weight), (SIZES.rows, 0));
    }

    #[test]
    fn a_partition_that_grew_too_wide_starts_over() {
        let mut cache = PartitionCache::of(&SIZES);
        put(&mut cache, 1, SIZES.rows_per_partition + 1);
        assert_eq!((take(&mut cache, 1), cache.partitions.weight), (0, 0));
    }

    #[test]
    fn rows_are_counted_once_when_a_partition_is_put_twice() {
        let mut cache = PartitionCache::of(&SIZES);
        put(&mut cache, 1, 5);
        put(&mut cache, 1, 2);
        assert_eq!(cache.partitions.weight, 2);
        cache.clear();
        assert_eq!((take(&mut cache, 1), cache.partitions.weight), (0, 0));
    }

    #[test]
    fn of_one_that_was_seen_empty_the_summary_stays_and_what_was_written_is_told_from_what_is_not_there() {
        let mut cache = PartitionCache::of(&SIZES);
        cache.put(&THINGS, Key::text("wide"), whole(SIZES.rows_per_partition + 1));
        let rows = cache.take(&THINGS, &Key::text("wide"), 1);
        let key = |n: i64| RowKey { section: 0, clustering: vec![n.into()] };
        assert_eq!((rows.len(), rows.mark()), (1, Some(0)));
        assert_eq!(
            [0, 32, 33].map(|n| (rows.knows(&key(n)), rows.lacks(&key(n)))),
            [(false, false), (false, false), (false, true)]
        );
        assert_eq!(take(&mut cache, 0), 0, "it was taken out");
    }

    #[test]
    fn summaries_are_bounded_by_number_and_by_what_was_written() {
        let mut cache = PartitionCache::of(&SIZES);
        for id in 0..SIZES.summaries + 100 {
            cache.put(&THINGS, Key::text(&id.to_string()), whole(1));
        }
        assert_eq!(cache.summaries.partitions.len(), SIZES.summaries);
        for id in 0..100 {
            cache.put(&THINGS, Key::text(&id.to_string()), whole(500));
        }
        assert!(cache.summaries.weight <= SIZES.written && cache.summaries.partitions.len() <= SIZES.written / 500);
        assert_eq!(cache.partitions.weight, SIZES.rows);
    }

    #[test]
    fn what_is_put_anew_is_what_is_taken() {
        let mut cache = PartitionCache::of(&SIZES);
        cache.put(&THINGS, Key::text("1"), whole(SIZES.rows_per_partition + 1));
        put(&mut cache, 1, 2);
        (2..100).for_each(|id| put(&mut cache, id, SIZES.rows_per_partition));
        assert_eq!(take(&mut cache, 1), 0, "neither the old nor the new");
    }
}
