//! What strangers opened with an account, until it accepts or declines: spread from the conversations.
//!
//! A table of its own, so that strangers write nothing where the inbox is read. A request stands where it was opened, whatever
//! is written in it. The row by id is the truth; the row by time only says where to look, and is removed when the request
//! ends (ADR 20): one counts if the row by id says that the conversation waits there.

use kith_content::Content;
use kith_fold::{Effect, Found, State};
use kith_relations::sight::{Sight, Viewer};
use kith_service::limits;
use kith_service::query::PageAsk;
use kith_tables::{
    Column, Key, MAX_GET_ROWS, MAX_SLICE_ROWS, Order, RowRange, Section, StoreError, Table, Timestamp, Value, row,
};

use crate::members::Member;
use crate::summary::Summary;
use crate::view::View;

pub static REQUESTS: Table = Table {
    name: "requests",
    partition: &[Column::text("account_id")],
    clustering: &[Column::timestamp("opened"), Column::text("conversation_id")],
    order: Order::Descending,
    sections: &[Section::of::<RequestRow>("request"), Section::removable::<OpenedRow>("opened")],
    summary: &[],
};

row! {
    /// A conversation that waits, as the one who is asked sees it; under time 0. Of one that ended it says only that: what is
    /// written in it later is not spread to it.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct RequestRow in 0 {
        pub waits: bool,
        pub kind: i64,
        /// Sorted, a space between them.
        pub member_ids: String,
        pub last_message_number: i64,
        pub last_message_time: Timestamp,
        pub read_number: i64,
        /// Messages of others above `read_number` that were not unsent.
        pub unread_count: i64,
        /// Of the conversation.
        pub create_time: Timestamp,
        /// Of a group; the five here are empty for another one.
        pub title: Content,
        pub member_count: i64,
        pub revision: i64,
        /// A `MemberRole`: who is asked may have been given another one by then.
        pub role: i64,
        /// Who put the account into the group.
        pub added_by: String,
        /// Where its row by time is; one anywhere else is left of another time in the group.
        pub opened_at: Timestamp,
        pub last_message_id: String,
        pub last_sender_id: String,
        /// How the last message begins; nothing if it was unsent.
        pub last_preview: Content,
        pub last_unsent: bool,
        /// What the member makes of it.
        pub own_view: View,
    }
}
row! {
    /// The conversation was opened then, and waits, or has waited.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct OpenedRow in 1 { pub asked: bool }
}

impl RequestRow {
    fn of(summary: &Summary, member: &Member) -> Self {
        let (last_message_number, last_message_time) = summary.last_seen_by(member);
        let last = summary.last_shown_to(member);
        Self {
            waits: true,
            kind: summary.kind,
            member_ids: summary.members_shown(),
            last_message_number,
            last_message_time,
            read_number: member.progress.read_number(),
            unread_count: summary.unread(member),
            create_time: summary.create_time,
            title: summary.title.clone(),
            member_count: summary.member_count(),
            revision: summary.revision(),
            role: i64::from(i32::from(member.role())),
            added_by: member.seat.as_ref().map(|seat| seat.added_by.clone()).unwrap_or_default(),
            opened_at: summary.opened(member),
            last_message_id: last.id,
            last_sender_id: last.sender_id,
            last_preview: last.preview,
            last_unsent: last.unsent,
            own_view: member.view,
        }
    }

    /// Whether it waits in that place.
    fn waits_at(&self, place: &Found<OpenedRow>) -> bool {
        self.waits && place.clustering.first() == Some(&self.opened_at.into())
    }

    /// A block between these and the account hides it: who is in it beside this one, of a group who put the account there.
    fn others<'r>(&'r self, account_id: &'r str) -> impl Iterator<Item = &'r str> {
        let others = self.member_ids.split_terminator(' ').filter(move |member| *member != account_id);
        others.chain(Some(self.added_by.as_str()).filter(|by| !by.is_empty()))
    }
}

/// Who hides the conversation from the lists of the member for whom it waits, and how that one sees it; `None`: it is not hidden.
pub async fn hidden_by(
    state: &State,
    summary: &Summary,
    member: &Member,
) -> Result<Option<(String, Sight)>, StoreError> {
    if !member.consent.waits() {
        return Ok(None);
    }
    let row = RequestRow::of(summary, member);
    let others: Vec<&str> = row.others(&member.account_id).collect();
    let sights = Viewer::new(state, &member.account_id).meetings(others.iter().copied()).await?;
    let hides = others.into_iter().map(|other| (other, sights.of(other))).find(|(_, sight)| !sight.is_clear());
    Ok(hides.map(|(other, sight)| (other.to_owned(), sight)))
}

/// What the record of a conversation that waits for the member writes at `mark`: `opens` if it is the one that created it, or added
/// the member to it.
pub fn waits(conversation_id: &str, summary: &Summary, member: &Member, (mark, opens): (u64, bool)) -> Vec<Effect> {
    let key = || Key::text(&member.account_id);
    let row = Effect::put(&REQUESTS, key(), by_id(conversation_id), RequestRow::of(summary, member), mark);
    let place = [summary.opened(member).into(), conversation_id.into()];
    let opened = opens.then(|| Effect::put(&REQUESTS, key(), place, OpenedRow { asked: true }, mark));
    std::iter::once(row).chain(opened).collect()
}

/// It was accepted or declined.
pub fn ends(conversation_id: &str, summary: &Summary, member: &Member, mark: u64) -> Vec<Effect> {
    let account_id = &member.account_id;
    vec![is_over(account_id, conversation_id, mark), leaves(account_id, conversation_id, summary.opened(member), mark)]
}

/// Nothing waits there any more.
pub fn is_over(account_id: &str, conversation_id: &str, mark: u64) -> Effect {
    Effect::put(&REQUESTS, Key::text(account_id), by_id(conversation_id), RequestRow::default(), mark)
}

/// It does not stand where it was opened then.
pub fn leaves(account_id: &str, conversation_id: &str, opened: Timestamp, mark: u64) -> Effect {
    let place = [opened.into(), conversation_id.into()];
    Effect::remove::<OpenedRow>(&REQUESTS, Key::text(account_id), place, mark)
}

/// The clustering of a conversation's `RequestRow`.
fn by_id(conversation_id: &str) -> [Value; 2] {
    [Timestamp::default().into(), conversation_id.into()]
}

/// A request that waits.
pub struct Request {
    pub conversation_id: String,
    pub row: RequestRow,
}

/// A page of requests, latest opened first.
pub struct Page {
    pub requests: Vec<Request>,
    /// Where the next one begins; `None`: this is the last.
    pub next: Option<Vec<Value>>,
    /// Of the last: about how many more wait, as [`count`] counts them.
    pub unlisted_at_least: u32,
}

/// Places that are looked at for one account, the newest, whatever is found there: so many blocks and answered requests cost
/// no more. What is behind them is neither listed nor counted.
const PLACES_LOOKED_AT: usize = limits::REQUESTS_LISTED + limits::REQUESTS_ESTIMATED;

/// The requests among the places that are looked at, at most [`limits::REQUESTS_LISTED`] in all pages. `None`: no page begins
/// there.
pub async fn page(state: &State, account_id: &str, page: &PageAsk) -> Result<Option<Page>, StoreError> {
    let (before, mut look) = match page.after.as_deref() {
        None => (0, Look::from_newest(state, account_id)),
        Some([Value::BigInt(listed), Value::BigInt(places), after @ ..]) => {
            let [listed, places] = [*listed, *places].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
            (listed, Look { places, after: Some(after.to_vec()), ..Look::from_newest(state, account_id) })
        }
        Some(_) => return Ok(None),
    };
    let requests = look.on(limits::REQUESTS_LISTED.saturating_sub(before).min(page.size)).await?;
    let listed = before.saturating_add(requests.len());
    match &look.after {
        Some(after) if !look.ended && listed < limits::REQUESTS_LISTED => {
            let counts = [listed, look.places].map(|count| i64::try_from(count).unwrap_or(i64::MAX).into());
            let next = Some([&counts[..], after.as_slice()].concat());
            Ok(Some(Page { requests, next, unlisted_at_least: 0 }))
        }
        _ => {
            let further = look.count(limits::REQUESTS_ESTIMATED).await?;
            Ok(Some(Page { requests, next: None, unlisted_at_least: coarsely(further) }))
        }
    }
}

/// How many requests all pages list, and whether there are more among the places that are looked at.
pub async fn count(state: &State, account_id: &str) -> Result<(u32, bool), StoreError> {
    let found = Look::from_newest(state, account_id).count(limits::REQUESTS_LISTED + 1).await?;
    let listed = u32::try_from(found.min(limits::REQUESTS_LISTED)).unwrap_or(u32::MAX);
    Ok((listed, found > limits::REQUESTS_LISTED))
}

/// A look at the places of an account's requests, from the newest on.
struct Look<'a> {
    state: &'a State,
    account_id: &'a str,
    /// Looked at so far.
    places: usize,
    /// The last of them.
    after: Option<Vec<Value>>,
    /// Whether there are no further places, or none that are looked at.
    ended: bool,
}

impl<'a> Look<'a> {
    fn from_newest(state: &'a State, account_id: &'a str) -> Self {
        Self { state, account_id, places: 0, after: None, ended: false }
    }

    /// The requests at the next places, of which there are at most `places`.
    async fn on(&mut self, places: usize) -> Result<Vec<Request>, StoreError> {
        const { assert!(limits::REQUESTS_LISTED < MAX_GET_ROWS && MAX_GET_ROWS < MAX_SLICE_ROWS) };
        let room = PLACES_LOOKED_AT.saturating_sub(self.places).min(places).min(MAX_GET_ROWS);
        let mut found = slice(self.state, self.account_id, self.after.clone(), room + 1).await?;
        let more = found.len() > room;
        found.truncate(room);
        self.places = self.places.saturating_add(found.len());
        self.ended = !more || self.places >= PLACES_LOOKED_AT;
        if let Some(last) = found.last() {
            self.after = Some(last.clustering.clone());
        }
        waiting(self.state, self.account_id, found).await
    }

    /// How many requests there are from here on, if fewer than `enough`.
    async fn count(mut self, enough: usize) -> Result<usize, StoreError> {
        let mut found = 0;
        while !self.ended && found < enough {
            found += self.on(enough).await?.len();
        }
        Ok(found.min(enough))
    }
}

async fn slice(
    state: &State,
    account_id: &str,
    after: Option<Vec<Value>>,
    limit: usize,
) -> Result<Vec<Found<OpenedRow>>, StoreError> {
    let range = RowRange { after, ..RowRange::all::<OpenedRow>() };
    state.slice(&REQUESTS, &Key::text(account_id), range, limit).await
}

/// Those of the places whose conversation waits, but for those with a block between the two.
async fn waiting(state: &State, account_id: &str, places: Vec<Found<OpenedRow>>) -> Result<Vec<Request>, StoreError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ids = places.iter().map(|place| by_id(place.text(1)).to_vec());
    let rows = state.rows::<RequestRow>(&REQUESTS, &Key::text(account_id), ids).await?;
    let request = |(place, row): (Found<OpenedRow>, Option<Found<RequestRow>>)| {
        let row = row.map(|found| found.row).filter(|row| row.waits_at(&place))?;
        Some(Request { conversation_id: place.text(1).to_owned(), row })
    };
    let requests: Vec<Request> = places.into_iter().zip(rows).filter_map(request).collect();
    let others = requests.iter().flat_map(|request| request.row.others(account_id));
    let sights = Viewer::new(state, account_id).meetings(others).await?;
    let is_clear = |request: &Request| request.row.others(account_id).all(|other| sights.of(other).is_clear());
    Ok(requests.into_iter().filter(is_clear).collect())
}

/// A number that says about how many: what it is at least.
fn coarsely(count: usize) -> u32 {
    match count {
        0 => 0,
        1..10 => 1,
        10..100 => 10,
        100..limits::REQUESTS_ESTIMATED => 100,
        _ => u32::try_from(limits::REQUESTS_ESTIMATED).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_only_where_the_request_waits() {
        let place = |at: i64| {
            let clustering = vec![Timestamp(at).into(), "group".into()];
            Found { clustering, position: 7, row: OpenedRow { asked: true } }
        };
        let row = RequestRow { waits: true, opened_at: Timestamp(5), ..RequestRow::default() };
        assert_eq!([4, 5, 6].map(|at| row.waits_at(&place(at))), [false, true, false]);
        assert!(!RequestRow { waits: false, ..row }.waits_at(&place(5)));
    }

    #[test]
    fn what_is_not_listed_is_told_coarsely() {
        let told = [0, 1, 9, 10, 99, 100, 799, 800, 801].map(coarsely);
        assert_eq!(told, [0, 1, 1, 10, 10, 100, 100, 800, 800]);
    }
}
