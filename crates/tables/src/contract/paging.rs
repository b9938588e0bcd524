use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kith_runtime::Runtime;

use super::{FEED, Label, NOTES, Note, SINGLE, feed_key, fresh, left, note, place, write};
use crate::{Key, Keyspace, Row, RowRange, Slice, Table, TableStore, Value};

const PAGE_ROWS: usize = 7;
const ROWS_AT_START: i64 = 300;
const ROWS_PER_APPLY: usize = 500;
const SCANNED_PARTITIONS: i64 = 40;
const SCANNED_ROWS: i64 = 60;

/// All rows of one section, one page at a time, by the cursor of the last row.
async fn walk(keyspace: &dyn Keyspace, table: &'static Table, key: &Key, prefix: &[Value]) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    loop {
        let after = all.last().map(|row| row.key.clustering[prefix.len()..].to_vec());
        let range = RowRange { prefix: prefix.to_vec(), after, ..RowRange::all::<Note>() };
        let page = keyspace.slice(table, key, &Slice { range, limit: PAGE_ROWS }).await.expect("slice");
        let is_last = page.len() < PAGE_ROWS;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

fn places(rows: &[Row]) -> Vec<Vec<Value>> {
    rows.iter().map(|row| row.key.clustering.clone()).collect()
}

/// Ascending and descending, whole and within a prefix, from the smallest number to the largest.
pub async fn slices_keep_the_order(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_order").await;
    let numbers = [i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX - 1, i64::MAX];
    let words = ["", "a", "b", "c"];
    let mut sorted: Vec<_> = numbers.iter().flat_map(|n| words.map(|word| place(*n, word))).collect();
    for (table, key) in [(&NOTES, Key::text("a")), (&FEED, feed_key())] {
        let mut writes: Vec<_> = sorted.iter().map(|place| write(place.clone(), 1, Note::default())).collect();
        // Neighbours that must not be seen: other sections, and places of other partitions.
        writes.extend(numbers.map(|n| write(place(n, "other"), 1, Label::default())));
        keyspace.apply(table, &key, &writes).await.expect("apply");
        let other = Key(key.0.iter().map(|v| if *v == 7.into() { 8.into() } else { Value::from("b") }).collect());
        keyspace.apply(table, &other, &writes).await.expect("apply");

        assert_eq!(places(&walk(&*keyspace, table, &key, &[]).await), sorted, "{}", table.name);
        let within: Vec<_> = sorted.iter().filter(|place| place[0] == 0.into()).cloned().collect();
        assert_eq!(places(&walk(&*keyspace, table, &key, &[0.into()]).await), within, "{}", table.name);
        behind_a_number(&*keyspace, table, &key, &sorted).await;
        sorted.reverse();
    }
}

/// Only the first of the columns after the prefix: behind every row that starts so.
async fn behind_a_number(keyspace: &dyn Keyspace, table: &'static Table, key: &Key, sorted: &[Vec<Value>]) {
    let range = RowRange { after: Some(vec![0.into()]), ..RowRange::all::<Note>() };
    let rows = keyspace.slice(table, key, &Slice { range, limit: 100 }).await.expect("slice");
    let last = sorted.iter().rposition(|place| place[0] == 0.into()).expect("a row of number 0");
    assert_eq!(places(&rows), sorted[last + 1..], "{}", table.name);
}

/// Text sorts by its bytes: empty, with zeros, beyond ASCII.
pub async fn slices_of_text(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_text").await;
    let words = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "aa", "ab", "z", "ß", "ä", "日本", "😀", "\u{10ffff}"];
    let mut sorted: Vec<_> = words.iter().map(|word| place(5, word)).collect();
    for (table, key) in [(&NOTES, Key::text("ä\0")), (&FEED, Key(vec!["".into(), i64::MIN.into()]))] {
        let writes: Vec<_> = sorted.iter().rev().map(|place| write(place.clone(), 1, Note::default())).collect();
        keyspace.apply(table, &key, &writes).await.expect("apply");
        assert_eq!(places(&walk(&*keyspace, table, &key, &[]).await), sorted, "{}", table.name);
        assert_eq!(places(&walk(&*keyspace, table, &key, &[5.into()]).await), sorted, "{}", table.name);
        let whole = &sorted[4];
        assert_eq!(places(&walk(&*keyspace, table, &key, whole).await), std::slice::from_ref(whole), "{}", table.name);
        sorted.reverse();
    }
}

/// A walk through pages, while rows arrive before, at and after its place, returns each row that existed at its start
/// once.
pub async fn pages_neither_skip_nor_repeat(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_pages").await;
    let at_start: Vec<_> = (0..ROWS_AT_START).map(|n| note(n * 10, "", 1, "start")).collect();
    keyspace.apply(&FEED, &feed_key(), &at_start).await.expect("apply");
    let (walks, writer_keyspace) = (Arc::new(AtomicI64::new(5)), Arc::clone(&keyspace));
    let left = Arc::clone(&walks);
    let writer = Runtime::system().spawn(async move {
        let mut next = 1;
        while left.load(Ordering::Acquire) > 0 {
            // 7 and 3,000 have no common divisor: the rows spread evenly between the others.
            next = (next + 7) % (ROWS_AT_START * 10);
            let arriving = note(next, "late", 2, "late");
            writer_keyspace.apply(&FEED, &feed_key(), &[arriving]).await.expect("apply");
            tokio::task::yield_now().await;
        }
    });
    while walks.load(Ordering::Acquire) > 0 {
        let walked = places(&walk(&*keyspace, &FEED, &feed_key(), &[]).await);
        assert!(walked.is_sorted_by(|a, b| a > b), "a row twice, or out of order");
        let seen: Vec<_> = walked.into_iter().filter(|place| place[1] == "".into()).collect();
        let expected: Vec<_> = at_start.iter().rev().map(|row| row.key.clustering.clone()).collect();
        assert_eq!(seen, expected);
        walks.fetch_sub(1, Ordering::AcqRel);
    }
    writer.await.expect("the writer");
}

/// A scan's pages hold every row of the table, of all sections and partitions, once, and no row of another table.
pub async fn scan_gives_every_row_once(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_scan").await;
    let mut expected = BTreeSet::new();
    for partition in 0..SCANNED_PARTITIONS {
        let key = Key(vec![format!("r{partition}").into(), partition.into()]);
        let mut writes: Vec<_> = (0..SCANNED_ROWS).map(|n| note(n, "x", n as u64, &n.to_string())).collect();
        writes.push(write(place(partition, ""), 9, Label::default()));
        writes.push(crate::Write { key: FEED.summary_key(2), columns: Some(vec![partition.into()]), position: 3 });
        expected
            .extend(left(&writes).iter().map(|row| (key.clone(), row.key.clone(), row.columns.clone(), row.position)));
        for part in writes.chunks(ROWS_PER_APPLY) {
            keyspace.apply(&FEED, &key, part).await.expect("apply");
        }
    }
    keyspace.apply(&NOTES, &Key::text("a"), &[note(1, "x", 1, "other table")]).await.expect("apply");
    let mut scanned = BTreeSet::new();
    let mut cursor = None;
    loop {
        let page = keyspace.scan(&FEED, cursor).await.expect("scan");
        for (key, row) in page.rows {
            assert!(scanned.insert((key, row.key, row.columns, row.position)), "a row twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(scanned == expected, "{} rows, expected {}", scanned.len(), expected.len());
    assert_eq!(keyspace.scan(&SINGLE, None).await.expect("scan").rows.len(), 0);
}
