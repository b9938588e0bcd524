use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kith_runtime::Runtime;

use super::{Label, NOTES, Note, fresh, left, note, place, text, write};
use crate::{
    Key, MAX_APPLY_ROWS, MAX_GET_ROWS, MAX_SLICE_ROWS, RowKey, RowRange, Slice, StoreError, TableStore, Write,
};

const ROUNDS: u64 = 200;
const ROWS_A_BATCH: i64 = 20;

/// The same writes again, whole, in part, or after later ones, leave the same rows.
pub async fn replay_changes_nothing(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_replay").await;
    let (key, all) = (Key::text("a"), RowRange::all::<Note>());
    let slice = Slice { range: all, limit: 10 };
    let first = [note(1, "a", 3, "one"), note(2, "a", 3, "two")];
    let second = [note(2, "a", 5, "two again"), note(3, "a", 6, "three")];
    for batch in [&first[..], &second] {
        keyspace.apply(&NOTES, &key, batch).await.expect("apply");
    }
    let rows = keyspace.slice(&NOTES, &key, &slice).await.expect("slice");
    assert_eq!(rows.iter().map(text).collect::<Vec<_>>(), ["one", "two again", "three"]);
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [3, 5, 6]);
    for batch in [&first[..], &first[1..], &second, &second[..1], &[]] {
        keyspace.apply(&NOTES, &key, batch).await.expect("apply");
        assert_eq!(keyspace.slice(&NOTES, &key, &slice).await.expect("slice"), rows);
    }
}

/// Row by row: one batch may hold rows that win and rows that lose; position 0 counts.
pub async fn older_never_overwrites_newer(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_older").await;
    let key = Key::text("a");
    let apply = async |writes: &[Write]| keyspace.apply(&NOTES, &key, writes).await.expect("apply");
    apply(&[note(1, "", 0, "at 0"), note(2, "", 9, "at 9"), note(3, "", 4, "at 4")]).await;
    apply(&[note(1, "", 5, "at 5"), note(2, "", 5, "at 5"), note(3, "", 3, "at 3"), note(4, "", 5, "at 5")]).await;
    // Two writes to one row in one batch: the later position, whatever their order.
    apply(&[note(5, "", 8, "at 8"), note(5, "", 7, "at 7")]).await;
    apply(&[note(6, "", 7, "at 7"), note(6, "", 8, "at 8")]).await;
    let slice = Slice { range: RowRange::all::<Note>(), limit: 10 };
    let rows = keyspace.slice(&NOTES, &key, &slice).await.expect("slice");
    assert_eq!(rows.iter().map(text).collect::<Vec<_>>(), ["at 5", "at 9", "at 4", "at 5", "at 8", "at 8"]);
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [5, 9, 4, 5, 8, 8]);
}

/// A version is truthful: a version read before an `apply` ends with it. A store may report no version.
pub async fn a_version_ends_with_the_next_apply(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_version").await;
    let key = Key::text("a");
    let Some(empty) = keyspace.version(&NOTES, &key) else { return };
    assert!(!store.is_shared(), "another process may write without this one hearing of it");
    assert!(keyspace.are_current(&[empty]));
    keyspace.apply(&NOTES, &key, &[note(1, "a", 3, "one")]).await.expect("apply");
    assert!(!keyspace.are_current(&[empty]));
    let one = keyspace.version(&NOTES, &key).expect("told before");
    assert!(keyspace.are_current(&[one]) && !keyspace.are_current(&[one, empty]));
}

/// While one task writes batches of equal rows, no `get` of another task sees two different rows.
pub async fn a_batch_is_all_or_nothing(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_batch").await;
    let written = Arc::new(AtomicBool::new(false));
    let (writer_keyspace, writer_written) = (Arc::clone(&keyspace), Arc::clone(&written));
    let writer = Runtime::system().spawn(async move {
        for round in 0..ROUNDS {
            let mut batch: Vec<_> = (0..ROWS_A_BATCH).map(|n| note(n, "w", round, &round.to_string())).collect();
            let columns = Some(vec![(round as i64).into(), 0.into()]);
            batch.push(Write { key: NOTES.summary_key(1), columns, position: round });
            writer_keyspace.apply(&NOTES, &Key::text("a"), &batch).await.expect("apply");
        }
        writer_written.store(true, Ordering::Release);
    });
    let mut keys: Vec<_> = (0..ROWS_A_BATCH).map(|n| RowKey::of::<Note>(place(n, "w"))).collect();
    keys.push(NOTES.summary_key(1));
    while !written.load(Ordering::Acquire) && !writer.is_finished() {
        let rows = keyspace.get(&NOTES, &Key::text("a"), &keys).await.expect("get");
        let rounds: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| row.position)).collect();
        assert!(rounds.iter().all(|round| *round == rounds[0]), "half a batch: {rounds:?}");
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer");
    let rows = keyspace.get(&NOTES, &Key::text("a"), &keys).await.expect("get");
    assert!(rows.iter().flatten().all(|row| row.position == ROUNDS - 1) && rows.iter().all(Option::is_some));
}

/// One `get` reads rows of all sections, the summary row and absent rows, and returns each at its place.
pub async fn get_answers_in_the_order_asked(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_get").await;
    let key = Key::text("a");
    let summary = Write { key: NOTES.summary_key(3), columns: Some(vec![12.into(), 5.into()]), position: 12 };
    let label = write(place(1, "x"), 12, Label { label: "blue".to_owned(), count: 2 });
    let batch = [summary.clone(), label.clone(), note(1, "x", 11, "one"), note(-1, "", 12, "minus one")];
    keyspace.apply(&NOTES, &key, &batch).await.expect("apply");
    let absent = [RowKey::of::<Note>(place(1, "y")), RowKey::of::<Label>(place(-1, "")), NOTES.summary_key(4)];
    let mut keys: Vec<_> = batch.iter().rev().map(|row| row.key.clone()).collect();
    keys.extend(absent);
    keys.push(label.key.clone());
    let rows = keyspace.get(&NOTES, &key, &keys).await.expect("get");
    let expected: Vec<_> =
        left(&batch).into_iter().rev().map(Some).chain([None, None, None, label.into_row()]).collect();
    assert_eq!(rows, expected);
    assert_eq!(keyspace.get(&NOTES, &Key::text("b"), &keys[..1]).await.expect("get"), [None]);
    assert_eq!(keyspace.get(&NOTES, &key, &[]).await.expect("get"), []);

    let many: Vec<_> = (0..MAX_APPLY_ROWS as i64).map(|n| note(n, "many", 1, "x")).collect();
    keyspace.apply(&NOTES, &Key::text("many"), &many).await.expect("apply");
    let keys: Vec<_> = many[..MAX_GET_ROWS].iter().map(|row| row.key.clone()).collect();
    let rows = keyspace.get(&NOTES, &Key::text("many"), &keys).await.expect("get");
    assert_eq!(rows.into_iter().flatten().collect::<Vec<_>>(), left(&many[..MAX_GET_ROWS]));
}

/// Rows of two sections at one place are two rows, each with its columns; a slice gives one section.
pub async fn sections_have_columns_of_their_own(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_sections").await;
    let key = Key::text("a");
    let label = Label { label: "blue".to_owned(), count: 7 };
    let one = Note { text: "one".to_owned(), count: -7, ..Note::default() };
    let batch = [write(place(1, "x"), 4, label.clone()), write(place(1, "x"), 3, one.clone())];
    keyspace.apply(&NOTES, &key, &batch).await.expect("apply");
    let slice = |range| Slice { range, limit: 10 };
    let notes = keyspace.slice(&NOTES, &key, &slice(RowRange::all::<Note>())).await.expect("slice");
    assert_eq!(notes.iter().map(|row| (row.read(), row.position)).collect::<Vec<_>>(), [(Some(one), 3)]);
    let labels = keyspace.slice(&NOTES, &key, &slice(RowRange::all::<Label>())).await.expect("slice");
    assert_eq!(labels.iter().map(|row| (row.read(), row.position)).collect::<Vec<_>>(), [(Some(label), 4)]);
    let summaries = RowRange { section: -1, prefix: Vec::new(), after: None };
    assert_eq!(keyspace.slice(&NOTES, &key, &slice(summaries)).await.expect("slice"), []);
}

/// More rows than a call may carry, and rows of another shape, are refused without a write.
pub async fn too_much_is_refused(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_refused").await;
    let key = Key::text("a");
    let writes: Vec<_> = (0..=MAX_APPLY_ROWS as i64).map(|n| note(n, "", 1, "x")).collect();
    let keys = vec![RowKey::of::<Note>(place(1, "")); MAX_GET_ROWS + 1];
    let slice = |limit| Slice { range: RowRange::all::<Note>(), limit };
    assert!(matches!(keyspace.apply(&NOTES, &key, &writes).await, Err(StoreError::TooMany { .. })));
    assert!(matches!(keyspace.get(&NOTES, &key, &keys).await, Err(StoreError::TooMany { .. })));
    let too_long = slice(MAX_SLICE_ROWS + 1);
    assert!(matches!(keyspace.slice(&NOTES, &key, &too_long).await, Err(StoreError::TooMany { .. })));
    let other_columns = Write { columns: Some(vec!["x".into()]), ..note(1, "", 1, "") };
    let good_and_bad = [note(1, "", 1, "x"), other_columns];
    assert!(matches!(keyspace.apply(&NOTES, &key, &good_and_bad).await, Err(StoreError::Contract(_))));
    let stays = [note(1, "", 1, "x"), Write::removal(RowKey::of::<Label>(place(1, "")), 1)];
    assert!(matches!(keyspace.apply(&NOTES, &key, &stays).await, Err(StoreError::Contract(_))));
    assert_eq!(keyspace.slice(&NOTES, &key, &slice(10)).await.expect("slice"), []);
    assert_eq!(keyspace.slice(&NOTES, &key, &slice(0)).await.expect("slice"), []);
}
