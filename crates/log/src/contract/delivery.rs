//! What is appended, and what readers get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::{TOPIC, append, append_all, next_of, number, numbered, partition, prepared, record, soon, unique};
use crate::{
    AppendError, EventLog, Header, LogError, MAX_HEADERS, MAX_RECORD_BYTES, NewRecord, Offset, Position,
    READ_AHEAD_BYTES, RecordId, Topic, headers,
};

pub async fn keeps_the_order_of_a_key(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let (key, other) = (unique("ordered"), unique("other"));
    let mut first = None;
    for n in 0..100 {
        let position = append(&log, record(&key, n)).await;
        first.get_or_insert(position);
        append(&log, record(&other, n)).await;
    }
    let mut reader = log.read(partition(&log, &key), first.unwrap().offset).await.unwrap();
    let numbers: Vec<_> = next_of(&mut reader, &key, 100).await.iter().map(number).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

pub async fn gives_every_append_a_place_of_its_own(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let key = unique("crowd");
    let positions = append_all(&log, (0..500).map(|n| record(&key, n))).await;
    let mut reader = log.read(partition(&log, &key), positions.iter().map(|p| p.offset).min().unwrap()).await.unwrap();
    let read = next_of(&mut reader, &key, 500).await;
    for record in read {
        assert_eq!(record.position, positions[number(&record) as usize]);
    }
}

pub async fn notes_earlier_appends_before_it_answers_later_ones(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    // A log that notes too late does so only if a caller runs in between: it has ten crowds of chances.
    for _ in 0..10 {
        let key = unique("noted");
        let noted = Arc::<Mutex<BTreeSet<Offset>>>::default();
        let appended = join_all((0..500).map(async |n| {
            let note = Arc::clone(&noted);
            let note = Box::new(move |position: Position| _ = note.lock().unwrap().insert(position.offset));
            let position =
                soon("an append", log.append_noted(record(&key, n), note)).await.expect("an append succeeds");
            let known = noted.lock().unwrap().range(..=position.offset).count();
            (position.offset, known)
        }));
        let appended: BTreeMap<Offset, usize> = appended.await.into_iter().collect();
        assert_eq!(appended.len(), 500);
        for (place, (offset, known)) in appended.into_iter().enumerate() {
            assert_eq!(known, place + 1, "at offset {offset}");
        }
    }
}

pub async fn gives_back_what_was_given(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let key = unique("ключ");
    let id = RecordId([7; 16]);
    let header = |name: &str, value: &'static [u8]| Header { name: name.into(), value: Bytes::from_static(value) };
    let given = NewRecord {
        topic: TOPIC,
        key: key.clone(),
        headers: vec![
            Header { name: headers::ID.into(), value: id.to_string().into() },
            header(headers::TRACE_PARENT, b"00-00000000000000000000000000000001-0000000000000002-01"),
            header("twice", b"one"),
            header("twice", b"two"),
            header("binary", &[0, 255, 128, 0]),
            header("empty", b""),
        ],
        value: (0..=255).collect::<Vec<u8>>().into(),
    };
    let position = append(&log, given.clone()).await;
    let mut reader = log.read(position.partition, position.offset).await.unwrap();
    let read = next_of(&mut reader, &key, 1).await.remove(0);
    assert_eq!(read.position, position);
    assert_eq!(read.key, given.key);
    assert_eq!(read.headers, given.headers);
    assert_eq!(read.value, given.value);
    assert_eq!(read.id(), Some(id));
}

pub async fn starts_where_it_is_asked_to(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let key = unique("start");
    let mut positions = Vec::new();
    for n in 0..20 {
        positions.push(append(&log, record(&key, n)).await);
    }
    for from in [0, 7, 19, 7] {
        let mut reader = log.read(partition(&log, &key), positions[from].offset).await.unwrap();
        let read = next_of(&mut reader, &key, 20 - from).await;
        assert_eq!(read[0].position, positions[from]);
    }
}

pub async fn says_when_an_offset_is_out_of_range(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let key = unique("beyond");
    let position = append(&log, record(&key, 0)).await;
    let head = log.heads(TOPIC).await.unwrap()[usize::from(position.partition.index)];
    let mut reader = log.read(position.partition, head + 5).await.unwrap();
    match soon("an answer", reader.next()).await {
        Some(Err(LogError::OutOfRange { partition, asked, next, .. })) => {
            assert_eq!((partition, asked, next), (position.partition, head + 5, head));
        }
        other => panic!("{other:?}"),
    }
    assert!(soon("the end", reader.next()).await.is_none());
}

pub async fn shows_new_records_to_a_follower(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let key = unique("follow");
    let position = append(&log, record(&key, 0)).await;
    let mut reader = log.read(position.partition, position.offset).await.unwrap();
    assert_eq!(number(&next_of(&mut reader, &key, 1).await[0]), 0);
    for n in 1..20 {
        assert!(reader.try_next().is_none());
        append(&log, record(&key, n)).await;
        assert_eq!(number(&next_of(&mut reader, &key, 1).await[0]), n);
    }
}

/// Needs a single-threaded runtime: then nothing is added while it counts what is there.
pub async fn holds_little_for_a_slow_reader(log: Arc<dyn EventLog>) {
    const RECORD_BYTES: usize = 20_000;
    const RECORDS: u64 = 400;
    prepared(&log).await;
    let key = unique("slow");
    let mut first = None;
    for n in 0..RECORDS / 50 {
        let group = (0..50).map(|i| numbered(&key, n * 50 + i, RECORD_BYTES));
        first = first.or(append_all(&log, group).await.into_iter().min());
    }
    let mut reader = log.read(partition(&log, &key), first.unwrap().offset).await.unwrap();
    soon("the reader is full", async {
        while reader.batches.capacity() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut numbers = Vec::new();
    let mut held_bytes = 0;
    while let Some(batch) = reader.try_next() {
        for record in batch.unwrap() {
            held_bytes += record.held_bytes();
            numbers.push(number(&record));
        }
    }
    assert!(held_bytes <= READ_AHEAD_BYTES + MAX_RECORD_BYTES, "{held_bytes} bytes are held");
    let rest = next_of(&mut reader, &key, RECORDS as usize - numbers.len()).await;
    numbers.extend(rest.iter().map(number));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
}

pub async fn refuses_what_breaks_a_limit(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let heads = log.heads(TOPIC).await.unwrap();
    let key = unique("limits");
    let good = record(&key, 0);
    let fill = MAX_RECORD_BYTES - good.len_bytes();
    let header = |name: &str| Header { name: name.into(), value: Bytes::new() };
    let bad = [
        numbered(&key, 0, fill + 1),
        NewRecord { value: Bytes::new(), ..good.clone() },
        NewRecord { headers: vec![header("h"); MAX_HEADERS + 1], ..good.clone() },
        NewRecord { headers: vec![header("")], ..good.clone() },
        NewRecord { headers: vec![header("a\0b")], ..good.clone() },
    ];
    for record in bad {
        let answer = soon("an answer", log.append(record)).await;
        assert!(matches!(answer, Err(AppendError::Refused(_))), "{answer:?}");
    }
    assert_eq!(log.heads(TOPIC).await.unwrap(), heads, "nothing was written");
    let position = append(&log, numbered(&key, 0, fill)).await;
    let mut reader = log.read(position.partition, position.offset).await.unwrap();
    assert_eq!(next_of(&mut reader, &key, 1).await[0].value.len(), 8 + fill);
}

pub async fn tells_where_its_heads_are(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let mut heads = log.heads(TOPIC).await.unwrap();
    assert_eq!(heads.len(), usize::from(log.partition_count()));
    let key = unique("heads");
    for position in append_all(&log, (0..40).map(|n| record(&format!("{key}-{n}"), n))).await {
        let head = &mut heads[usize::from(position.partition.index)];
        *head = (*head).max(position.offset + 1);
    }
    assert_eq!(log.heads(TOPIC).await.unwrap(), heads);
}

pub async fn names_what_differs_from_the_contract(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    log.check_topics(&super::TOPICS).await.unwrap();
    let missing = Topic { id: 999, name: "kith.contract-missing.v1" };
    match soon("an answer", log.check_topics(&[TOPIC, missing])).await {
        Err(LogError::Contract(text)) => assert!(text.contains(missing.name) && !text.contains(TOPIC.name), "{text}"),
        other => panic!("{other:?}"),
    }
}
