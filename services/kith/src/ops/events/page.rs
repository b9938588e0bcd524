//! Pages of records and of dead letters.

use kith_fold::LetterFate;
use kith_log::{EventLog, LogPartition, Offset, PartitionIndex, Record, RecordId, Topic, topics};
use kith_proto::ops::v1::{
    ListDeadLettersRequest, ListDeadLettersResponse, LoggedEvent, ReadEventsRequest, ReadEventsResponse,
};
use kith_proto::time::parse_unix_ms;
use kith_service::Failure;
use kith_service::deadline::Deadline;
use kith_service::page_token::{PageTokens, page_size};
use prost::Message;

use super::letters::Known;
use super::scan::{Place, look};
use super::shown::{Shapes, record_ms};

const READ_EVENTS: &str = "ops.ReadEvents";
const LIST_DEAD_LETTERS: &str = "ops.ListDeadLetters";
/// A page ends when its events are this long: JSON may be six times as long as its source, and an answer must fit into
/// 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// The requested records.
pub struct EventsPage {
    topic: Topic,
    places: Vec<Place>,
    filter: Filter,
    size: usize,
    bound_to: Vec<u8>,
}

struct Filter {
    key: Option<Vec<u8>>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
}

impl EventsPage {
    pub fn parse(
        request: &ReadEventsRequest,
        tokens: &PageTokens,
        partition_count: PartitionIndex,
    ) -> Result<Self, Failure> {
        let topic = topic_of("topic", &request.topic)?;
        let moment = |field, time: &Option<_>| {
            let no_moment = |_| Failure::field_invalid(field, "is not a moment between the years 1 and 9999");
            time.as_ref().map(parse_unix_ms).transpose().map_err(no_moment)
        };
        let key = Some(request.key.as_bytes().to_vec()).filter(|key| !key.is_empty());
        let filter = Filter {
            key,
            from_ms: moment("from_time", &request.from_time)?,
            to_ms: moment("to_time", &request.to_time)?,
        };
        let size = page_size("page_size", request.page_size)?;
        let asked = ReadEventsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let bound_to = asked.encode_to_vec();
        let from = cursor(tokens.open(READ_EVENTS, &[&bound_to], &request.page_token)?)?;
        let partitions = partitions(request, topic, partition_count)?;
        let places = places(&partitions, request.from_offset, from);
        Ok(Self { topic, places, filter, size, bound_to })
    }

    pub async fn read(
        &self,
        log: &dyn EventLog,
        shapes: &Shapes,
        tokens: &PageTokens,
        until: Deadline,
    ) -> Result<ReadEventsResponse, Failure> {
        let (mut events, mut bytes) = (Vec::<LoggedEvent>::new(), 0);
        let looked = look(log, self.topic, &self.places, until, |record| {
            if self.filter.matches(record) {
                let event = shapes.logged(record);
                bytes += event.encoded_len();
                events.push(event);
            }
            events.len() < self.size && bytes < PAGE_BYTES
        })
        .await?;
        let seal = |place| tokens.seal(READ_EVENTS, &[&self.bound_to], &bytes_of(place));
        let next_page_token = looked.next.map(seal).transpose()?.unwrap_or_default();
        Ok(ReadEventsResponse { events, next_page_token, records_searched: looked.searched })
    }
}

impl Filter {
    /// A record without a time is in no time range.
    fn matches(&self, record: &Record) -> bool {
        let of_key = self.key.as_ref().is_none_or(|key| *key == record.key);
        let timed = self.from_ms.is_some() || self.to_ms.is_some();
        of_key && (!timed || record_ms(record).is_some_and(|at| self.holds(at)))
    }

    fn holds(&self, at_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| at_ms >= from) && self.to_ms.is_none_or(|to| at_ms < to)
    }
}

/// All, one, or the key's partition.
fn partitions(
    request: &ReadEventsRequest,
    topic: Topic,
    count: PartitionIndex,
) -> Result<Vec<PartitionIndex>, Failure> {
    if !request.key.is_empty() {
        return Ok(vec![LogPartition::of_key(topic, &request.key, count).index]);
    }
    let Some(asked) = request.partition else { return Ok((0..count).collect()) };
    let index = PartitionIndex::try_from(asked).ok().filter(|index| *index < count);
    let no_partition = || Failure::field_invalid("partition", "is not a partition of the topic");
    Ok(vec![index.ok_or_else(no_partition)?])
}

/// The start in each partition; a token points into one of them, and those before it are done.
fn places(partitions: &[PartitionIndex], from_offset: Offset, token: Option<Place>) -> Vec<Place> {
    let ahead = partitions.iter().filter(|index| token.is_none_or(|place| **index >= place.partition));
    let place = |&partition| match token {
        Some(place) if place.partition == partition => place,
        _ => Place { partition, offset: from_offset },
    };
    ahead.map(place).collect()
}

/// The requested dead letters.
pub struct LettersPage {
    open_only: bool,
    origin_topic: String,
    size: usize,
    after: Option<Place>,
    bound_to: Vec<u8>,
}

fn topic_of(field: &'static str, name: &str) -> Result<Topic, Failure> {
    topics::by_name(name).ok_or_else(|| {
        let all = topics::ALL.map(|topic| topic.name).join(", ");
        Failure::field_invalid(field, &format!("is no topic of this suite; those are {all}"))
    })
}

impl LettersPage {
    pub fn parse(request: &ListDeadLettersRequest, tokens: &PageTokens) -> Result<Self, Failure> {
        let size = page_size("page_size", request.page_size)?;
        let asked = ListDeadLettersRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let bound_to = asked.encode_to_vec();
        let after = cursor(tokens.open(LIST_DEAD_LETTERS, &[&bound_to], &request.page_token)?)?;
        let (open_only, origin_topic) = (request.open_only, request.origin_topic.clone());
        if !origin_topic.is_empty() {
            topic_of("origin_topic", &origin_topic)?;
        }
        Ok(Self { open_only, origin_topic, size, after, bound_to })
    }

    pub fn list(
        &self,
        known: &Known,
        fate: impl Fn(RecordId) -> Option<LetterFate>,
        tokens: &PageTokens,
    ) -> Result<ListDeadLettersResponse, Failure> {
        let of_topic = |topic: &str| self.origin_topic.is_empty() || topic == self.origin_topic;
        let (mut letters, mut last) = (Vec::new(), None);
        for letter in known.after(self.after).filter(|letter| of_topic(&letter.origin.topic)) {
            let fate = fate(letter.id);
            if self.open_only && fate.is_some() {
                continue;
            }
            if letters.len() == self.size {
                let next_page_token = match last {
                    Some(place) => tokens.seal(LIST_DEAD_LETTERS, &[&self.bound_to], &bytes_of(place))?,
                    None => String::new(),
                };
                return Ok(ListDeadLettersResponse { letters, next_page_token });
            }
            letters.push(letter.summary(fate));
            last = Some(letter.place);
        }
        known.end()?;
        Ok(ListDeadLettersResponse { letters, next_page_token: String::new() })
    }
}

fn bytes_of(place: Place) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&place.partition.to_be_bytes());
    bytes[2..].copy_from_slice(&place.offset.to_be_bytes());
    bytes
}

/// The place in a token. It was sealed here, so only another release's token could have another shape.
fn cursor(opened: Option<Vec<u8>>) -> Result<Option<Place>, Failure> {
    let Some(bytes) = opened else { return Ok(None) };
    let Some((&[a, b], offset)) = bytes.split_first_chunk() else { return Err(Failure::page_token_invalid()) };
    let offset = <[u8; 8]>::try_from(offset).map_err(|_| Failure::page_token_invalid())?;
    Ok(Some(Place { partition: PartitionIndex::from_be_bytes([a, b]), offset: Offset::from_be_bytes(offset) }))
}
