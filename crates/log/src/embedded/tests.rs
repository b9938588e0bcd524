use super::*;
use crate::{contract, topics};
use tempfile::TempDir;

const PARTITIONS: PartitionIndex = 8;

fn opened(dir: &TempDir) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir.path(), PARTITIONS, Runtime::system()).unwrap()
}

async fn prepared(dir: &TempDir) -> Arc<EmbeddedLog> {
    let log = opened(dir);
    log.create_topics(&topics::ALL).await.unwrap();
    log
}

fn record(n: usize, len: usize) -> NewRecord {
    NewRecord { topic: topics::POSTS, key: format!("key-{n}"), headers: vec![], value: vec![7; len].into() }
}

macro_rules! keeps {
    ($($rule:ident),+ $(,)?) => { $(
        #[tokio::test]
        async fn $rule() {
            let dir = TempDir::new().unwrap();
            contract::$rule(opened(&dir)).await;
        }
    )+ };
}

keeps! {
    keeps_the_order_of_a_key,
    gives_every_append_a_place_of_its_own,
    notes_earlier_appends_before_it_answers_later_ones,
    gives_back_what_was_given,
    starts_where_it_is_asked_to,
    says_when_an_offset_is_out_of_range,
    shows_new_records_to_a_follower,
    holds_little_for_a_slow_reader,
    refuses_what_breaks_a_limit,
    tells_where_its_heads_are,
    names_what_differs_from_the_contract,
    redelivers_to_a_group_from_the_offset_asked,
    shares_partitions_and_hands_them_over,
    ends_earlier_readers_with_a_new_word,
}

#[tokio::test]
async fn reads_again_after_a_restart_what_it_answered() {
    let dir = TempDir::new().unwrap();
    contract::reads_again_after_a_restart_what_it_answered(async || opened(&dir) as Arc<dyn EventLog>).await;
}

#[tokio::test]
async fn keeps_the_whole_contract_in_a_simulation() {
    let dir = TempDir::new().unwrap();
    let open = async || {
        let log = EmbeddedLog::open(dir.path(), PARTITIONS, Runtime::simulated(1, 0)).unwrap();
        log as Arc<dyn EventLog>
    };
    contract::all(open).await;
}

#[tokio::test]
async fn one_process_at_a_time_has_the_folder() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    assert!(matches!(EmbeddedLog::open(dir.path(), PARTITIONS, Runtime::system()), Err(LogError::InUse(_))));
    // Readers and members that are still there do not keep a dropped log's folder.
    let reader = log.read(LogPartition { topic: topics::POSTS, index: 0 }, 0).await.unwrap();
    let member = log.join("group", &[topics::POSTS]).await.unwrap();
    drop(log);
    drop(opened(&dir));
    drop((reader, member));
}

#[tokio::test]
async fn the_folder_keeps_its_contract() {
    let dir = TempDir::new().unwrap();
    drop(opened(&dir));
    match EmbeddedLog::open(dir.path(), PARTITIONS + 1, Runtime::system()) {
        Err(LogError::Contract(text)) => {
            assert!(text.contains("partitions 8") && text.contains("partitions 9"), "{text}")
        }
        other => panic!("{:?}", other.err()),
    }
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert!(matches!(EmbeddedLog::open(dir.path(), PARTITIONS, Runtime::system()), Err(LogError::Contract(_))));
}

#[tokio::test]
async fn a_failed_write_is_unknown_and_the_last() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    let before = log.append(record(1, 8)).await.unwrap();
    log.store.fail_writes.store(true, Ordering::SeqCst);
    assert!(matches!(log.append(record(1, 8)).await, Err(AppendError::Unknown(_))));
    assert!(log.is_poisoned());
    log.store.fail_writes.store(false, Ordering::SeqCst);
    assert!(matches!(log.append(record(1, 8)).await, Err(AppendError::Refused(_))));
    assert!(matches!(log.heads(topics::POSTS).await, Err(LogError::Broken(_))));
    drop(log);
    let log = prepared(&dir).await;
    assert_eq!(log.append(record(1, 8)).await.unwrap().offset, before.offset + 1);
}

#[tokio::test]
async fn appends_beyond_the_queue_are_turned_away_at_once() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    // Nobody awaits between these, but the writer takes some meanwhile: twice the queue is more than it can hold.
    let many = 4 * writer::QUEUE_BYTES / 60_000;
    let answers = futures::future::join_all((0..many).map(|n| log.append(record(n, 60_000)))).await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(AppendError::Full))));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AppendError::Full))));
    assert!(log.append(record(1, 8)).await.is_ok());
}

#[tokio::test]
async fn a_closed_log_has_written_what_it_took() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    let mut reader = log.read(LogPartition { topic: topics::POSTS, index: 0 }, 0).await.unwrap();
    let appends = futures::future::join_all((0..100).map(|n| log.append(record(n, 8))));
    let (answers, ()) = tokio::join!(appends, log.close(Duration::from_secs(5)));
    assert!(answers.iter().all(Result::is_ok));
    assert!(matches!(log.append(record(1, 8)).await, Err(AppendError::Refused(_))));
    assert!(matches!(log.heads(topics::POSTS).await, Err(LogError::Closed)));
    while let Some(batch) = reader.next().await {
        batch.unwrap();
    }
}

#[tokio::test]
async fn a_reader_crosses_from_the_disk_to_memory_without_a_gap() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    let many = 2 * recent::RECENT_BYTES / 32_768;
    for n in 0..many {
        log.append(NewRecord { key: "one".to_owned(), ..record(n, 32_768) }).await.unwrap();
    }
    let partition = LogPartition::of_key(topics::POSTS, "one", PARTITIONS);
    let mut reader = log.read(partition, 0).await.unwrap();
    let mut next = 0;
    while next < many as Offset {
        for record in reader.next().await.unwrap().unwrap() {
            assert_eq!(record.position.offset, next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn damage_is_told_not_skipped() {
    let dir = TempDir::new().unwrap();
    let log = prepared(&dir).await;
    let position = log.append(record(1, 8)).await.unwrap();
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, position, &record(1, 8), 7);
    bytes[20] ^= 1;
    assert!(log.store.write(&[(position, bytes.into())]).is_ok());
    drop(log);
    let log = prepared(&dir).await;
    let mut reader = log.read(position.partition, position.offset).await.unwrap();
    assert!(matches!(reader.next().await, Some(Err(LogError::Damaged(_)))));
    assert!(reader.next().await.is_none());
}

/// Security events, of one key.
fn refusal(n: u8) -> NewRecord {
    NewRecord { topic: topics::SECURITY, key: "security".to_owned(), headers: vec![], value: vec![n].into() }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_forgets_keeps_its_offsets_and_no_other_forgets() {
    let dir = TempDir::new().unwrap();
    let begin_ms = 1_700_000_000_000;
    let open = |at_ms| EmbeddedLog::open(dir.path(), PARTITIONS, Runtime::simulated(1, at_ms)).unwrap();
    let log = open(begin_ms);
    log.create_topics(&topics::ALL).await.unwrap();
    for n in 0..10 {
        log.append(refusal(n)).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let partition = LogPartition::of_key(topics::SECURITY, "security", PARTITIONS);
    log.forget(topics::SECURITY, begin_ms + 4_000).await.unwrap();
    assert!(matches!(log.forget(topics::POSTS, i64::MAX).await, Err(LogError::Contract(_))));
    drop(log);
    let log = open(begin_ms + 60_000);
    let read = async |from| {
        let mut reader = log.read(partition, from).await.unwrap();
        reader.next().await.unwrap().map(|records| records.iter().map(|record| record.value[0]).collect::<Vec<_>>())
    };
    let gone = read(0).await.unwrap_err();
    assert!(matches!(gone, LogError::OutOfRange { asked: 0, first: 4, next: 10, .. }), "{gone:?}");
    assert_eq!(read(4).await.unwrap(), (4..10).collect::<Vec<_>>());
    log.forget(topics::SECURITY, i64::MAX).await.unwrap();
    assert_eq!(read(9).await.unwrap(), [9], "the last one stays");
    let position = log.append(refusal(10)).await.unwrap();
    assert_eq!(position, Position { partition, offset: 10 });
}
