//! Consumer groups of one process: the members of a group share the partitions of their topics, by range.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::watch;

use super::store::Store;
use super::{Shared, reader};
use crate::reading::{Lifetime, Word, announce};
use crate::{LogError, LogPartition, Membership, Offset, PartitionIndex, RecordReader, Topic};

/// Every group of the log, by name.
#[derive(Default)]
pub(super) struct Groups {
    groups: Mutex<BTreeMap<String, Group>>,
}

#[derive(Default)]
struct Group {
    /// In the order they joined.
    members: Vec<Arc<Place>>,
}

/// A member as its group sees it.
struct Place {
    topics: Vec<Topic>,
    words: watch::Sender<Word>,
}

impl Group {
    /// Reassigns the partitions and informs every member, also one whose share is unchanged: as Kafka's eager protocol
    /// does, so that folds see the same here as there.
    fn rebalance(&self, count: PartitionIndex) {
        for member in &self.members {
            announce(&member.words, self.share(member, count));
        }
    }

    fn share(&self, member: &Arc<Place>, count: PartitionIndex) -> Vec<LogPartition> {
        let mut share = Vec::new();
        for topic in &member.topics {
            let readers: Vec<_> = self.members.iter().filter(|m| m.topics.contains(topic)).collect();
            let rank = readers.iter().position(|m| Arc::ptr_eq(m, member)).unwrap_or(0);
            let bound = |rank: usize| (rank * usize::from(count) / readers.len()) as PartitionIndex;
            share.extend((bound(rank)..bound(rank + 1)).map(|index| LogPartition { topic: *topic, index }));
        }
        share
    }
}

/// One membership; dropping it leaves the group and releases its partitions.
pub(super) struct Member {
    pub runtime: kith_runtime::Runtime,
    shared: Arc<Shared>,
    store: Weak<Store>,
    group: String,
    place: Arc<Place>,
    words: watch::Receiver<Word>,
    /// The number of the last returned assignment.
    heard: u64,
}

impl Member {
    pub fn join(
        runtime: kith_runtime::Runtime,
        shared: Arc<Shared>,
        store: Weak<Store>,
        group: &str,
        topics: &[Topic],
    ) -> Self {
        let (sender, words) = watch::channel(Word::default());
        let place = Arc::new(Place { topics: topics.to_vec(), words: sender });
        let mut groups = shared.groups.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = groups.entry(group.to_owned()).or_default();
        entry.members.push(Arc::clone(&place));
        entry.rebalance(shared.partition_count);
        drop(groups);
        Self { runtime, shared, store, group: group.to_owned(), place, words, heard: 0 }
    }
}

#[async_trait]
impl Membership for Member {
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError> {
        let mut closed = self.shared.closed.subscribe();
        let heard = self.heard;
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(LogError::Closed),
            word = self.words.wait_for(|word| word.number != heard) => {
                let word = word.map_err(|_| LogError::Closed)?;
                self.heard = word.number;
                Ok(word.partitions.clone())
            }
        }
    }

    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError> {
        let mut readers = Vec::with_capacity(from.len());
        for (partition, offset) in from {
            let lifetime =
                Lifetime { closed: self.shared.closed.subscribe(), word: Some((self.words.clone(), self.heard)) };
            let partition = self.shared.partition(*partition)?;
            readers.push(reader::spawn(&self.runtime, &self.shared, &self.store, partition, *offset, lifetime));
        }
        Ok(readers)
    }

    /// No other program can read this log, so nothing is reported.
    async fn report(&self, _next: &[(LogPartition, Offset)]) {}
}

impl Drop for Member {
    fn drop(&mut self) {
        announce(&self.place.words, Vec::new());
        let mut groups = self.shared.groups.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = groups.get_mut(&self.group) else { return };
        group.members.retain(|member| !Arc::ptr_eq(member, &self.place));
        group.rebalance(self.shared.partition_count);
        if group.members.is_empty() {
            groups.remove(&self.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics;

    #[test]
    fn a_group_shares_every_partition_once() {
        for members in 1..6 {
            let place =
                |_| Arc::new(Place { topics: vec![topics::POSTS, topics::FEEDS], words: watch::Sender::default() });
            let group = Group { members: (0..members).map(place).collect() };
            for count in 1..9 {
                let mut all: Vec<_> = group.members.iter().flat_map(|m| group.share(m, count)).collect();
                all.sort();
                let each = |topic| (0..count).map(move |index| LogPartition { topic, index });
                assert_eq!(all, each(topics::POSTS).chain(each(topics::FEEDS)).collect::<Vec<_>>());
            }
        }
    }
}
