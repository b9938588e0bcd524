//! Pages over three topics in one order: the log's, by the time at which it took each record.

use futures::try_join;
use kith_fold::Operations;
use kith_log::{EventLog, LogPartition, Offset, PartitionIndex, Topic, topics};
use kith_proto::ops::v1::{AuditEntry, ReadAuditRequest, ReadAuditResponse};
use kith_runtime::UnixMillis;
use kith_service::Failure;
use kith_service::auth::REVOCATIONS_KEY;
use kith_service::deadline::Deadline;
use kith_service::page_token::{PageTokens, page_size};
use kith_service::security::SECURITY_KEY;
use prost::Message;

use super::entry::{Filter, entry};
use crate::ops::events::scan::{Place, look};
use crate::ops::events::shown::Shapes;

const READ_AUDIT: &str = "ops.ReadAudit";
/// The records of each topic have one key, so that they are in one partition.
const SOURCES: [(Topic, &str); 3] =
    [(topics::SECURITY, SECURITY_KEY), (topics::OPS, Operations::KEY), (topics::REVOCATIONS, REVOCATIONS_KEY)];

/// The requested entries.
pub struct Page {
    filter: Filter,
    size: usize,
    bound_to: Vec<u8>,
    places: [Place; SOURCES.len()],
}

/// What was read of one topic.
struct Read {
    /// When the log took each, and it.
    entries: Vec<(UnixMillis, AuditEntry)>,
    /// After the last record that was read.
    next: Offset,
    /// Whether that is all that there is.
    is_all: bool,
    /// What the log took until then is read.
    until_ms: UnixMillis,
    searched: u64,
}

impl Page {
    pub fn parse(
        request: &ReadAuditRequest,
        tokens: &PageTokens,
        partition_count: PartitionIndex,
    ) -> Result<Self, Failure> {
        let filter = Filter::parse(request)?;
        let size = page_size("page_size", request.page_size)?;
        let asked = ReadAuditRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let bound_to = asked.encode_to_vec();
        let offsets = match tokens.open(READ_AUDIT, &[&bound_to], &request.page_token)? {
            None => [0; SOURCES.len()],
            Some(bytes) => offsets_in(&bytes)?,
        };
        let mut places = SOURCES.map(|(topic, key)| {
            let partition = LogPartition::of_key(topic, key, partition_count).index;
            Place { partition, offset: 0 }
        });
        places.iter_mut().zip(offsets).for_each(|(place, offset)| place.offset = offset);
        Ok(Self { filter, size, bound_to, places })
    }

    pub async fn read(
        &self,
        log: &dyn EventLog,
        shapes: &Shapes,
        tokens: &PageTokens,
        until: Deadline,
    ) -> Result<ReadAuditResponse, Failure> {
        let read = |source: usize| self.read_one(source, log, shapes, until);
        let (security, decisions, ended) = try_join!(read(0), read(1), read(2))?;
        let all = [security, decisions, ended];
        let records_searched = all.iter().map(|read| read.searched).sum();
        let (entries, next) = merged(all, self.size);
        let seal = |next| tokens.seal(READ_AUDIT, &[&self.bound_to], &bytes_of(next));
        let next_page_token = next.map(seal).transpose()?.unwrap_or_default();
        Ok(ReadAuditResponse { entries, next_page_token, records_searched })
    }

    async fn read_one(
        &self,
        source: usize,
        log: &dyn EventLog,
        shapes: &Shapes,
        until: Deadline,
    ) -> Result<Read, Failure> {
        let place = self.places[source];
        let (mut entries, mut until_ms, mut next) = (Vec::new(), UnixMillis::MIN, place.offset);
        let looked = look(log, SOURCES[source].0, &[place], until, |record| {
            (until_ms, next) = (until_ms.max(record.logged_ms), record.position.offset + 1);
            let entry = entry(record, shapes);
            if entry.event.as_ref().is_some_and(|event| self.filter.matches(event)) {
                entries.push((until_ms, entry));
            }
            entries.len() < self.size
        })
        .await?;
        Ok(Read { entries, next, is_all: looked.next.is_none(), until_ms, searched: looked.searched })
    }
}

/// The first `size` entries in the log's order before which nothing unread can come; and where each topic goes on, unless all that
/// there is was given.
fn merged(all: [Read; SOURCES.len()], size: usize) -> (Vec<AuditEntry>, Option<[Offset; SOURCES.len()]>) {
    let read_until_ms = all.iter().filter(|read| !read.is_all).map(|read| read.until_ms).min();
    let mut next = all.each_ref().map(|read| read.next);
    let mut is_all = read_until_ms.is_none();
    let mut in_order: Vec<(UnixMillis, usize, AuditEntry)> = Vec::new();
    for (source, read) in all.into_iter().enumerate() {
        in_order.extend(read.entries.into_iter().map(|(at_ms, entry)| (at_ms, source, entry)));
    }
    // Stable: those of one topic stay in its order.
    in_order.sort_by_key(|(at_ms, ..)| *at_ms);
    let is_known = |at_ms: UnixMillis| read_until_ms.is_none_or(|until_ms| at_ms <= until_ms);
    let given = in_order.iter().take(size).take_while(|(at_ms, ..)| is_known(*at_ms)).count();
    // From the last to the first: each topic goes on at its first entry that is not given.
    for (_, source, entry) in in_order.split_off(given).into_iter().rev() {
        (next[source], is_all) = (entry.offset, false);
    }
    (in_order.into_iter().map(|(_, _, entry)| entry).collect(), (!is_all).then_some(next))
}

fn bytes_of(offsets: [Offset; SOURCES.len()]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect()
}

/// The places in a token. It was sealed here, so only another release's token could have another shape.
fn offsets_in(bytes: &[u8]) -> Result<[Offset; SOURCES.len()], Failure> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let offsets: Vec<Offset> = numbers.iter().map(|bytes| Offset::from_be_bytes(*bytes)).collect();
    match <[Offset; SOURCES.len()]>::try_from(offsets) {
        Ok(offsets) if rest.is_empty() => Ok(offsets),
        _ => Err(Failure::page_token_invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(places: &[(UnixMillis, Offset)], next: Offset, is_all: bool, until_ms: UnixMillis) -> Read {
        let entry = |offset| AuditEntry { offset, ..AuditEntry::default() };
        let entries = places.iter().map(|(at_ms, offset)| (*at_ms, entry(*offset))).collect();
        Read { entries, next, is_all, until_ms, searched: 0 }
    }

    /// A call may end before it found enough: it read so many records, or for so long.
    #[test]
    fn nothing_is_given_before_which_something_unread_can_come() {
        let rest = || read(&[], 3, true, 7);
        let all = [read(&[(10, 4)], 9, false, 12), read(&[(5, 0), (11, 1), (20, 2)], 6, true, 30), rest()];
        let (given, next) = merged(all, 10);
        assert_eq!(given.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [0, 4, 1]);
        assert_eq!(next, Some([9, 2, 3]), "what came at 20 is given when the first topic is read until then");
        let nothing_found = [read(&[], 9, false, 4), read(&[(5, 0)], 6, true, 30), rest()];
        assert_eq!(merged(nothing_found, 10), (Vec::new(), Some([9, 0, 3])), "it goes on all the same");
        let (given, next) = merged([read(&[(1, 0)], 1, true, 1), read(&[(2, 0)], 1, true, 2), rest()], 2);
        assert_eq!((given.len(), next), (2, None));
        let (given, next) = merged([read(&[(1, 0)], 1, true, 1), read(&[(2, 5)], 6, true, 2), rest()], 1);
        assert_eq!((given.len(), next), (1, Some([1, 5, 3])));
    }
}
