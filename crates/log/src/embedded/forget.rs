//! What the store forgets: the oldest records of topics that do.

use bytes::Bytes;
use kith_runtime::UnixMillis;

use super::frame;
use super::store::{Store, unreadable};
use crate::{LogError, LogPartition, Offset, Position};

/// Records that are deleted at once.
const FORGOTTEN_AT_ONCE: usize = 4_096;

impl Store {
    /// Deletes the records of the partition that were logged before then, oldest first, up to the first that was not. The last one
    /// stays: its offset says where the partition goes on.
    pub fn forget(&self, partition: LogPartition, before_ms: UnixMillis, head: Offset) -> Result<(), LogError> {
        while self.forget_some(partition, before_ms, head)? == FORGOTTEN_AT_ONCE {}
        Ok(())
    }

    /// Gives how many were deleted.
    fn forget_some(&self, partition: LogPartition, before_ms: UnixMillis, head: Offset) -> Result<usize, LogError> {
        let mut old = Vec::new();
        let all = frame::key(partition, 0)..frame::key(partition, head.saturating_sub(1));
        for entry in self.records.range(all).take(FORGOTTEN_AT_ONCE) {
            let (key, value) = entry.into_inner().map_err(unreadable)?;
            let damaged = || LogError::Damaged(format!("{partition}: a key"));
            let position = Position { partition, offset: frame::offset_of(&key).ok_or_else(damaged)? };
            if frame::decode(position, Bytes::copy_from_slice(&value))?.logged_ms >= before_ms {
                break;
            }
            old.push(key);
        }
        // Not waited for: what comes back after a power cut is deleted the next time.
        let mut batch = self.database.batch();
        let count = old.len();
        old.into_iter().for_each(|key| batch.remove(&self.records, key));
        batch.commit().map_err(unreadable)?;
        Ok(count)
    }
}
