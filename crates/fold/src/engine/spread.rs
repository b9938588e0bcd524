use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use futures::{FutureExt, try_join};
use kith_tables::{Apply, Key, Keyspace, MAX_APPLY_ROWS, Row, RowKey, RowRange, Slice, Table, Value, Write};

use super::side_by_side::side_by_side;
use crate::{Append, Effect, FoldError, Publisher, Put, Then, Unless, Walk};

/// Rows of the other side per read.
const PAGE_ROWS: usize = 1_000;
/// Concurrent reads.
const READS_IN_FLIGHT: usize = 16;
/// Keys appended to concurrently.
const APPENDS_IN_FLIGHT: usize = 64;
/// Writes that are buffered to be made together, at most one per row. The record that reaches this number still adds all of its own.
const HELD_WRITES: usize = 4_096;
/// Appends that are buffered before they are made.
const HELD_APPENDS: usize = 1_024;
/// With so many reads and later effects waiting, the spreader takes no more records.
const HELD_READS: usize = 4_096;

/// Executes the effects of a batch of records, or of one part of it after the other: reads a page of each in turn, so that no wide
/// one starves another, and groups writes by table partition.
pub(crate) struct Spreader<'a> {
    keyspace: &'a dyn Keyspace,
    /// Who appends; `None` while the folds catch up, or rebuild.
    publisher: Option<&'a Publisher>,
    /// Called for each page read and each round written: a batch with a wide fan-out takes long, but is not stalled.
    progress: &'a (dyn Fn() + Sync),
    puts: BTreeMap<(&'static str, Key), Target>,
    held_writes: usize,
    appends: Vec<Append>,
    reads: VecDeque<Read>,
    later: Vec<Effect>,
    withheld: Vec<Withheld>,
}

/// The table partition of a walk withheld by a row there: another process may have written the row.
pub(crate) type Withheld = (&'static str, Key);

struct Target {
    table: &'static Table,
    /// Of each row the last.
    writes: BTreeMap<RowKey, Write>,
}

enum Read {
    Some { table: &'static Table, partition: Key, rows: Vec<RowKey>, then: Then<[Option<Row>]> },
    Each(Box<Walk>),
}

impl<'a> Spreader<'a> {
    pub(crate) fn new(
        keyspace: &'a dyn Keyspace,
        publisher: Option<&'a Publisher>,
        progress: &'a (dyn Fn() + Sync),
    ) -> Self {
        let (puts, appends, reads, later) = (BTreeMap::new(), Vec::new(), VecDeque::new(), Vec::new());
        Self { keyspace, publisher, progress, puts, held_writes: 0, appends, reads, later, withheld: Vec::new() }
    }

    /// Whether it holds so much that it is to run before it takes more.
    pub(crate) fn is_full(&self) -> bool {
        let waiting = self.reads.len() + self.later.len();
        self.held_writes >= HELD_WRITES || self.appends.len() >= HELD_APPENDS || waiting >= HELD_READS
    }

    /// Everything that it took is durable when it returns, and it holds nothing; returns what was withheld.
    pub(crate) async fn run(&mut self) -> Result<Vec<Withheld>, FoldError> {
        loop {
            (self.progress)();
            if self.held_writes >= HELD_WRITES || self.reads.is_empty() {
                self.write().await?;
            }
            if self.appends.len() >= HELD_APPENDS || self.reads.is_empty() {
                self.append().await?;
            }
            if !self.reads.is_empty() {
                self.read().await?;
            } else if self.later.is_empty() {
                return Ok(std::mem::take(&mut self.withheld));
            } else {
                let later = std::mem::take(&mut self.later);
                self.take(later);
            }
        }
    }

    pub(crate) fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Put(put) => self.hold(put),
                Effect::Append(append) if self.publisher.is_some() => self.appends.push(*append),
                Effect::AppendThen(append, then) if self.publisher.is_some() => {
                    self.appends.push(*append);
                    self.later.extend(then);
                }
                Effect::Append(_) | Effect::AppendThen(..) => {}
                Effect::Read { table, partition, rows, then } => {
                    self.reads.push_back(Read::Some { table, partition, rows, then });
                }
                Effect::ForEach(walk) => self.reads.push_back(Read::Each(walk)),
                Effect::After(effects) => self.later.extend(effects),
            }
        }
    }

    /// Of two writes to one row the later position stands, at equal positions a removal, else the last one: it is the row's final
    /// state.
    fn hold(&mut self, Put { table, partition, write }: Put) {
        let target =
            self.puts.entry((table.name, partition)).or_insert_with(|| Target { table, writes: BTreeMap::new() });
        match target.writes.entry(write.key.clone()) {
            Entry::Vacant(room) => {
                room.insert(write);
                self.held_writes += 1;
            }
            Entry::Occupied(mut held) if !held.get().stands_over(&write) => drop(held.insert(write)),
            Entry::Occupied(_) => {}
        }
    }

    async fn read(&mut self) -> Result<(), FoldError> {
        let turn: Vec<Read> = (0..READS_IN_FLIGHT).map_while(|_| self.reads.pop_front()).collect();
        let keyspace = self.keyspace;
        let pages = turn.into_iter().map(|read| page(keyspace, read).boxed()).collect();
        for Page { effects, rest, withheld } in side_by_side(pages, READS_IN_FLIGHT).await? {
            self.take(effects);
            self.reads.extend(rest);
            self.withheld.extend(withheld);
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), FoldError> {
        self.held_writes = 0;
        let targets = std::mem::take(&mut self.puts);
        let of =
            |((_, partition), target): (_, Target)| (target.table, partition, target.writes.into_values().collect());
        let targets: Vec<(&'static Table, Key, Vec<Write>)> = targets.into_iter().map(of).collect();
        let mut all: Vec<Apply<'_>> = Vec::with_capacity(targets.len());
        for (table, partition, writes) in &targets {
            all.extend(writes.chunks(MAX_APPLY_ROWS).map(|writes| Apply { table, partition, writes }));
        }
        Ok(self.keyspace.apply_all(&all).await?)
    }

    /// Appends under one key sequentially, in the order of their causes; under different keys concurrently.
    async fn append(&mut self) -> Result<(), FoldError> {
        let Some(publisher) = self.publisher else { return Ok(()) };
        let mut by_key: BTreeMap<(u16, String), Vec<Append>> = BTreeMap::new();
        for append in std::mem::take(&mut self.appends) {
            by_key.entry((append.topic.id, append.key.clone())).or_default().push(append);
        }
        let appends = by_key.into_values().map(|appends| append_all(publisher, appends).boxed()).collect();
        side_by_side(appends, APPENDS_IN_FLIGHT).await?;
        Ok(())
    }
}

async fn append_all(publisher: &Publisher, appends: Vec<Append>) -> Result<(), FoldError> {
    for append in appends {
        publisher.append(append.topic, &append.key, append.id, &append.event, &append.cause).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Page {
    effects: Vec<Effect>,
    rest: Option<Read>,
    withheld: Option<Withheld>,
}

async fn page(keyspace: &dyn Keyspace, read: Read) -> Result<Page, FoldError> {
    match read {
        Read::Some { table, partition, rows, then } => {
            let rows = keyspace.get(table, &partition, &rows).await?;
            Ok(Page { effects: then(&rows), ..Page::default() })
        }
        Read::Each(walk) => step(keyspace, walk).await,
    }
}

/// One page of a walk, and its continuation.
async fn step(keyspace: &dyn Keyspace, mut walk: Box<Walk>) -> Result<Page, FoldError> {
    let slice = Slice { range: walk.range.clone(), limit: PAGE_ROWS };
    let unless = walk.unless.take();
    let holds = async {
        let Some(Unless { row, holds }) = unless else { return Ok(false) };
        let found = keyspace.get(walk.table, &walk.partition, &[row]).await?;
        Ok(found.iter().flatten().any(holds))
    };
    let (rows, holds) = try_join!(keyspace.slice(walk.table, &walk.partition, &slice), holds)?;
    if holds {
        return Ok(Page { withheld: Some((walk.table.name, walk.partition)), ..Page::default() });
    }
    let steps: Vec<Vec<Effect>> = rows.iter().map_while(|row| (walk.then)(row)).collect();
    let goes_on = steps.len() == PAGE_ROWS;
    let effects = steps.into_iter().flatten().collect();
    let Some(last) = rows.last().filter(|_| goes_on) else { return Ok(Page { effects, ..Page::default() }) };
    walk.range = after(&walk.range, last);
    Ok(Page { effects, rest: Some(Read::Each(walk)), withheld: None })
}

/// The range that continues after `row`.
fn after(range: &RowRange, row: &Row) -> RowRange {
    let rest: Vec<Value> = row.key.clustering[range.prefix.len()..].to_vec();
    RowRange { section: range.section, prefix: range.prefix.clone(), after: Some(rest) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kith_log::embedded::EmbeddedLog;
    use kith_log::{EventLog, LogPartition, RecordId, topics};
    use kith_proto::Event;
    use kith_proto::deadletters::v1::DeadLetter;
    use kith_runtime::Runtime;

    use super::*;
    use crate::Cause;
    use crate::notes::{NOTES, NoteRow, SlipRow, keyspace};

    struct Desk {
        keyspace: Arc<dyn Keyspace>,
        log: Arc<EmbeddedLog>,
        publisher: Publisher,
        _folder: tempfile::TempDir,
    }

    async fn desk() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::simulated(1, 0);
        let keyspace = keyspace(&folder.path().join("tables"), &runtime).await;
        let log = EmbeddedLog::open(&folder.path().join("log"), 1, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let publisher = Publisher::new(Arc::clone(&log) as Arc<dyn EventLog>, runtime, "notes");
        Desk { keyspace, log, publisher, _folder: folder }
    }

    impl Desk {
        async fn run(&self, effects: Vec<Effect>) {
            let mut spreader = Spreader::new(&*self.keyspace, Some(&self.publisher), &|| {});
            spreader.take(effects);
            spreader.run().await.unwrap();
        }

        async fn notes(&self, book: &str) -> Vec<(String, u64)> {
            let slice = Slice { range: RowRange::all::<NoteRow>(), limit: kith_tables::MAX_SLICE_ROWS };
            let rows = self.keyspace.slice(&NOTES, &Key::text(book), &slice).await.unwrap();
            rows.iter().map(|row| (row.read::<NoteRow>().unwrap().text, row.position)).collect()
        }

        async fn appended(&self) -> u64 {
            self.log.heads(topics::DEAD_LETTERS).await.unwrap()[0]
        }
    }

    fn remove(book: &str, page: i64, position: u64) -> Effect {
        Effect::remove::<SlipRow>(&NOTES, Key::text(book), [page.into()], position)
    }

    fn slip(book: &str, page: i64, position: u64) -> Effect {
        Effect::put(&NOTES, Key::text(book), [page.into()], SlipRow { text: position.to_string() }, position)
    }

    fn put(book: &str, page: i64, text: &str, position: u64) -> Effect {
        Effect::put(&NOTES, Key::text(book), [page.into()], NoteRow { text: text.to_owned() }, position)
    }

    /// Copies the pages of a book below `end` into two others.
    fn copy(book: &str, end: i64, unless: Option<Unless>) -> Effect {
        let then = move |row: &Row| {
            let Some(&Value::BigInt(page)) = row.key.clustering.first() else { return Some(Vec::new()) };
            (page < end).then(|| vec![put(&format!("copy{}", page % 2), page, "y", 2)])
        };
        let (partition, range) = (Key::text(book), RowRange::all::<NoteRow>());
        Effect::ForEach(Box::new(Walk { table: &NOTES, partition, range, unless, then: Arc::new(then) }))
    }

    fn letter(n: u8) -> Effect {
        let letter = DeadLetter { origin_offset: u64::from(n), ..DeadLetter::default() };
        let (id, event, cause) = (RecordId([n; 16]), Event::DeadLetter(letter), Cause::default());
        Effect::append(Append { topic: topics::DEAD_LETTERS, key: "k".to_owned(), id, event, cause })
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_writes_to_a_row_the_later_position_stays() {
        let desk = desk().await;
        let puts = [("first", 9), ("late", 9), ("early", 3)].map(|(text, position)| put("a", 1, text, position));
        desk.run(puts.into_iter().chain([put("b", 1, "other", 2)]).collect()).await;
        desk.run(vec![put("a", 1, "again", 8)]).await;
        assert_eq!(desk.notes("a").await, [("late".to_owned(), 9)]);
        assert_eq!(desk.notes("b").await, [("other".to_owned(), 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_put_and_a_removal_the_later_position_stays_and_at_one_the_removal() {
        let desk = desk().await;
        desk.run(vec![slip("a", 1, 5), remove("a", 1, 5), remove("a", 2, 5), slip("a", 2, 5)]).await;
        desk.run(vec![remove("a", 3, 4), slip("a", 3, 5), slip("a", 4, 4), remove("a", 4, 5)]).await;
        desk.run(vec![slip("a", 1, 5), slip("a", 4, 4)]).await;
        let slice = Slice { range: RowRange::all::<SlipRow>(), limit: 10 };
        let left = desk.keyspace.slice(&NOTES, &Key::text("a"), &slice).await.unwrap();
        assert_eq!(left.iter().map(|row| row.position).collect::<Vec<_>>(), [5]);
        assert_eq!(left[0].key.clustering, [3.into()]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_bounded_and_writes_of_one_row_are_one() {
        let desk = desk().await;
        let fills = |effects: &mut dyn Iterator<Item = Effect>| {
            let mut spreader = Spreader::new(&*desk.keyspace, Some(&desk.publisher), &|| {});
            effects
                .take_while(|effect| {
                    spreader.take(vec![effect.clone()]);
                    !spreader.is_full()
                })
                .count()
                + 1
        };
        assert_eq!(fills(&mut (0..).map(|page| put("a", page, "x", 1))), HELD_WRITES);
        assert_eq!(
            fills(&mut (0..3 * HELD_WRITES as u64).map(|at| put("a", 1, "x", at))),
            3 * HELD_WRITES + 1,
            "never"
        );
        assert_eq!(fills(&mut (0..=255).cycle().map(letter)), HELD_APPENDS);
        assert_eq!(fills(&mut std::iter::repeat_with(|| copy("a", 1, None))), HELD_READS);
        assert_eq!(fills(&mut std::iter::repeat_with(|| Effect::After(vec![letter(1)]))), HELD_READS);
    }

    #[tokio::test(start_paused = true)]
    async fn every_row_of_a_wide_partition_is_followed() {
        let desk = desk().await;
        let wide = PAGE_ROWS as i64 + 500;
        desk.run((0..wide).map(|page| put("wide", page, "x", 1)).collect()).await;
        desk.run(vec![copy("wide", i64::MAX, None)]).await;
        let copies = desk.notes("copy0").await.len() + desk.notes("copy1").await.len();
        assert_eq!(copies, wide as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_ends_where_it_is_told_to_and_does_not_begin_where_it_must_not() {
        let desk = desk().await;
        desk.run((0..10).map(|page| put("a", page, "x", 1)).collect()).await;
        let unless = |page: i64| Unless {
            row: RowKey::of::<NoteRow>([page.into()]),
            holds: |row| row.read::<NoteRow>().is_some_and(|note| note.text == "x"),
        };
        desk.run(vec![copy("a", 10, Some(unless(5)))]).await;
        assert!(desk.notes("copy0").await.is_empty());
        desk.run(vec![copy("a", 4, Some(unless(99)))]).await;
        assert_eq!((desk.notes("copy0").await.len(), desk.notes("copy1").await.len()), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_sees_the_store_and_what_is_absent() {
        let desk = desk().await;
        desk.run(vec![put("a", 1, "there", 1)]).await;
        let then: Then<[Option<Row>]> = Arc::new(|rows| {
            let text = format!("{} {}", rows[0].is_some(), rows[1].is_some());
            vec![put("b", 0, &text, 2)]
        });
        let rows = [1, 2].map(|page: i64| RowKey::of::<NoteRow>([page.into()])).to_vec();
        desk.run(vec![Effect::Read { table: &NOTES, partition: Key::text("a"), rows, then }]).await;
        assert_eq!(desk.notes("b").await, [("true false".to_owned(), 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_sees_all_that_came_before() {
        let desk = desk().await;
        desk.run(vec![Effect::After(vec![copy("a", i64::MAX, None)]), put("a", 1, "written", 1)]).await;
        assert_eq!(desk.notes("copy1").await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn appends_are_made_in_order_and_only_by_who_may() {
        let desk = desk().await;
        let mut spreader = Spreader::new(&*desk.keyspace, None, &|| {});
        spreader.take(vec![letter(1)]);
        spreader.run().await.unwrap();
        assert_eq!(desk.appended().await, 0);
        desk.run((1..=20).map(letter).collect()).await;
        assert_eq!(desk.appended().await, 20);
        let partition = LogPartition { topic: topics::DEAD_LETTERS, index: 0 };
        let mut reader = desk.log.read(partition, 0).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < 20 {
            ids.extend(reader.next().await.unwrap().unwrap().iter().map(|record| record.id().unwrap()));
        }
        assert_eq!(ids, (1..=20).map(|n| RecordId([n; 16])).collect::<Vec<_>>());
    }
}
