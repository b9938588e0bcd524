//! What survives a restart, also after kill -9.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{TOPIC, append_all, number, prepared, record, soon, unique};
use crate::{EventLog, LogPartition, NewRecord, Offset, Position};

pub async fn reads_again_after_a_restart_what_it_answered(open: impl AsyncFn() -> Arc<dyn EventLog>) {
    let log = open().await;
    prepared(&log).await;
    let key = unique("restart");
    let mut answered = Vec::new();
    for round in 0..4 {
        let records = (0..50).map(|n| record(&format!("{key}-{}", n % 5), round * 50 + n));
        answered.extend(append_all(&log, records).await);
    }
    let heads = log.heads(TOPIC).await.unwrap();
    soon("a close", log.close(Duration::from_secs(5))).await;
    drop(log);

    let log = open().await;
    prepared(&log).await;
    assert_eq!(log.heads(TOPIC).await.unwrap(), heads);
    holds_all(&log, answered.into_iter().enumerate().map(|(n, position)| (n as u64, position))).await;
    let after = append_all(&log, (0..5).map(|n| record(&format!("{key}-{n}"), n))).await;
    for position in after {
        assert!(position.offset >= heads[usize::from(position.partition.index)], "{position} was given before");
    }
}

/// For a process that will be killed: appends numbered records, sixteen at a time, until the log fails, and reports
/// each answered one. The caller stores that where the killer reads it.
pub async fn append_until_killed(log: Arc<dyn EventLog>, mut answered: impl FnMut(u64, Position)) {
    prepared(&log).await;
    let key = unique("killed");
    for round in 0_u64.. {
        let numbers = round * 16..(round + 1) * 16;
        let records: Vec<NewRecord> = numbers.clone().map(|n| record(&format!("{key}-{}", n % 5), n)).collect();
        for (number, position) in numbers.zip(append_all(&log, records.into_iter()).await) {
            answered(number, position);
        }
    }
}

/// For its successor: every answered record is at the answered position.
pub async fn holds_all(log: &Arc<dyn EventLog>, answered: impl IntoIterator<Item = (u64, Position)>) {
    let mut expected: BTreeMap<LogPartition, BTreeMap<Offset, u64>> = BTreeMap::new();
    for (number, position) in answered {
        expected.entry(position.partition).or_default().insert(position.offset, number);
    }
    for (partition, mut numbers) in expected {
        let Some((first, _)) = numbers.first_key_value() else { continue };
        let mut reader = log.read(partition, *first).await.unwrap();
        while !numbers.is_empty() {
            let batch = soon("what was answered", reader.next()).await.expect("the reader goes on").unwrap();
            for record in batch {
                let Some(expected) = numbers.remove(&record.position.offset) else { continue };
                assert_eq!(number(&record), expected, "at {}", record.position);
            }
        }
    }
}

/// A partition of the suite's topic, for callers that store answers as text.
pub fn partition_at(index: u16) -> LogPartition {
    LogPartition { topic: TOPIC, index }
}
