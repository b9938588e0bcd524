//! A walk through the pages of an inbox, newest activity first, while conversations move.
//!
//! A walk shows the conversations that the log had when it began, each once: in the place that it had then, as it is when
//! its page is read. The token names the log's positions at the beginning, and the row by id says in which place the
//! conversation stood for a reader of these positions, so the answer is the same on every page, wherever the conversation
//! has moved since. The rows by place of the last places left still stand, so it is found there.
//!
//! What a page costs is bounded: [`ROUNDS`] rounds, each of at most two slices of rows by place and one read of rows by
//! id. Behind them the page is short and its token goes on.

use std::cmp::Reverse;

use bytes::Bytes;
use kith_fold::Token;
use kith_log::{LogPartition, Offset, PartitionIndex, Position, topics};
use kith_service::ids::{ID_END_BYTES, id_end};
use kith_tables::{Key, Keyspace, MAX_GET_ROWS, Row, RowKey, RowRange, Slice, StoreError, Timestamp, Value};

use super::{INBOX, InboxRow, PlaceRow, by_id};

/// Rounds of reads for one page.
const ROUNDS: usize = 4;
/// Conversations of one hour that are put in order; in an hour with more rows they come by id.
const ORDERED_MAX: usize = 256;
/// Rows by place of one slice, at the least.
const FEW_ROWS: usize = 64;

/// How far a walk has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The log as it was at the beginning: the next offset of each partition.
    start: Vec<Offset>,
    /// It goes on in this hour, and then in those before.
    hour: i64,
    /// In this hour behind this conversation; empty: with the first.
    behind: String,
    /// Conversations of this hour that it has shown.
    shown: Vec<[u8; ID_END_BYTES]>,
}

impl Walk {
    pub fn new(as_of: &Token, partitions: PartitionIndex) -> Self {
        let next = |index| as_of.offset(LogPartition { topic: topics::MESSAGING, index }).map_or(0, |last| last + 1);
        let start = (0..partitions).map(next).collect();
        Self { start, hour: i64::MAX, behind: String::new(), shown: Vec::new() }
    }

    /// What the log had when it began.
    pub fn start(&self) -> Token {
        let last = |(index, next): (PartitionIndex, &Offset)| {
            let partition = LogPartition { topic: topics::MESSAGING, index };
            Some(Position { partition, offset: next.checked_sub(1)? })
        };
        (0..).zip(&self.start).filter_map(last).collect()
    }

    /// As a page token carries it: at most 4.2 KiB, of which the start takes 2 with 256 log partitions.
    pub fn into_values(self) -> Vec<Value> {
        let start: Vec<_> = self.start.iter().map(|next| next.to_be_bytes()).collect();
        let [start, shown] = [start, self.shown].map(|all| Value::Blob(Bytes::from(all.concat())));
        vec![start, self.hour.into(), Value::Text(self.behind), shown]
    }

    /// `None`: no walk makes such values.
    pub fn from_values(values: &[Value], partitions: PartitionIndex) -> Option<Self> {
        let [Value::Blob(start), Value::BigInt(hour), Value::Text(behind), Value::Blob(shown)] = values else {
            return None;
        };
        let ((next, None), (ends, None)) = (eights(start), eights(shown)) else { return None };
        let start = next.iter().map(|next| Offset::from_be_bytes(*next)).collect();
        let walk = Self { start, hour: *hour, behind: behind.clone(), shown: ends.to_vec() };
        (next.len() == usize::from(partitions)).then_some(walk)
    }

    /// The rows by place that are left.
    fn rest(&self) -> RowRange {
        let after = match (self.behind.is_empty(), self.hour.checked_add(1)) {
            (false, _) => Some(vec![self.hour.into(), self.behind.as_str().into()]),
            (true, Some(above)) => Some(vec![above.into()]),
            (true, None) => None,
        };
        RowRange { after, ..RowRange::all::<PlaceRow>() }
    }

    fn has_shown(&self, hint: &Hint) -> bool {
        hint.hour == self.hour && id_end(&hint.conversation_id).is_some_and(|end| self.shown.contains(&end))
    }

    /// The row's time in the hour, if the conversation stood there when the walk began.
    fn time_there(&self, hint: &Hint, row: &InboxRow, partitions: PartitionIndex) -> Option<Timestamp> {
        let partition = LogPartition::of_key(topics::MESSAGING, &hint.conversation_id, partitions);
        let last = self.start.get(usize::from(partition.index)).and_then(|next| next.checked_sub(1));
        row.places.at(last).filter(|place| place.hour == hint.hour).map(|place| place.time)
    }

    /// All of an hour is done.
    fn pass(&mut self, hour: i64) {
        self.hour = hour.saturating_sub(1);
        self.behind.clear();
        self.shown.clear();
    }
}

/// A row by place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hint {
    hour: i64,
    conversation_id: String,
}

impl Hint {
    fn of(row: &Row) -> Option<Self> {
        match &row.key.clustering[..] {
            [Value::BigInt(hour), Value::Text(id)] => Some(Self { hour: *hour, conversation_id: id.clone() }),
            _ => None,
        }
    }
}

/// The hints of a round.
struct Round {
    hints: Vec<Hint>,
    /// Whether they are whole hours. Otherwise they are the first of an hour with too many.
    whole: bool,
    /// Whether no hint is behind them.
    last: bool,
}

impl Round {
    /// `found`: of at most `limit` rows. `None`: they are of one hour which has more, and more must be asked for.
    fn of(mut found: Vec<Hint>, limit: usize) -> Option<Self> {
        let last_hour = found.last().filter(|_| found.len() >= limit).map(|hint| hint.hour);
        let Some(cut) = last_hour else { return Some(Self { hints: found, whole: true, last: true }) };
        if found.first().is_some_and(|first| first.hour != cut) {
            found.retain(|hint| hint.hour != cut);
            return Some(Self { hints: found, whole: true, last: false });
        }
        found.truncate(ORDERED_MAX);
        (limit > ORDERED_MAX).then_some(Self { hints: found, whole: false, last: false })
    }

    /// Only as many whole hours as a page is likely to need.
    fn enough_for(mut self, rows: usize) -> Self {
        let enough = self.hints.get(rows.saturating_mul(2)).map(|hint| hint.hour).filter(|_| self.whole);
        if let Some(hour) = enough.filter(|hour| self.hints.last().is_some_and(|last| last.hour < *hour)) {
            self.hints.retain(|hint| hint.hour >= hour);
            self.last = false;
        }
        self
    }
}

/// What a page shows.
pub type Listed = (String, InboxRow);

/// Reads the inbox of an account.
pub struct Reader<'a> {
    /// The tables themselves: a memory of rows by id would hold the whole inbox.
    pub tables: &'a dyn Keyspace,
    pub partitions: PartitionIndex,
    pub account_id: &'a str,
    /// Whether a conversation is of the list, as it is now. Of a list that shows few, pages are short or empty.
    pub shows: &'a (dyn Fn(&InboxRow) -> bool + Sync),
}

impl Reader<'_> {
    /// The next page of the walk, newest activity first, and how far the walk has come then; `None`: to the end.
    pub async fn page(&self, mut walk: Walk, size: usize) -> Result<(Vec<Listed>, Option<Walk>), StoreError> {
        let mut page = Vec::new();
        for _ in 0..ROUNDS {
            let round = self.round(&walk, size - page.len()).await?;
            let found = self.rows(&walk, &round).await?;
            let is_last = round.last;
            let done = take(&mut walk, round, found, &mut page, size);
            if is_last && done {
                return Ok((in_order(page), None));
            }
            if page.len() >= size {
                break;
            }
        }
        Ok((in_order(page), Some(walk)))
    }

    async fn round(&self, walk: &Walk, room: usize) -> Result<Round, StoreError> {
        let few = (2 * room + walk.shown.len()).clamp(FEW_ROWS, ORDERED_MAX) + 1;
        for limit in [few, ORDERED_MAX + 1] {
            let slice = Slice { range: walk.rest(), limit };
            let rows = self.tables.slice(&INBOX, &Key::text(self.account_id), &slice).await?;
            if let Some(round) = Round::of(rows.iter().filter_map(Hint::of).collect(), limit) {
                return Ok(round.enough_for(room + walk.shown.len()));
            }
        }
        Ok(Round { hints: Vec::new(), whole: true, last: true })
    }

    /// The time and row of each hint that counts, in its order.
    async fn rows(&self, walk: &Walk, round: &Round) -> Result<Vec<Option<(Timestamp, InboxRow)>>, StoreError> {
        const { assert!(ORDERED_MAX <= MAX_GET_ROWS) };
        let keys: Vec<RowKey> =
            round.hints.iter().map(|hint| RowKey::of::<InboxRow>(by_id(&hint.conversation_id))).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.tables.get(&INBOX, &Key::text(self.account_id), &keys).await?;
        let counts = |(hint, row): (&Hint, Option<Row>)| {
            let Some(row) = row else { return Ok(None) };
            let damaged = || StoreError::Damaged("a row of an inbox does not read as its type".to_owned());
            let row: InboxRow = row.read().ok_or_else(damaged)?;
            let time = walk.time_there(hint, &row, self.partitions).filter(|_| (self.shows)(&row));
            Ok(time.map(|time| (time, row)))
        };
        round.hints.iter().zip(rows).map(counts).collect()
    }
}

/// Puts what the page has room for on it. False: there was more than that.
fn take(
    walk: &mut Walk,
    round: Round,
    found: Vec<Option<(Timestamp, InboxRow)>>,
    page: &mut Vec<Listed>,
    size: usize,
) -> bool {
    let mut found = round.hints.into_iter().zip(found).peekable();
    while let Some(hour) = found.peek().map(|(hint, _)| hint.hour) {
        let of_hour: Vec<_> = std::iter::from_fn(|| found.next_if(|(hint, _)| hint.hour == hour)).collect();
        let done = match round.whole {
            true => take_in_order(walk, hour, of_hour, page, size),
            false => take_by_id(walk, hour, of_hour, page, size),
        };
        if !done {
            return false;
        }
    }
    true
}

type Candidate = (Hint, Option<(Timestamp, InboxRow)>);

/// All of an hour.
fn take_in_order(walk: &mut Walk, hour: i64, all: Vec<Candidate>, page: &mut Vec<Listed>, size: usize) -> bool {
    // Those that have left the list of this hour need not be remembered any more.
    let ends: Vec<_> = all.iter().filter_map(|(hint, _)| id_end(&hint.conversation_id)).collect();
    if hour != walk.hour {
        walk.pass(hour.saturating_add(1));
    }
    walk.shown.retain(|end| ends.contains(end));
    let new = all.into_iter().filter(|(hint, _)| !walk.has_shown(hint));
    let mut rows: Vec<_> = new.filter_map(|(hint, row)| row.map(|row| (hint.conversation_id, row))).collect();
    rows.sort_by(|(id, (time, _)), (other, (others, _))| (Reverse(time), id).cmp(&(Reverse(others), other)));
    let room = size - page.len();
    let is_done = rows.len() <= room;
    for (id, (_, row)) in rows.into_iter().take(room) {
        walk.shown.extend(id_end(&id));
        page.push((id, row));
    }
    if is_done {
        walk.pass(hour);
    }
    is_done
}

/// The first conversations of an hour that has too many to put them in order.
fn take_by_id(walk: &mut Walk, hour: i64, first: Vec<Candidate>, page: &mut Vec<Listed>, size: usize) -> bool {
    if hour != walk.hour {
        walk.pass(hour.saturating_add(1));
    }
    for (hint, row) in first {
        let row = row.filter(|_| !walk.has_shown(&hint));
        if row.is_some() && page.len() >= size {
            return false;
        }
        walk.behind.clone_from(&hint.conversation_id);
        page.extend(row.map(|(_, row)| (hint.conversation_id, row)));
    }
    true
}

/// As they are shown: one that has risen since the walk began stands above the others of its page.
fn in_order(mut page: Vec<Listed>) -> Vec<Listed> {
    page.sort_by(|(id, row), (other, others)| {
        (Reverse(row.activity_time), id).cmp(&(Reverse(others.activity_time), other))
    });
    page
}

/// Parts of eight bytes, and what is left over.
fn eights(bytes: &[u8]) -> (&[[u8; ID_END_BYTES]], Option<&[u8]>) {
    let (parts, rest) = bytes.as_chunks();
    (parts, Some(rest).filter(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests;
