use std::sync::Arc;

use super::{FEED, Label, NOTES, Note, feed_key, fresh, note, place, text, write};
use crate::{Key, Keyspace, RowKey, RowRange, Slice, TableStore, Write, digest};

/// Positions of the writes of one row.
const POSITIONS: u64 = 3;

fn removal(number: i64, word: &str, position: u64) -> Write {
    Write::removal(RowKey::of::<Note>(place(number, word)), position)
}

async fn texts(keyspace: &dyn Keyspace, key: &Key) -> Vec<String> {
    let slice = Slice { range: RowRange::all::<Note>(), limit: 100 };
    keyspace.slice(&NOTES, key, &slice).await.expect("slice").iter().map(text).collect()
}

/// A removal hides what is at or below its position, before it or after it; what is above stands.
pub async fn a_removed_row_stays_away_from_late_writers(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_removed").await;
    let key = Key::text("a");
    let apply = async |writes: &[Write]| keyspace.apply(&NOTES, &key, writes).await.expect("apply");
    apply(&[note(1, "", 5, "one"), note(2, "", 5, "two"), note(3, "", 9, "newer"), note(4, "", 5, "same")]).await;
    apply(&[removal(1, "", 6), removal(3, "", 8), removal(4, "", 5), removal(5, "", 7)]).await;
    assert_eq!(texts(&*keyspace, &key).await, ["two", "newer"]);
    apply(&[note(1, "", 6, "late"), note(3, "", 8, "late"), note(4, "", 5, "late"), note(5, "", 3, "late")]).await;
    assert_eq!(texts(&*keyspace, &key).await, ["two", "newer"], "late writers");
    apply(&[removal(1, "", 2), note(5, "", 8, "again")]).await;
    apply(&[note(1, "", 7, "again")]).await;
    assert_eq!(texts(&*keyspace, &key).await, ["again", "two", "newer", "again"]);
    let keys = [1, 4].map(|number| RowKey::of::<Note>(place(number, "")));
    let rows = keyspace.get(&NOTES, &key, &keys).await.expect("get");
    assert_eq!(rows.iter().map(|row| row.as_ref().map(|row| row.position)).collect::<Vec<_>>(), [Some(7), None]);
}

/// One `apply` writes a row and removes another; of both for one row the higher position stands, at one position the
/// removal. Position 0 counts.
pub async fn rows_move_in_one_apply(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_move").await;
    let key = Key::text("a");
    let apply = async |writes: &[Write]| keyspace.apply(&NOTES, &key, writes).await.expect("apply");
    apply(&[note(1, "", 0, "first"), note(9, "", 0, "zero")]).await;
    for position in 1..5 {
        let from = position as i64;
        apply(&[note(from + 1, "", position, "moved"), removal(from, "", position)]).await;
        assert_eq!(texts(&*keyspace, &key).await, ["moved", "zero"]);
    }
    apply(&[removal(9, "", 0)]).await;
    apply(&[removal(6, "", 6), note(6, "", 6, "same"), note(7, "", 6, "same"), removal(7, "", 6)]).await;
    apply(&[note(8, "", 7, "later"), removal(8, "", 6), removal(10, "", 7), note(10, "", 6, "earlier")]).await;
    assert_eq!(texts(&*keyspace, &key).await, ["moved", "later"]);
    // Its neighbours in other sections and partitions stay.
    let label = write(place(5, ""), 1, Label { label: "blue".to_owned(), count: 1 });
    apply(&[label.clone(), removal(5, "", 9)]).await;
    let rows = keyspace.get(&NOTES, &key, std::slice::from_ref(&label.key)).await.expect("get");
    assert_eq!(rows.into_iter().flatten().map(Write::from).collect::<Vec<_>>(), [label]);
}

/// A removed row takes no room on a page, is not scanned, and is not in a digest.
pub async fn a_removed_row_is_no_row(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_no_row").await;
    let all: Vec<_> = (0..1_500).map(|n| note(n, "", 1, &n.to_string())).collect();
    let kept = |n: &i64| n % 300 == 7;
    for part in all.chunks(500) {
        keyspace.apply(&FEED, &feed_key(), part).await.expect("apply");
    }
    let gone: Vec<_> = (0..1_500).filter(|n| !kept(n)).map(|n| removal(n, "", 2)).collect();
    for part in gone.chunks(500) {
        keyspace.apply(&FEED, &feed_key(), part).await.expect("apply");
    }
    let slice = Slice { range: RowRange::all::<Note>(), limit: 4 };
    let rows = keyspace.slice(&FEED, &feed_key(), &slice).await.expect("slice");
    assert_eq!(rows.iter().map(text).collect::<Vec<_>>(), ["1207", "907", "607", "307"]);
    let (mut scanned, mut cursor) = (Vec::new(), None);
    loop {
        let page = keyspace.scan(&FEED, cursor).await.expect("scan");
        scanned.extend(page.rows.iter().map(|(_, row)| text(row)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    scanned.sort_unstable();
    assert_eq!(scanned, ["1207", "307", "607", "7", "907"]);
    let left: Vec<_> = (0..1_500).filter(kept).map(|n| note(n, "", 3, &n.to_string())).collect();
    let others = fresh(&store, "kith_contract_no_row_2").await;
    others.apply(&FEED, &feed_key(), &left).await.expect("apply");
    let [one, other] = [digest(&*keyspace, &[&FEED]).await, digest(&*others, &[&FEED]).await];
    assert_eq!(one.expect("digest"), other.expect("digest"));
}

/// Every sequence of three writes and removals of one row, one at a time or two together, one of them twice, leaves what
/// the rule says.
pub async fn removals_and_writes_come_in_any_order(store: Arc<dyn TableStore>) {
    let keyspace = fresh(&store, "kith_contract_orders").await;
    // One log has one record at a position: a row that it writes there is always the same.
    let puts = (0..POSITIONS).map(|position| note(1, "", position, &position.to_string()));
    let all: Vec<Write> = puts.chain((0..POSITIONS).map(|position| removal(1, "", position))).collect();
    for (one, two, three) in sequences(&all) {
        let writes = [one, two, three].map(Write::clone);
        let key = Key::text(&writes.each_ref().map(|of| format!("{}{}", of.position, of.is_removal())).concat());
        let cut = 1 + (one.position as usize) % 2;
        for batch in [&writes[..cut], &writes[cut..], &writes[..1]] {
            keyspace.apply(&NOTES, &key, batch).await.expect("apply");
        }
        let last = writes.iter().max_by_key(|write| (write.position, write.is_removal())).expect("three");
        let expected: Vec<_> = (!last.is_removal()).then(|| last.position.to_string()).into_iter().collect();
        assert_eq!(texts(&*keyspace, &key).await, expected, "{writes:?}");
    }
}

fn sequences(all: &[Write]) -> impl Iterator<Item = (&Write, &Write, &Write)> {
    all.iter().flat_map(move |one| all.iter().flat_map(move |two| all.iter().map(move |three| (one, two, three))))
}
