use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;
use crate::contract::{self, NOTES, Note};
use crate::{RowRange, RowType};

fn open(dir: &Path) -> Arc<dyn TableStore> {
    EmbeddedTables::open(dir, Runtime::system()).unwrap()
}

/// Runs functions of the contract suite, each on a folder of its own.
macro_rules! keeps {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            contract::$name(open(dir.path())).await;
        }
    )*};
}

keeps! {
    replay_changes_nothing,
    a_version_ends_with_the_next_apply,
    older_never_overwrites_newer,
    a_removed_row_stays_away_from_late_writers,
    rows_move_in_one_apply,
    a_removed_row_is_no_row,
    removals_and_writes_come_in_any_order,
    a_batch_is_all_or_nothing,
    get_answers_in_the_order_asked,
    sections_have_columns_of_their_own,
    too_much_is_refused,
    slices_keep_the_order,
    slices_of_text,
    pages_neither_skip_nor_repeat,
    scan_gives_every_row_once,
    open_without_create_is_refused,
    drop_then_create_is_empty,
    rows_of_all_kinds_read_back,
    digests_follow_the_rows,
    the_size_of_a_keyspace_is_told_or_unknown,
}

#[tokio::test]
async fn reopening_keeps_rows() {
    let dir = tempfile::tempdir().unwrap();
    contract::reopening_keeps_rows(open(dir.path()), async |store| {
        drop(store);
        open(dir.path())
    })
    .await;
}

#[tokio::test]
async fn the_size_of_a_keyspace_is_that_of_all_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create("k", &[&NOTES]).await.unwrap();
    let keyspace = store.open("k", &[&NOTES]).await.unwrap();
    // More than are measured in one piece.
    let of_one: Vec<_> = (0..crate::MAX_APPLY_ROWS as u64).map(row_at).collect();
    keyspace.apply(&NOTES, &Key::text("0"), &of_one).await.unwrap();
    let one = store.size_bytes("k").await.unwrap().unwrap();
    let partitions = MEASURED_ROWS / of_one.len() + 2;
    for partition in 1..partitions {
        // Keys of one length, so that each takes as much.
        let key = char::from_u32('0' as u32 + partition as u32).unwrap().to_string();
        keyspace.apply(&NOTES, &Key::text(&key), &of_one).await.unwrap();
    }
    assert_eq!(store.size_bytes("k").await.unwrap(), Some(one * partitions as u64));
}

#[tokio::test]
async fn a_folder_in_use_or_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert!(matches!(EmbeddedTables::open(dir.path(), Runtime::system()), Err(StoreError::InUse(_))));
    drop(first);
    std::fs::write(dir.path().join("FORMAT"), "kith tables 0\n").unwrap();
    assert!(matches!(EmbeddedTables::open(dir.path(), Runtime::system()), Err(StoreError::Contract(_))));
    // Died before it was whole: made anew.
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    std::fs::remove_file(dir.path().join("rows/version")).ok();
    open(dir.path()).check().await.unwrap();
}

#[tokio::test]
async fn what_was_looked_up_changes_with_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create("k", &[&NOTES]).await.unwrap();
    let keyspace = store.open("k", &[&NOTES]).await.unwrap();
    let look = async || {
        let rows = keyspace.get(&NOTES, &Key::text("a"), &[row_at(1).key]).await.unwrap();
        rows[0].as_ref().map(|row| row.position)
    };
    assert_eq!((look().await, look().await), (None, None), "read, and remembered not to be there");
    for (written, there) in [(1, 1), (7, 7), (3, 7)] {
        let write = Write { position: written, ..row_at(1) };
        keyspace.apply(&NOTES, &Key::text("a"), &[write]).await.unwrap();
        assert_eq!(look().await, Some(there));
    }
    store.drop_keyspace("k").await.unwrap();
    store.create("k", &[&NOTES]).await.unwrap();
    let again = store.open("k", &[&NOTES]).await.unwrap();
    assert_eq!(again.get(&NOTES, &Key::text("a"), &[row_at(1).key]).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_dropped_keyspace_takes_no_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create("k", &[&NOTES]).await.unwrap();
    let keyspace = store.open("k", &[&NOTES]).await.unwrap();
    store.drop_keyspace("k").await.unwrap();
    assert!(matches!(keyspace.apply(&NOTES, &Key::text("a"), &[]).await, Err(StoreError::Contract(_))));
}

#[tokio::test]
async fn a_drop_that_was_cut_short_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let tables = EmbeddedTables::open(dir.path(), Runtime::system()).unwrap();
    tables.create("k", &[&NOTES]).await.unwrap();
    let keyspace = tables.open("k", &[&NOTES]).await.unwrap();
    keyspace.apply(&NOTES, &Key::text("a"), &[row_at(1)]).await.unwrap();
    let number = tables.inner.catalog().keyspace("k").unwrap().unwrap();
    tables.inner.catalog().start_drop("k", number).unwrap();
    drop((keyspace, tables));
    let tables = EmbeddedTables::open(dir.path(), Runtime::system()).unwrap();
    assert_eq!(tables.inner.store.state().range(keys::under(Place::keyspace_prefix(number))).count(), 0);
    tables.create("k", &[&NOTES]).await.unwrap();
    assert!(tables.inner.catalog().keyspace("k").unwrap().unwrap() > number);
}

/// A store that never writes its memtables keeps every row in memory; see `store.rs` for how that can happen.
#[tokio::test]
async fn rows_leave_memory_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let tables = EmbeddedTables::open(dir.path(), Runtime::system()).unwrap();
    tables.create("k", &[&NOTES]).await.unwrap();
    let keyspace = tables.open("k", &[&NOTES]).await.unwrap();
    let text = "x".repeat(20_000);
    for position in 0..1_000 {
        let note = Note { text: text.clone(), ..Note::default() };
        let write = Write { columns: Some(note.into_columns()), ..row_at(position) };
        keyspace.apply(&NOTES, &Key::text("a"), &[write]).await.unwrap();
    }
    let deadline = Duration::from_secs(20);
    let flushed = async {
        while tables.inner.store.files() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(deadline, flushed).await.unwrap();
}

fn row_at(position: u64) -> Write {
    let note = Note { count: position as i64, ..Note::default() };
    let clustering = [(position as i64).into(), "".into()];
    Write { key: RowKey::of::<Note>(clustering), columns: Some(note.into_columns()), position }
}

/// The child of the next test: writes rows one after the other, each in another table partition, and says how far it is.
#[tokio::test]
#[ignore = "started by `what_kill_9_leaves_is_the_beginning_of_what_was_written`"]
async fn child_that_writes_until_it_is_killed() {
    let store = open(Path::new("."));
    store.create("k", &[&NOTES]).await.unwrap();
    let keyspace = store.open("k", &[&NOTES]).await.unwrap();
    for position in 0.. {
        keyspace.apply(&NOTES, &Key::text(&format!("p{}", position % 50)), &[row_at(position)]).await.unwrap();
        writeln!(std::io::stderr(), "wrote {position}").unwrap();
    }
}

#[tokio::test]
async fn what_kill_9_leaves_is_the_beginning_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = lines.filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
    let answered = said.find(|position| *position >= 2_000).unwrap();
    child.kill().unwrap();
    let answered = said.last().unwrap_or(answered);
    child.wait().unwrap();

    let keyspace = open(dir.path()).open("k", &[&NOTES]).await.unwrap();
    let mut positions = Vec::new();
    for partition in 0..50 {
        let slice = Slice { range: RowRange::all::<Note>(), limit: 1_000 };
        let rows = keyspace.slice(&NOTES, &Key::text(&format!("p{partition}")), &slice).await.unwrap();
        positions.extend(rows.iter().map(|row| row.position));
    }
    positions.sort_unstable();
    assert!(positions.len() as u64 > answered, "{} rows of {answered} answered", positions.len());
    assert!(positions.iter().copied().eq(0..positions.len() as u64), "a gap");
}

/// What is stored, removals and what remembers them included.
fn stored(tables: &EmbeddedTables) -> usize {
    let catalog = 3;
    tables.inner.store.state().range((Bound::Included(vec![0]), Bound::Unbounded)).count() - catalog
}

#[tokio::test(start_paused = true)]
async fn removals_end_an_hour_later_as_others_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let tables = EmbeddedTables::open(dir.path(), Runtime::simulated(1, 0)).unwrap();
    tables.create("k", &[&NOTES]).await.unwrap();
    let keyspace = tables.open("k", &[&NOTES]).await.unwrap();
    let key = Key::text("a");
    let apply = async |write: Write| keyspace.apply(&NOTES, &key, &[write]).await.unwrap();
    let remove = async |at: u64| apply(Write::removal(row_at(at).key, at)).await;
    for at in 1..=4 {
        apply(row_at(at)).await;
        remove(at).await;
    }
    // Written again, and removed again: neither is ended by the end of the first removal.
    apply(Write { position: 7, ..row_at(1) }).await;
    tokio::time::advance(Duration::from_secs(1_800)).await;
    apply(Write::removal(row_at(2).key, 7)).await;
    assert_eq!(stored(&tables), 4 + 5, "a place each, and each removal");
    tokio::time::advance(Duration::from_secs(1_801)).await;
    apply(row_at(9)).await;
    assert_eq!(stored(&tables), 1 + 4 + 5, "a row is no occasion");
    remove(10).await;
    assert_eq!(stored(&tables), 1 + 4 + 3 + 2, "the first two, whose places hold something else");
    remove(11).await;
    assert_eq!(stored(&tables), 1 + 2 + 1 + 4, "two more, with their places");
    apply(Write { position: 6, ..row_at(2) }).await;
    let rows = keyspace.get(&NOTES, &key, &[1, 2, 9].map(|at| row_at(at).key)).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.as_ref().map(|row| row.position)).collect::<Vec<_>>(),
        [Some(7), None, Some(9)]
    );
}

#[tokio::test]
async fn removals_end_when_the_folder_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let tables = EmbeddedTables::open(dir.path(), Runtime::system()).unwrap();
    tables.create("k", &[&NOTES]).await.unwrap();
    let keyspace = tables.open("k", &[&NOTES]).await.unwrap();
    for at in 1..=1_500 {
        let gone = Write::removal(row_at(at).key, at);
        keyspace.apply(&NOTES, &Key::text("a"), &[row_at(0), gone]).await.unwrap();
    }
    assert_eq!(stored(&tables), 1 + 2 * 1_500);
    drop((keyspace, tables));
    let tables = EmbeddedTables::open(dir.path(), Runtime::system()).unwrap();
    assert_eq!(stored(&tables), 1);
}
