//! A bounded scan of a topic's records, up to the heads at its start. It waits for no new ones.

use kith_log::{EventLog, LogError, LogPartition, Offset, PartitionIndex, Record, RecordReader, Topic};
use kith_service::Failure;
use kith_service::deadline::Deadline;
use tokio::time::{error::Elapsed, timeout_at};

/// The maximum of records per scan.
pub const SEARCHED_RECORDS: u64 = 10_000;

/// Where a scan starts or continues in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub partition: PartitionIndex,
    pub offset: Offset,
}

/// The result of a scan.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked {
    /// Where to continue; `None`: everything was read.
    pub next: Option<Place>,
    pub searched: u64,
}

/// Passes the records from `places` on to `take`, one partition after the other, until it has enough (its last record
/// counts as read), or [`SEARCHED_RECORDS`] were passed, or the deadline passes after at least one.
///
/// Fails with DEADLINE_EXCEEDED when no record could be passed in time, with LOG_UNAVAILABLE when the log does not
/// answer.
pub async fn look(
    log: &dyn EventLog,
    topic: Topic,
    places: &[Place],
    until: Deadline,
    mut take: impl FnMut(&Record) -> bool,
) -> Result<Looked, Failure> {
    let heads = timeout_at(until.at(), log.heads(topic)).await.map_err(late)?.map_err(unavailable)?;
    let head_of = |place: &Place| heads.get(usize::from(place.partition)).copied().unwrap_or(0);
    let mut left = places.iter().copied().filter(|place| place.offset < head_of(place));
    let mut looked = Looked { next: None, searched: 0 };
    while let Some(place) = left.next() {
        let mut partition = Partition { log, at: place, topic, head: head_of(&place), reader: None };
        let end = partition.walk(until, &mut looked.searched, &mut take).await?;
        let at = partition.at;
        match end {
            End::Head => {}
            End::Enough => {
                looked.next = if at.offset < partition.head { Some(at) } else { left.next() };
                return Ok(looked);
            }
            End::Late if looked.searched == 0 => return Err(Failure::deadline_exceeded()),
            End::Late => return Ok(Looked { next: Some(at), ..looked }),
        }
    }
    Ok(looked)
}

enum End {
    Head,
    Enough,
    Late,
}

struct Partition<'a> {
    log: &'a dyn EventLog,
    topic: Topic,
    at: Place,
    /// Nothing from here on is read.
    head: Offset,
    reader: Option<RecordReader>,
}

impl Partition<'_> {
    async fn walk(
        &mut self,
        until: Deadline,
        searched: &mut u64,
        take: &mut impl FnMut(&Record) -> bool,
    ) -> Result<End, Failure> {
        while self.at.offset < self.head {
            let Ok(records) = timeout_at(until.at(), self.next()).await else { return Ok(End::Late) };
            for record in records? {
                let offset = record.position.offset;
                if offset >= self.head {
                    return Ok(End::Head);
                }
                self.at.offset = offset + 1;
                *searched += 1;
                if !take(&record) || *searched == SEARCHED_RECORDS {
                    return Ok(End::Enough);
                }
            }
        }
        Ok(End::Head)
    }

    async fn next(&mut self) -> Result<Vec<Record>, Failure> {
        loop {
            if self.reader.is_none() {
                let partition = LogPartition { topic: self.topic, index: self.at.partition };
                self.reader = Some(self.log.read(partition, self.at.offset).await.map_err(unavailable)?);
            }
            let Some(reader) = &mut self.reader else { continue };
            match reader.next().await.unwrap_or(Err(LogError::Closed)) {
                Ok(records) => return Ok(records),
                // Someone has deleted the oldest records, perhaps all that were there at the start.
                Err(LogError::OutOfRange { first, .. }) if self.at.offset < first => {
                    (self.at.offset, self.reader) = (first.min(self.head), None);
                    if self.at.offset == self.head {
                        return Ok(Vec::new());
                    }
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
    }
}

fn late(_: Elapsed) -> Failure {
    Failure::deadline_exceeded()
}

fn unavailable(error: LogError) -> Failure {
    tracing::warn!(%error, "the log cannot be read for an operator");
    Failure::log_unavailable()
}

#[cfg(test)]
mod tests;
