//! The contract of an [`EventLog`]: plain functions that each adapter's tests list by name.
//!
//! They use separate topics, so that they can run beside a suite on one broker; only one at a time on one log. They
//! need a single-threaded tokio runtime only where stated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite of tests")]

mod delivery;
mod membership;
mod restart;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use kith_runtime::Runtime;

use crate::{EventLog, Header, LogPartition, NewRecord, Position, Record, RecordReader, Topic, partition_of};

pub use delivery::*;
pub use membership::*;
pub use restart::*;

/// The topics that the suite makes.
pub const TOPICS: [Topic; 2] = [TOPIC, OTHER_TOPIC];

const TOPIC: Topic = Topic { id: 901, name: "kith.contract.v1" };
const OTHER_TOPIC: Topic = Topic { id: 902, name: "kith.contract-other.v1" };

/// How long a required event may take. Normally a moment; a rebalance after a crash takes 10 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// The whole contract except the kill -9, one rule after the other. `open` opens the same log again: another connection
/// to the same broker, or the same folder (the previous log is closed and dropped by then).
pub async fn all(open: impl AsyncFn() -> Arc<dyn EventLog>) {
    keeps_the_order_of_a_key(open().await).await;
    gives_every_append_a_place_of_its_own(open().await).await;
    notes_earlier_appends_before_it_answers_later_ones(open().await).await;
    gives_back_what_was_given(open().await).await;
    starts_where_it_is_asked_to(open().await).await;
    says_when_an_offset_is_out_of_range(open().await).await;
    shows_new_records_to_a_follower(open().await).await;
    holds_little_for_a_slow_reader(open().await).await;
    refuses_what_breaks_a_limit(open().await).await;
    tells_where_its_heads_are(open().await).await;
    names_what_differs_from_the_contract(open().await).await;
    redelivers_to_a_group_from_the_offset_asked(open().await).await;
    shares_partitions_and_hands_them_over(open().await).await;
    ends_earlier_readers_with_a_new_word(open().await).await;
    reads_again_after_a_restart_what_it_answered(open).await;
}

async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

async fn prepared(log: &Arc<dyn EventLog>) {
    soon("topics are made", log.create_topics(&TOPICS)).await.expect("topics can be made");
}

/// A name that no other run has.
fn unique(what: &str) -> String {
    let mut bytes = [0; 8];
    Runtime::system().fill_random(&mut bytes).expect("randomness");
    format!("{what}-{:016x}", u64::from_be_bytes(bytes))
}

fn record(key: &str, number: u64) -> NewRecord {
    numbered(key, number, 0)
}

/// A record whose value starts with its number and is `len` bytes longer.
fn numbered(key: &str, number: u64, len: usize) -> NewRecord {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + len, 0xa5);
    let header = Header { name: "ce_type".into(), value: Bytes::from_static(b"contract") };
    NewRecord { topic: TOPIC, key: key.to_owned(), headers: vec![header], value: value.into() }
}

fn number(record: &Record) -> u64 {
    u64::from_be_bytes(record.value[..8].try_into().expect("eight bytes"))
}

fn partition(log: &Arc<dyn EventLog>, key: &str) -> LogPartition {
    LogPartition { topic: TOPIC, index: partition_of(key, log.partition_count()) }
}

async fn append(log: &Arc<dyn EventLog>, record: NewRecord) -> Position {
    soon("an append", log.append(record)).await.expect("an append succeeds")
}

/// Appends all at once.
async fn append_all(log: &Arc<dyn EventLog>, records: impl Iterator<Item = NewRecord>) -> Vec<Position> {
    join_all(records.map(|record| append(log, record))).await
}

/// The next `count` records of `key`, skipping others. Checks the order of all.
async fn next_of(reader: &mut RecordReader, key: &str, count: usize) -> Vec<Record> {
    let mut found = Vec::new();
    let mut last = None;
    while found.len() < count {
        let batch = soon("a batch", reader.next()).await.expect("the reader goes on").expect("the log can be read");
        assert!(!batch.is_empty(), "a batch has at least one record");
        for record in batch {
            assert_eq!(record.position.partition, reader.partition);
            assert!(last < Some(record.position.offset), "{last:?} before {}", record.position);
            last = Some(record.position.offset);
            if record.key == key {
                found.push(record);
            }
        }
    }
    assert_eq!(found.len(), count, "no more than {count} records of {key}");
    found
}
