//! The last records of all partitions in memory, so that a fold at the head does not read the disk.
//!
//! They are held in their disk encoding: a decoded record is a dozen small allocations, and takes three times as much.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::reading::BATCH_BYTES;
use crate::{LogPartition, Offset, Position};

/// All recent records together, bytes: some 6,000 of the demo's.
pub(super) const RECENT_BYTES: usize = 4 * 1024 * 1024;
/// Overhead per record beside its frame, bytes, estimated: its places in two queues, and the allocator's share.
const RECORD_HELD_BYTES: usize = 128;

#[derive(Default)]
pub(super) struct Recent {
    partitions: BTreeMap<LogPartition, Run>,
    /// The partitions in order of arrival, oldest first: the order of eviction.
    order: VecDeque<LogPartition>,
    held_bytes: usize,
}

/// Consecutive records of one partition.
#[derive(Default)]
struct Run {
    first: Offset,
    frames: VecDeque<Bytes>,
}

impl Recent {
    /// Adds the next record of its partition and evicts the oldest ones.
    pub fn push(&mut self, position: Position, frame: Bytes) {
        self.held_bytes += held_bytes(&frame);
        let run = self.partitions.entry(position.partition).or_default();
        if run.frames.is_empty() {
            run.first = position.offset;
        }
        run.frames.push_back(frame);
        self.order.push_back(position.partition);
        while self.held_bytes > RECENT_BYTES {
            self.let_go();
        }
    }

    /// Frames from `from` on, about one batch, if they are still here.
    pub fn read(&self, partition: LogPartition, from: Offset) -> Option<Vec<(Position, Bytes)>> {
        let run = self.partitions.get(&partition)?;
        let skip = usize::try_from(from.checked_sub(run.first)?).ok()?;
        let mut bytes = 0;
        let within_batch = |frame: &&Bytes| {
            let fits = bytes < BATCH_BYTES;
            bytes += frame.len();
            fits
        };
        let frames = run.frames.range(skip.min(run.frames.len())..).take_while(within_batch);
        let found: Vec<_> =
            (from..).zip(frames).map(|(offset, frame)| (Position { partition, offset }, frame.clone())).collect();
        (!found.is_empty()).then_some(found)
    }

    fn let_go(&mut self) {
        let oldest = self.order.pop_front().and_then(|partition| self.partitions.get_mut(&partition));
        let Some((run, frame)) = oldest.and_then(|run| run.frames.pop_front().map(|frame| (run, frame))) else {
            self.held_bytes = 0;
            return;
        };
        run.first += 1;
        self.held_bytes -= held_bytes(&frame);
    }
}

fn held_bytes(frame: &Bytes) -> usize {
    frame.len() + RECORD_HELD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics;

    fn position(index: u16, offset: Offset) -> Position {
        Position { partition: LogPartition { topic: topics::POSTS, index }, offset }
    }

    #[test]
    fn keeps_the_newest_within_its_bound() {
        let mut recent = Recent::default();
        for offset in 0..1_000 {
            recent.push(position((offset % 2) as u16, offset / 2), vec![0; 32 * 1024].into());
            assert!(recent.held_bytes <= RECENT_BYTES);
        }
        let partition = position(0, 0).partition;
        assert_eq!(recent.read(partition, 0), None);
        let last = recent.read(partition, 499).unwrap();
        assert_eq!(last.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [position(0, 499)]);
        assert_eq!(recent.read(partition, 500), None);
        assert!(recent.order.len() < 300);
    }

    #[test]
    fn a_read_is_of_about_a_batch_and_goes_on_where_it_ended() {
        let mut recent = Recent::default();
        (0..1_000).for_each(|offset| recent.push(position(0, offset), vec![offset as u8; 1024].into()));
        let mut next = 10;
        while let Some(frames) = recent.read(position(0, 0).partition, next) {
            assert!(frames.len() <= BATCH_BYTES / 1024);
            for (at, frame) in frames {
                assert_eq!((at, frame[0]), (position(0, next), next as u8));
                next += 1;
            }
        }
        assert_eq!(next, 1_000);
    }
}
