//! The last records of all partitions in memory, so that a fold at the head does not go to the disk.

use std::collections::{BTreeMap, VecDeque};

use crate::reading::Batch;
use crate::{LogPartition, Offset, Record};

/// All recent records together, bytes.
pub(super) const RECENT_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Recent {
    partitions: BTreeMap<LogPartition, VecDeque<Record>>,
    /// Whose record came when, oldest first: the order in which they are let go.
    order: VecDeque<LogPartition>,
    held_bytes: usize,
}

impl Recent {
    /// Adds the next record of its partition and lets go of the oldest ones.
    pub fn push(&mut self, record: Record) {
        let partition = record.position.partition;
        self.held_bytes += record.held_bytes();
        self.partitions.entry(partition).or_default().push_back(record);
        self.order.push_back(partition);
        while self.held_bytes > RECENT_BYTES {
            self.let_go();
        }
    }

    /// A batch from `from` on, if it is still here.
    pub fn read(&self, partition: LogPartition, from: Offset) -> Option<Vec<Record>> {
        let records = self.partitions.get(&partition)?;
        let first = records.front()?.position.offset;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut batch = Batch::default();
        for record in records.range(skip.min(records.len())..) {
            if !batch.push(record.clone()) {
                break;
            }
        }
        (!batch.records.is_empty()).then_some(batch.records)
    }

    fn let_go(&mut self) {
        let oldest = self.order.pop_front().and_then(|partition| self.partitions.get_mut(&partition));
        match oldest.and_then(VecDeque::pop_front) {
            Some(record) => self.held_bytes -= record.held_bytes(),
            None => self.held_bytes = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, topics};
    use bytes::Bytes;

    fn record(index: u16, offset: Offset, len: usize) -> Record {
        let partition = LogPartition { topic: topics::POSTS, index };
        Record {
            position: Position { partition, offset },
            key: Bytes::new(),
            headers: vec![],
            value: vec![0; len].into(),
        }
    }

    #[test]
    fn keeps_the_newest_within_its_bound() {
        let mut recent = Recent::default();
        for offset in 0..1_000 {
            recent.push(record((offset % 2) as u16, offset / 2, 32 * 1024));
            assert!(recent.held_bytes <= RECENT_BYTES);
        }
        let partition = LogPartition { topic: topics::POSTS, index: 0 };
        assert_eq!(recent.read(partition, 0), None);
        assert_eq!(recent.read(partition, 499).map(|r| r[0].position.offset), Some(499));
        assert_eq!(recent.read(partition, 500), None);
        assert!(recent.order.len() < 300);
    }
}
