//! What a stream tells of conversations before the changes: to a new caller the newest, to one who was away for longer than the tail
//! remembers those that changed meanwhile.
//!
//! Whether one changed for the caller is a function of the records that the caller is told of, and of no others: where another member has
//! only read, accepted or declined, nothing is told.

use std::collections::{BTreeSet, VecDeque};

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::{Found, State, Token};
use kith_log::{LogPartition, Offset, PartitionIndex, Position, RecordId, topics};
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::{Left, MarkerMoved};
use kith_service::Failure;
use kith_service::kit::Seen;
use kith_service::query::PageAsk;
use kith_tables::{Key, MAX_SLICE_ROWS, RowRange, RowType, StoreError, Table, Timestamp};

use super::shown;
use crate::conversation::{self, CONVERSATIONS};
use crate::facts::{FormerRow, of_former};
use crate::inbox::walk::{Reader, Walk};
use crate::inbox::{INBOX, InboxRow};
use crate::listing;
use crate::members::Member;
use crate::requests::{self, REQUESTS, RequestRow};
use crate::summary::Summary;

/// Conversations that a new caller is told, and requests.
const NEWEST: usize = 100;
/// Conversations that are looked at for a caller who was away, the newest.
const LOOKED_AT: usize = 1_000;
/// Slices of an account's conversations, and of its requests, in which those are looked for that ended meanwhile.
const SLICES: usize = 2;
/// Conversations that are read at once, and then wait for the caller to take them.
const TOGETHER: usize = 16;

/// The conversations that are still to be told.
pub struct Beginning {
    untold: VecDeque<RecordId>,
    /// What the caller was told before.
    since: Option<Token>,
    /// Whether there may be more.
    pub incomplete: bool,
}

/// What is told of one conversation, and what of the log that has.
pub struct Beginnings {
    pub conversation_id: String,
    pub position: Position,
    pub updates: Vec<Update>,
}

impl Beginning {
    /// The conversations that may have changed since, or the newest.
    pub async fn find(seen: &Seen<'_>, since: Option<Token>) -> Result<Self, Failure> {
        let (mut ids, mut incomplete) = newest(seen, if since.is_some() { LOOKED_AT } else { NEWEST }).await?;
        if let Some(since) = &since {
            incomplete |= ended(seen, since, &mut ids).await?;
        }
        let mut known = BTreeSet::new();
        ids.retain(|id| known.insert(*id));
        Ok(Self { untold: ids.into(), since, incomplete })
    }

    pub fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// What the next ones are to the caller, by the tables as they are now: a few at a time, so that little waits for a caller who takes
    /// nothing.
    pub async fn next(&mut self, seen: &Seen<'_>, at: Timestamp) -> Result<Vec<Beginnings>, Failure> {
        let ids: Vec<RecordId> = self.untold.drain(..self.untold.len().min(TOGETHER)).collect();
        let read: Vec<_> = ids.into_iter().map(|id| self.read(seen, at, id)).collect();
        stream::iter(read).buffered(TOGETHER).try_collect().await
    }

    async fn read(&self, seen: &Seen<'_>, at: Timestamp, id: RecordId) -> Result<Beginnings, Failure> {
        let conversation_id = id.to_string();
        let found = conversation::summary(&seen.state, &conversation_id).await?;
        let partition = partition(&conversation_id, seen.state.partition_count());
        let position = Position { partition, offset: found.position };
        let since = self.since.as_ref().map(|since| since.offset(partition));
        let updates = match found.row.members.get(&seen.viewer) {
            Some(member) => updates(seen, at, (&conversation_id, &found.row, member), since).await?,
            None => left(seen, &conversation_id, since).await?.into_iter().collect(),
        };
        Ok(Beginnings { conversation_id, position, updates })
    }
}

/// The newest conversations of the caller's inbox, at most so many, also what was put away, and requests; and whether there are more.
async fn newest(seen: &Seen<'_>, most: usize) -> Result<(Vec<RecordId>, bool), StoreError> {
    let (state, partitions) = (&seen.state, seen.state.partition_count());
    let shows = |_: &InboxRow| true;
    let reader = Reader { tables: &**state.keyspace(), partitions, account_id: &seen.viewer, shows: &shows };
    let (mut ids, mut walk) = (Vec::new(), Some(Walk::new(&state.as_of(), partitions)));
    while let Some(from) = walk.take_if(|_| ids.len() < most) {
        let (page, next) = reader.page(from, NEWEST).await?;
        ids.extend(page.iter().filter_map(|(id, _)| RecordId::parse(id)));
        walk = next;
    }
    let waiting = requests::page(state, &seen.viewer, &PageAsk { size: NEWEST, after: None }).await?;
    let more_wait = waiting.as_ref().is_some_and(|page| page.next.is_some() || page.unlisted_at_least > 0);
    let waiting = waiting.into_iter().flat_map(|page| page.requests);
    ids.extend(waiting.filter_map(|request| RecordId::parse(&request.conversation_id)));
    Ok((ids, walk.is_some() || more_wait))
}

/// Those of the caller's newest conversations of which a block with one of these may have left something out: groups that both are in, and
/// requests.
pub async fn shared_with(seen: &Seen<'_>, accounts: &BTreeSet<String>) -> Result<Vec<String>, StoreError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let shares = async |id: RecordId| {
        let conversation_id = id.to_string();
        let found = conversation::summary(&seen.state, &conversation_id).await?;
        let waits = found.row.members.get(&seen.viewer).is_some_and(|member| member.consent.waits());
        let is_shared = found.row.members.account_ids().any(|member| accounts.contains(member));
        Ok::<_, StoreError>(Some(conversation_id).filter(|_| is_shared && (found.row.is_group() || waits)))
    };
    let read: Vec<_> = newest(seen, NEWEST).await?.0.into_iter().map(shares).collect();
    let found: Vec<Option<String>> = stream::iter(read).buffered(TOGETHER).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// What a member is told of a conversation by records behind that offset.
async fn updates(
    seen: &Seen<'_>,
    at: Timestamp,
    (conversation_id, summary, member): (&str, &Summary, &Member),
    since: Option<Option<Offset>>,
) -> Result<Vec<Update>, Failure> {
    let is_new = |at: Option<Offset>| since.is_none_or(|since| since < at);
    let (is_told, is_own) = (member.consent.is_told() && is_new(summary.told_at()), is_new(member.noted.own()));
    let has_changed = is_told || is_own;
    let moved = |other: &&Member| since.is_some_and(|since| since < other.noted.marker());
    let moved = summary.members.others(&seen.viewer).filter(moved).filter(|_| member.consent.is_told());
    let moved: Vec<&Member> = moved.collect();
    if (!has_changed && moved.is_empty()) || shown::hidden(seen, summary, member).await?.is_some() {
        return Ok(Vec::new());
    }
    let mut updates = Vec::new();
    if has_changed {
        updates.extend(shown::present(seen, at, (conversation_id, summary)).await?);
    }
    let markers = listing::markers_of(seen, moved.into_iter()).await?;
    let told = |marker| MarkerMoved { conversation_id: conversation_id.to_owned(), marker: Some(marker) };
    updates.extend(markers.into_iter().map(told).map(Update::MarkerMoved));
    Ok(updates)
}

/// That the caller is not in the conversation any more, by a record behind that offset. Who is new was never told of it.
async fn left(
    seen: &Seen<'_>,
    conversation_id: &str,
    since: Option<Option<Offset>>,
) -> Result<Option<Update>, Failure> {
    let Some(since) = since else { return Ok(None) };
    let key = Key::text(conversation_id);
    let former = seen.state.row::<FormerRow>(&CONVERSATIONS, &key, of_former(&seen.viewer)).await?;
    let is_new = former.is_some_and(|former| since < Some(former.position));
    Ok(is_new.then(|| Update::Left(Left { conversation_id: conversation_id.to_owned() })))
}

/// Finds the conversations that are in no list of the account any more, by rows that were written behind the cursor: it left, was removed,
/// or declined. Gives whether there may be more.
async fn ended(seen: &Seen<'_>, since: &Token, ids: &mut Vec<RecordId>) -> Result<bool, StoreError> {
    let (state, account_id) = (&seen.state, seen.viewer.as_str());
    let is_out = |row: &InboxRow| row.places.standing().is_empty();
    let (left, more_left) = over::<InboxRow>((state, &INBOX, account_id), since, is_out).await?;
    let is_over = |row: &RequestRow| !row.waits;
    let (answered, more_answered) = over::<RequestRow>((state, &REQUESTS, account_id), since, is_over).await?;
    ids.extend(left.into_iter().chain(answered));
    Ok(more_left || more_answered)
}

/// The rows by conversation that say so, and were written behind the cursor; and whether there may be more.
async fn over<R: RowType>(
    (state, table, account_id): (&State, &'static Table, &str),
    since: &Token,
    is_over: impl Fn(&R) -> bool,
) -> Result<(Vec<RecordId>, bool), StoreError> {
    let (mut ids, mut after) = (Vec::new(), None);
    for _ in 0..SLICES {
        let range = RowRange { after, ..RowRange::all::<R>() };
        let rows: Vec<Found<R>> = state.slice(table, &Key::text(account_id), range, MAX_SLICE_ROWS).await?;
        let is_new = |row: &&Found<R>| {
            let partition = partition(row.text(1), state.partition_count());
            is_over(&row.row) && since.offset(partition) < Some(row.position)
        };
        ids.extend(rows.iter().filter(is_new).filter_map(|row| RecordId::parse(row.text(1))));
        if rows.len() < MAX_SLICE_ROWS {
            return Ok((ids, false));
        }
        after = rows.last().map(|last| last.clustering.clone());
    }
    Ok((ids, true))
}

fn partition(conversation_id: &str, partitions: PartitionIndex) -> LogPartition {
    LogPartition::of_key(topics::MESSAGING, conversation_id, partitions)
}
