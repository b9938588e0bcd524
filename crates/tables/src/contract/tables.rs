use std::sync::Arc;

use super::{ALL, FEED, Label, NOTES, Note, SINGLE, feed_key, fresh, left, note, place, text, write};
use crate::{
    Column, Key, RowKey, RowRange, Section, Slice, StoreError, Table, TableStore, Timestamp, Value, Write, digest,
    digest_where,
};

/// `view` with one column more.
static OTHER_NOTES: Table = Table { summary: &[Column::bigint("total"), Column::text("extra")], ..copy(&NOTES) };
static LATER: Table = Table { name: "later", ..copy(&NOTES) };

const fn copy(table: &Table) -> Table {
    Table {
        name: table.name,
        partition: table.partition,
        clustering: table.clustering,
        order: table.order,
        sections: table.sections,
        summary: table.summary,
    }
}

/// A keyspace or table that is missing, or declared differently, is not opened; `create` adds what is missing.
pub async fn open_without_create_is_refused(store: Arc<dyn TableStore>) {
    let name = "kith_contract_open";
    store.drop_keyspace(name).await.expect("drop");
    store.drop_keyspace(name).await.expect("drop of what is not there");
    assert!(!store.has_keyspace(name).await.expect("has"));
    assert!(matches!(store.open(name, ALL).await, Err(StoreError::Contract(_))));
    store.create(name, &[&NOTES]).await.expect("create");
    assert!(store.has_keyspace(name).await.expect("has"), "with fewer tables than are declared too");
    assert!(matches!(store.open(name, ALL).await, Err(StoreError::Contract(_))));
    assert!(matches!(store.open(name, &[&OTHER_NOTES]).await, Err(StoreError::Contract(_))));
    let keyspace = store.open(name, &[&NOTES]).await.expect("open");
    keyspace.apply(&NOTES, &Key::text("a"), &[note(1, "", 1, "kept")]).await.expect("apply");
    store.create(name, &[&NOTES, &LATER]).await.expect("create again");
    store.create(name, &[&NOTES, &LATER]).await.expect("create again, with nothing to do");
    let keyspace = store.open(name, &[&LATER, &NOTES]).await.expect("open");
    let slice = Slice { range: RowRange::all::<Note>(), limit: 10 };
    assert_eq!(keyspace.slice(&LATER, &Key::text("a"), &slice).await.expect("slice"), []);
    let kept = keyspace.slice(&NOTES, &Key::text("a"), &slice).await.expect("slice");
    assert_eq!(kept.iter().map(text).collect::<Vec<_>>(), ["kept"]);
    static SHAPELESS: Table =
        Table { sections: &[Section { id: 0, name: "none", columns: &[], removable: false }], ..copy(&SINGLE) };
    assert!(matches!(store.create(name, &[&SHAPELESS]).await, Err(StoreError::Contract(_))));
}

/// Applied rows are there when the keyspace is opened again; `reopen` restarts the adapter in between.
pub async fn reopening_keeps_rows(
    store: Arc<dyn TableStore>,
    reopen: impl AsyncFnOnce(Arc<dyn TableStore>) -> Arc<dyn TableStore>,
) {
    let name = "kith_contract_reopen";
    let keyspace = fresh(&store, name).await;
    let writes = [note(1, "x", 3, "one"), note(2, "", 4, "two")];
    keyspace.apply(&NOTES, &Key::text("a"), &writes).await.expect("apply");
    let keys: Vec<_> = writes.iter().map(|row| row.key.clone()).collect();
    drop(keyspace);
    let store = reopen(store).await;
    let keyspace = store.open(name, ALL).await.expect("open");
    let rows = keyspace.get(&NOTES, &Key::text("a"), &keys).await.expect("get");
    assert_eq!(rows.into_iter().flatten().collect::<Vec<_>>(), left(&writes));
}

/// What a store says of a keyspace's size is of its own rows, and it says nothing of a keyspace that is not there. Whether rows in
/// memory count is the store's matter.
pub async fn the_size_of_a_keyspace_is_told_or_unknown(store: Arc<dyn TableStore>) {
    let (name, other) = ("kith_contract_size", "kith_contract_size_other");
    store.drop_keyspace(name).await.expect("drop");
    assert_eq!(store.size_bytes(name).await.expect("size"), None);
    let (keyspace, others) = (fresh(&store, name).await, fresh(&store, other).await);
    let empty = store.size_bytes(name).await.expect("size");
    let rows: Vec<_> = (0..10).map(|n| note(n, "", 1, &"x".repeat(1_000))).collect();
    others.apply(&NOTES, &Key::text("a"), &rows).await.expect("apply");
    assert_eq!(store.size_bytes(name).await.expect("size"), empty, "rows of another keyspace");
    keyspace.apply(&NOTES, &Key::text("a"), &rows).await.expect("apply");
    let full = store.size_bytes(name).await.expect("size");
    assert!(empty.is_some() == full.is_some() && empty <= full, "{empty:?}, then {full:?}");
    store.drop_keyspace(name).await.expect("drop");
    assert_eq!(store.size_bytes(name).await.expect("size"), None);
}

/// A keyspace created again with the name of a dropped one has no rows, also none at old positions.
pub async fn drop_then_create_is_empty(store: Arc<dyn TableStore>) {
    let name = "kith_contract_drop";
    let keyspace = fresh(&store, name).await;
    keyspace.apply(&NOTES, &Key::text("a"), &[note(1, "", 100, "before")]).await.expect("apply");
    let keyspace = fresh(&store, name).await;
    let slice = Slice { range: RowRange::all::<Note>(), limit: 10 };
    assert_eq!(keyspace.slice(&NOTES, &Key::text("a"), &slice).await.expect("slice"), []);
    keyspace.apply(&NOTES, &Key::text("a"), &[note(1, "", 1, "after")]).await.expect("apply");
    let rows = keyspace.slice(&NOTES, &Key::text("a"), &slice).await.expect("slice");
    assert_eq!(rows.iter().map(text).collect::<Vec<_>>(), ["after"]);
}

/// Every kind of column keeps its extremes, and a table without clustering columns its one row per section.
pub async fn rows_of_all_kinds_read_back(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_kinds").await;
    let extremes = [
        (String::new(), i64::MIN, false, bytes::Bytes::new()),
        ("\0 ä 😀".to_owned(), 0, true, bytes::Bytes::from_static(&[0, 255, 0])),
        ("x".repeat(60_000), i64::MAX, true, vec![7; 60_000].into()),
    ];
    for (position, (text, number, yes, raw)) in (1..).zip(extremes) {
        let row = Note { text, count: number, pinned: yes, written: Timestamp(number), raw };
        let note = write(Vec::new(), position, row);
        let label = write(Vec::new(), position, Label { label: "l".to_owned(), count: number });
        let summary = Write { key: SINGLE.summary_key(1), columns: Some(vec![number.into(), yes.into()]), position };
        let writes = [note, label, summary];
        keyspace.apply(&SINGLE, &Key::text("ä\0"), &writes).await.expect("apply");
        let keys: Vec<_> = writes.iter().map(|row| row.key.clone()).collect();
        let rows = keyspace.get(&SINGLE, &Key::text("ä\0"), &keys).await.expect("get");
        assert_eq!(rows.into_iter().flatten().collect::<Vec<_>>(), left(&writes));
        let slice = Slice { range: RowRange::all::<Note>(), limit: 10 };
        assert_eq!(keyspace.slice(&SINGLE, &Key::text("ä\0"), &slice).await.expect("slice"), left(&writes[..1]));
    }
}

/// The digest that `digests_follow_the_rows` expects from every adapter.
const KNOWN_DIGEST: &str = "f160caa8e5c8bcd8f2e4ff4f223cab8e66b1b736ecd15967881c16f62410eb99";

const IN_ANOTHER_ORDER: &[&Table] = &[&SINGLE, &FEED, &NOTES];

/// Equal rows have equal digests, whatever the order, the positions and the adapter; other rows have others.
pub async fn digests_follow_the_rows(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_digest").await;
    let all = async |tables| digest_where(&*keyspace, tables, |_, _, _| true).await.expect("digest");
    let empty = all(ALL).await;
    let notes: Vec<_> = (0..50).map(|n| note(n, "ä", 1, &n.to_string())).collect();
    keyspace.apply(&NOTES, &Key::text("a"), &notes).await.expect("apply");
    keyspace.apply(&FEED, &feed_key(), &notes).await.expect("apply");
    let label = write(place(1, "x"), 12, Label { label: "blue".to_owned(), count: -2 });
    keyspace.apply(&NOTES, &Key::text("b"), &[label]).await.expect("apply");
    let first = all(ALL).await;
    let that_stay = digest(&*keyspace, ALL).await.expect("digest");
    assert_eq!(that_stay.rows, 1, "of those that may be removed none counts");
    assert_eq!((empty.rows, first.rows), (0, 101));
    assert_eq!(first.to_string(), KNOWN_DIGEST);

    keyspace.apply(&FEED, &feed_key(), &[note(1, "ä", 9, "1")]).await.expect("apply");
    assert_eq!(all(IN_ANOTHER_ORDER).await, first, "another position");
    keyspace.apply(&FEED, &feed_key(), &[note(1, "ä", 10, "2")]).await.expect("apply");
    let changed = all(ALL).await;
    assert_eq!(changed.rows, first.rows);
    assert_ne!(changed.bytes, first.bytes);
    let differs: Vec<_> =
        changed.tables.iter().zip(&first.tables).filter(|(a, b)| a != b).map(|(a, _)| a.name).collect();
    assert_eq!(differs, ["feed"]);

    let one = RowKey::of::<Note>(place(1, "ä"));
    let without = async |tables| {
        digest_where(&*keyspace, tables, |table: &'static Table, _: &Key, row| {
            table.name != FEED.name || row.key != one
        })
        .await
        .expect("digest")
    };
    let before = without(ALL).await;
    keyspace.apply(&FEED, &feed_key(), &[note(1, "ä", 11, "3")]).await.expect("apply");
    assert_eq!(without(ALL).await, before);
    assert_eq!(Value::from("ä"), one.clustering[1]);
}
