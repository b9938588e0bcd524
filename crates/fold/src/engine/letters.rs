use std::collections::BTreeSet;

use kith_log::{EventLog, LogError, LogPartition, RecordId, topics};

use crate::FoldError;
use crate::dead_letter::letters_key;

/// Letters remembered per log partition; a record whose letter is behind them may be set aside again, under the same id.
const LETTERS_KEPT: usize = 65_536;

/// The records of a log partition that were set aside, according to the log. The tables have it too, unless they were
/// deleted.
pub(super) struct Letters(BTreeSet<RecordId>);

impl Letters {
    /// Reads the topic of letters once, up to its current head. `progress` is called for each part that was read.
    pub async fn read(
        log: &dyn EventLog,
        origin: LogPartition,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Self, FoldError> {
        let key = letters_key(origin);
        let partition = LogPartition::of_key(topics::DEAD_LETTERS, &key, log.partition_count());
        let heads = log.heads(topics::DEAD_LETTERS).await?;
        let head = heads.get(usize::from(partition.index)).copied().unwrap_or(0);
        let mut ids = BTreeSet::new();
        if head == 0 {
            return Ok(Self(ids));
        }
        let mut reader = log.read(partition, 0).await?;
        let mut next = 0;
        while next < head && ids.len() < LETTERS_KEPT {
            let Some(records) = reader.next().await else { return Err(LogError::Closed.into()) };
            let records = records?;
            progress();
            next = records.last().map_or(next, |record| record.position.offset + 1);
            ids.extend(records.iter().filter(|record| record.key == key).filter_map(kith_log::Record::id));
        }
        Ok(Self(ids))
    }

    pub fn has(&self, id: RecordId) -> bool {
        self.0.contains(&id)
    }
}
