use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use kith_runtime::Runtime;
use kith_tables::{MAX_GET_ROWS, RowType, ScanPage};

use super::*;
use crate::cache::SoleWriter;
use crate::notes::{NOTES, NoteRow, SlipRow, keyspace, note};

/// Tables that count how often they are read, and take no writes while they are down.
struct Counting {
    tables: Arc<dyn Keyspace>,
    is_down: AtomicBool,
    gets: AtomicU64,
    slices: AtomicU64,
}

#[async_trait]
impl Keyspace for Counting {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.tables.get(table, key, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.slices.fetch_add(1, Ordering::Relaxed);
        self.tables.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        self.tables.apply(table, partition, writes).await
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.tables.scan(table, cursor).await
    }
}

struct Desk {
    counting: Arc<Counting>,
    sole_writer: Arc<SoleWriter>,
    cache: Arc<RowCache>,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
        let (gets, slices) = (AtomicU64::new(0), AtomicU64::new(0));
        let counting = Arc::new(Counting { tables, is_down: AtomicBool::new(false), gets, slices });
        let sole_writer = Arc::new(SoleWriter::new(Arc::clone(&counting) as Arc<dyn Keyspace>, CacheCounts::default()));
        sole_writer.begin();
        let cache = Arc::clone(sole_writer.rows());
        Self { counting, sole_writer, cache, _folder: folder }
    }

    async fn write(&self, book: &str, pages: std::ops::Range<i64>) {
        let writes: Vec<Write> = pages.map(|page| note(page, "x", 1)).collect();
        self.sole_writer.apply(&NOTES, &Key::text(book), &writes).await.unwrap();
    }

    /// Which of these pages are there.
    async fn there(&self, book: &str, pages: &[i64]) -> Vec<bool> {
        let keys: Vec<RowKey> = pages.iter().map(|&page| RowKey::of::<NoteRow>([page.into()])).collect();
        let rows = self.cache.get(&*self.sole_writer, &NOTES, &Key::text(book), &keys).await.unwrap();
        rows.iter().map(Option::is_some).collect()
    }

    /// Gets and slices so far.
    fn reads(&self) -> (u64, u64) {
        (self.counting.gets.load(Ordering::Relaxed), self.counting.slices.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_small_section_all_is_known_once_it_was_asked_for() {
    let desk = Desk::new().await;
    desk.write("a", 0..3).await;
    assert_eq!(desk.there("a", &[2, 7]).await, [true, false]);
    assert_eq!(desk.there("a", &[8, 0, 1]).await, [false, true, true], "pairs never asked for before");
    assert_eq!(desk.reads(), (0, 1));
    assert_eq!(desk.there("b", &[2]).await, [false]);
    assert_eq!(desk.reads(), (0, 2), "another partition");
}

#[tokio::test(start_paused = true)]
async fn of_a_large_section_what_was_asked_for_is_known() {
    let desk = Desk::new().await;
    desk.write("a", 0..WHOLE_ROWS as i64).await;
    assert_eq!(desk.there("a", &[2, 700]).await, [true, false]);
    assert_eq!(desk.reads(), (1, 1));
    assert_eq!(desk.there("a", &[700]).await, [false]);
    assert_eq!(desk.reads(), (1, 1));
    assert_eq!(desk.there("a", &[3]).await, [true]);
    assert_eq!(desk.reads(), (2, 1), "it is not tried whole again");
}

#[tokio::test(start_paused = true)]
async fn what_others_may_have_changed_is_read_again() {
    let desk = Desk::new().await;
    desk.write("a", 1..2).await;
    assert_eq!(desk.there("a", &[1]).await, [true]);
    desk.sole_writer.forget();
    assert_eq!(desk.there("a", &[1]).await, [true]);
    assert_eq!(desk.reads(), (0, 2), "what others wrote is seen");
    desk.sole_writer.forget();
    desk.write("a", 2..3).await;
    assert_eq!(desk.there("a", &[1]).await, [true]);
    assert_eq!(desk.reads(), (0, 3), "also after a write of our own");
    desk.sole_writer.end();
    desk.there("a", &[1]).await;
    desk.there("a", &[1]).await;
    assert_eq!(desk.reads(), (2, 3), "nothing is remembered while others may write");
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_many_known_rows_starts_over() {
    let desk = Desk::new().await;
    desk.write("a", 0..WHOLE_ROWS as i64).await;
    let many: Vec<i64> = (0..PARTITION_ROWS as i64).collect();
    for few in many.chunks(MAX_GET_ROWS) {
        desk.there("a", few).await;
    }
    let gets = (PARTITION_ROWS / MAX_GET_ROWS) as u64;
    assert_eq!(desk.reads(), (gets, 1));
    desk.there("a", &[500]).await;
    assert_eq!(desk.reads(), (gets, 1));
    desk.there("a", &[5_000]).await;
    desk.there("a", &[5_000]).await;
    assert_eq!(desk.reads(), (gets + 1, 1));
    desk.there("a", &[500]).await;
    assert_eq!(desk.reads(), (gets + 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_known_without_a_read() {
    let desk = Desk::new().await;
    desk.write("a", 1..3).await;
    assert_eq!(desk.there("a", &[1, 3]).await, [true, false]);
    desk.write("a", 3..4).await;
    assert_eq!(desk.there("a", &[1, 2, 3, 4]).await, [true, true, true, false], "of a small section");
    desk.write("b", 0..WHOLE_ROWS as i64).await;
    assert_eq!(desk.there("b", &[500]).await, [false]);
    assert_eq!(desk.reads(), (1, 2));
    desk.write("b", 500..502).await;
    assert_eq!(desk.there("b", &[500]).await, [true], "what was asked for of a large one");
    assert_eq!(desk.reads(), (1, 2));
    assert_eq!(desk.there("b", &[501]).await, [true]);
    assert_eq!(desk.reads(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_small_section_that_grows_is_known_until_it_is_too_large() {
    let desk = Desk::new().await;
    assert_eq!(desk.there("a", &[0]).await, [false]);
    for page in 0..PARTITION_ROWS as i64 {
        desk.write("a", page..page + 1).await;
    }
    assert_eq!(desk.there("a", &[0, PARTITION_ROWS as i64]).await, [true, false]);
    assert_eq!(desk.reads(), (0, 1));
    let known = desk.cache.partitions.get(&(NOTES.name, Key::text("a"))).unwrap();
    assert_eq!(known.bytes, known.rows.iter().map(|row| size_of_row(row)).sum::<usize>());
    desk.write("a", 5_000..5_001).await;
    assert_eq!(desk.there("a", &[0, 5_000]).await, [true, true]);
    assert_eq!(desk.there("a", &[7]).await, [true]);
    assert_eq!(desk.reads(), (2, 2), "tried once, then asked row by row");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_comes_late_or_fails_changes_nothing_that_is_known() {
    let desk = Desk::new().await;
    let (book, [key]) = (Key::text("a"), [note(1, "", 0).key]);
    let text = async || {
        let rows = desk.cache.get(&*desk.sole_writer, &NOTES, &book, std::slice::from_ref(&key)).await.unwrap();
        rows[0].as_ref().unwrap().read::<NoteRow>().unwrap().text
    };
    desk.sole_writer.apply(&NOTES, &book, &[note(1, "new", 2)]).await.unwrap();
    assert_eq!(text().await, "new");
    desk.sole_writer.apply(&NOTES, &book, &[note(1, "old", 1)]).await.unwrap();
    assert_eq!((text().await.as_str(), desk.reads()), ("new", (0, 1)));
    desk.counting.is_down.store(true, Ordering::Relaxed);
    desk.sole_writer.apply(&NOTES, &book, &[note(1, "failed", 3)]).await.unwrap_err();
    desk.counting.is_down.store(false, Ordering::Relaxed);
    assert_eq!((text().await.as_str(), desk.reads()), ("new", (0, 2)), "it may have been made after all");
    desk.sole_writer.apply(&NOTES, &book, &[note(1, "newer", 4)]).await.unwrap();
    assert_eq!((text().await.as_str(), desk.reads()), ("newer", (0, 2)));
}

#[tokio::test(start_paused = true)]
async fn what_two_writes_make_side_by_side_is_read() {
    let desk = Desk::new().await;
    let (table, partition) = (&NOTES, &Key::text("a"));
    assert_eq!(desk.there("a", &[1]).await, [false]);
    let [one, two] = [1, 2].map(|page| [note(page, "x", 1)]);
    let both = [&one, &two].map(|writes| Apply { table, partition, writes });
    desk.sole_writer.apply_all(&both).await.unwrap();
    assert_eq!(desk.reads(), (0, 1));
    assert_eq!(desk.there("a", &[1, 2]).await, [true, true]);
    assert_eq!(desk.reads(), (0, 2));
    desk.write("a", 3..4).await;
    assert_eq!((desk.there("a", &[3]).await, desk.reads()), (vec![true], (0, 2)));
}

/// Tables of which both rows are written anew just before the next read by key.
struct Meanwhile {
    tables: Arc<dyn Keyspace>,
    writes: std::sync::Mutex<Option<Vec<Write>>>,
}

#[async_trait]
impl Keyspace for Meanwhile {
    async fn get(&self, table: &'static Table, key: &Key, rows: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let writes = self.writes.lock().unwrap().take();
        if let Some(writes) = writes {
            self.tables.apply(table, key, &writes).await?;
        }
        self.tables.get(table, key, rows).await
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        self.tables.slice(table, partition, slice).await
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.tables.apply(table, partition, writes).await
    }

    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        self.tables.version(table, partition)
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.tables.are_current(versions)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        self.tables.scan(table, cursor).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_during_a_write_does_not_displace_what_it_made() {
    let desk = Desk::new().await;
    desk.write("a", 0..WHOLE_ROWS as i64).await;
    assert_eq!(desk.there("a", &[1]).await, [true]);
    let writes = std::sync::Mutex::new(Some(vec![note(1, "new", 2)]));
    let meanwhile = Meanwhile { tables: Arc::clone(&desk.sole_writer) as Arc<dyn Keyspace>, writes };
    desk.cache.get(&meanwhile, &NOTES, &Key::text("a"), &[note(2, "", 0).key]).await.unwrap();
    assert_eq!(desk.reads(), (2, 1));
    assert_eq!(desk.there("a", &[1]).await, [true]);
    assert_eq!(desk.reads(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn rows_of_two_states_are_not_given_together() {
    let folder = tempfile::tempdir().unwrap();
    let tables = keyspace(folder.path(), &Runtime::simulated(1, 0)).await;
    let book = Key::text("a");
    let old: Vec<Write> = (0..WHOLE_ROWS as i64).map(|page| note(page, "old", 1)).collect();
    tables.apply(&NOTES, &book, &old).await.unwrap();
    let new = vec![note(1, "new", 2), note(2, "new", 2)];
    let tables = Meanwhile { tables, writes: std::sync::Mutex::new(None) };
    let cache = RowCache::new(CacheCounts::default());
    let [one, two] = [1, 2].map(|page: i64| RowKey::of::<NoteRow>([page.into()]));
    let read = async |keys: &[RowKey]| {
        let rows = cache.get(&tables, &NOTES, &book, keys).await.unwrap();
        rows.iter().flatten().map(|row| row.read::<NoteRow>().unwrap().text).collect::<Vec<_>>()
    };
    assert_eq!(read(std::slice::from_ref(&one)).await, ["old"]);
    *tables.writes.lock().unwrap() = Some(new);
    assert_eq!(read(&[one.clone(), two.clone()]).await, ["new", "new"]);
    assert_eq!(read(&[one, two]).await, ["new", "new"]);
}

/// A slip's write and its removal.
fn slip(page: i64, position: u64) -> Write {
    let key = RowKey::of::<SlipRow>([page.into()]);
    Write { key, columns: Some(SlipRow { text: position.to_string() }.into_columns()), position }
}

fn slip_gone(page: i64, position: u64) -> Write {
    Write::removal(slip(page, position).key, position)
}

/// What the cache and the tables say of two slips after each of these writes.
async fn slips(desk: &Desk, book: &Key, writes: &[Write], asked_before: bool) {
    let keys = [slip(1, 0).key, slip(2, 0).key];
    desk.sole_writer.apply(&NOTES, book, &[slip(2, 1)]).await.unwrap();
    for write in writes {
        if asked_before {
            desk.cache.get(&*desk.sole_writer, &NOTES, book, &keys).await.unwrap();
        }
        desk.sole_writer.apply(&NOTES, book, std::slice::from_ref(write)).await.unwrap();
        let known = desk.cache.get(&*desk.sole_writer, &NOTES, book, &keys).await.unwrap();
        let there = desk.counting.tables.get(&NOTES, book, &keys).await.unwrap();
        assert_eq!(known, there, "after {write:?} of {writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_stays_away_from_the_cache_as_from_the_tables() {
    let (desk, mut number) = (Desk::new().await, 0);
    let all: Vec<Write> = (0..3).flat_map(|position| [slip(1, position), slip_gone(1, position)]).collect();
    for one in &all {
        for two in &all {
            for three in &all {
                for asked_before in [false, true] {
                    number += 1;
                    let writes = [one.clone(), two.clone(), three.clone()];
                    slips(&desk, &Key::text(&number.to_string()), &writes, asked_before).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_there_is_read_again_once_it_is_written_where_rows_go() {
    let desk = Desk::new().await;
    let (book, keys) = (Key::text("a"), [slip(1, 0).key]);
    let look = async || desk.cache.get(&*desk.sole_writer, &NOTES, &book, &keys).await.unwrap()[0].is_some();
    // Before anything is known: the cache must not think that the row was never written.
    desk.sole_writer.apply(&NOTES, &book, &[slip_gone(1, 9)]).await.unwrap();
    assert_eq!((look().await, desk.reads()), (false, (1, 0)), "such a section is not known whole");
    desk.sole_writer.apply(&NOTES, &book, &[slip(1, 3)]).await.unwrap();
    assert_eq!((look().await, desk.reads()), (false, (2, 0)));
    desk.sole_writer.apply(&NOTES, &book, &[slip(1, 10)]).await.unwrap();
    assert_eq!((look().await, desk.reads()), (true, (3, 0)));
    desk.sole_writer.apply(&NOTES, &book, &[slip_gone(1, 11)]).await.unwrap();
    desk.sole_writer.apply(&NOTES, &book, &[slip(1, 10)]).await.unwrap();
    assert_eq!((look().await, desk.reads()), (false, (3, 0)), "the removal of a known row is known with its position");
}
