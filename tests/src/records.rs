//! All records of a log.

use std::time::Duration;

use anyhow::{Context, Result};
use kith_log::{EventLog, LogPartition, Offset, Record, Topic, topics};

const READ_WITHIN: Duration = Duration::from_secs(30);

/// Every current record of the services' topics, per partition, without dead letters, operators' decisions and security events.
pub async fn of(log: &dyn EventLog) -> Result<Vec<Record>> {
    let mut all = Vec::new();
    let of_services = |topic: &Topic| ![topics::DEAD_LETTERS, topics::OPS, topics::SECURITY].contains(topic);
    for topic in topics::ALL.into_iter().filter(of_services) {
        for (index, head) in (0..).zip(log.heads(topic).await?) {
            all.extend(until(log, LogPartition { topic, index }, head).await?);
        }
    }
    Ok(all)
}

/// The records of a partition below `head`.
pub async fn until(log: &dyn EventLog, partition: LogPartition, head: Offset) -> Result<Vec<Record>> {
    let mut all = Vec::new();
    if head == 0 {
        return Ok(all);
    }
    let mut reader = log.read(partition, 0).await?;
    while all.last().is_none_or(|record: &Record| record.position.offset + 1 < head) {
        let records = tokio::time::timeout(READ_WITHIN, reader.next()).await.context("nothing came from the log")?;
        all.extend(records.context("the reader ended")??);
    }
    all.retain(|record| record.position.offset < head);
    Ok(all)
}
