use std::collections::BTreeMap;

use kith_log::{EventLog, LogError, LogPartition, Offset, Position};

use crate::Group;

/// For each partition of a group, the offset of its next record.
pub(crate) type Heads = BTreeMap<LogPartition, u64>;

pub(crate) async fn heads(log: &dyn EventLog, group: &Group) -> Result<Heads, LogError> {
    let mut heads = Heads::new();
    for &topic in &group.topics {
        let next = log.heads(topic).await?;
        heads.extend((0..).zip(next).map(|(index, head)| (LogPartition { topic, index }, head)));
    }
    Ok(heads)
}

/// The offset of the next record of one partition.
pub(crate) async fn head_of(log: &dyn EventLog, partition: LogPartition) -> Result<Offset, LogError> {
    let heads = log.heads(partition.topic).await?;
    Ok(heads.get(usize::from(partition.index)).copied().unwrap_or(0))
}

/// The last record of each partition that has any.
pub(crate) fn last_positions(heads: &Heads) -> Vec<Position> {
    let last =
        |(&partition, &next): (&LogPartition, &u64)| next.checked_sub(1).map(|offset| Position { partition, offset });
    heads.iter().filter_map(last).collect()
}
