//! What members of a group get.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{TOPIC, TOPICS, append, next_of, number, partition, prepared, record, soon, unique};
use crate::{EventLog, LogPartition, Membership, Offset, RecordReader};

/// Every partition of the suite's topics.
fn every(log: &Arc<dyn EventLog>) -> BTreeSet<LogPartition> {
    let of = |topic| (0..log.partition_count()).map(move |index| LogPartition { topic, index });
    TOPICS.into_iter().flat_map(of).collect()
}

async fn joined(log: &Arc<dyn EventLog>, group: &str) -> Box<dyn Membership> {
    soon("a join", log.join(group, &TOPICS)).await.expect("a join succeeds")
}

/// Receives assignments until the member has `all` partitions.
async fn wait_for_all(member: &mut Box<dyn Membership>, all: &BTreeSet<LogPartition>) {
    soon("a member has all partitions", async {
        loop {
            let has: BTreeSet<_> = member.assigned().await.unwrap().into_iter().collect();
            if has == *all {
                return;
            }
            member.start(&[]).await.unwrap();
        }
    })
    .await;
}

/// Starts `partition` at `from` and the others at their heads; the reader of `partition` first.
async fn started(
    log: &Arc<dyn EventLog>,
    member: &mut Box<dyn Membership>,
    partition: LogPartition,
    from: Offset,
) -> Vec<RecordReader> {
    let mut offsets = Vec::new();
    for topic in TOPICS {
        for (index, head) in log.heads(topic).await.unwrap().into_iter().enumerate() {
            let each = LogPartition { topic, index: index as u16 };
            offsets.push((each, if each == partition { from } else { head }));
        }
    }
    let mut readers = soon("a start", member.start(&offsets)).await.unwrap();
    assert_eq!(readers.len(), offsets.len());
    let at = readers.iter().position(|reader| reader.partition == partition).unwrap();
    readers.swap(0, at);
    readers
}

pub async fn redelivers_to_a_group_from_the_offset_asked(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let (group, key) = (unique("redelivers"), unique("redelivered"));
    let mut positions = Vec::new();
    for n in 0..10 {
        positions.push(append(&log, record(&key, n)).await);
    }
    for from in [0, 4, 2] {
        let mut member = joined(&log, &group).await;
        wait_for_all(&mut member, &every(&log)).await;
        let mut readers = started(&log, &mut member, positions[0].partition, positions[from].offset).await;
        let read = next_of(&mut readers[0], &key, 10 - from).await;
        assert_eq!(read[0].position, positions[from]);
        // A member never restarts at the reported position.
        member.report(&[(positions[9].partition, positions[9].offset + 1)]).await;
        let after = append(&log, record(&unique("elsewhere"), 0)).await;
        let reader = readers.iter_mut().find(|reader| reader.partition == after.partition).unwrap();
        let batch = soon("a record elsewhere", reader.next()).await.unwrap().unwrap();
        assert_eq!(batch.last().map(|record| record.position), Some(after));
    }
}

pub async fn shares_partitions_and_hands_them_over(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let (group, key) = (unique("shares"), unique("shared"));
    let all = every(&log);
    let mut first = joined(&log, &group).await;
    wait_for_all(&mut first, &all).await;
    let mut second = joined(&log, &group).await;
    let (mut has, mut other) = (all.clone(), BTreeSet::new());
    soon("both have a share", async {
        while has.is_empty() || other.is_empty() || !has.is_disjoint(&other) || has.len() + other.len() < all.len() {
            tokio::select! {
                word = first.assigned() => {
                    has = word.unwrap().into_iter().collect();
                    first.start(&[]).await.unwrap();
                }
                word = second.assigned() => {
                    other = word.unwrap().into_iter().collect();
                    second.start(&[]).await.unwrap();
                }
            }
        }
    })
    .await;
    assert_eq!(has.union(&other).copied().collect::<BTreeSet<_>>(), all);
    drop(first);
    wait_for_all(&mut second, &all).await;
    let position = append(&log, record(&key, 3)).await;
    let mut readers = started(&log, &mut second, partition(&log, &key), position.offset).await;
    assert_eq!(number(&next_of(&mut readers[0], &key, 1).await[0]), 3);
}

pub async fn ends_earlier_readers_with_a_new_word(log: Arc<dyn EventLog>) {
    prepared(&log).await;
    let (group, key) = (unique("voids"), unique("void"));
    let all = every(&log);
    let mut first = joined(&log, &group).await;
    wait_for_all(&mut first, &all).await;
    let position = append(&log, record(&key, 0)).await;
    let mut readers = started(&log, &mut first, position.partition, position.offset).await;
    next_of(&mut readers[0], &key, 1).await;

    let second = joined(&log, &group).await;
    soon("every reader ends", async {
        for reader in &mut readers {
            while reader.next().await.is_some() {}
        }
    })
    .await;
    // The assignment that `first` has not received yet has voided the one it would answer.
    let stale = [(LogPartition { topic: TOPIC, index: 0 }, 0)];
    for mut reader in soon("a stale start", first.start(&stale)).await.unwrap() {
        while soon("a stale reader ends", reader.next()).await.is_some() {}
    }
    drop(second);
    wait_for_all(&mut first, &all).await;
    let mut readers = started(&log, &mut first, position.partition, position.offset).await;
    next_of(&mut readers[0], &key, 1).await;
}
