//! Which messages of a conversation a reader sees.
//!
//! In a direct conversation all. In a group those that were written while the reader was in it; those of members in a block with
//! the reader are left out.

use std::collections::BTreeSet;

use futures::try_join;
use kith_fold::{Found, State};
use kith_relations::sight::Viewer;
use kith_service::Failure;
use kith_service::kit::Seen;
use kith_service::query::PageAsk;
use kith_tables::{Key, RowRange, StoreError, Value};

use crate::Rejection;
use crate::conversation::{self, CONVERSATIONS};
use crate::facts::{FormerRow, of_former};
use crate::kept::MessageRow;
use crate::summary::Summary;
use crate::windows::Windows;

/// Times in a group that one page reads of, each in a read of its own; behind them the page is short.
const TIMES_PER_PAGE: usize = 4;

/// The messages above a number, up to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    /// `None`: there is no end yet.
    to: Option<i64>,
}

type Messages = (Vec<Found<MessageRow>>, Option<Vec<Value>>);

/// What the caller sees of a conversation.
pub struct Page {
    pub summary: Summary,
    /// Newest first.
    pub rows: Vec<Found<MessageRow>>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Vec<Value>>,
}

/// Whether a member sees the message of that number and sender. In a direct conversation it sees all, whatever has become of the other
/// one since; so do lists and streams.
pub async fn sees(
    state: &State,
    viewer: &str,
    summary: &Summary,
    (number, sender_id): (i64, &str),
) -> Result<bool, StoreError> {
    let Some(member) = summary.members.get(viewer) else { return Ok(false) };
    if !summary.is_group() {
        return Ok(true);
    }
    Ok(member.sees(number) && Viewer::new(state, viewer).meeting(sender_id).await?.is_clear())
}

/// A page of what the caller sees, from the newest message on, or from this one if the caller sees it.
pub async fn page(
    seen: &Seen<'_>,
    conversation_id: &str,
    page: &PageAsk,
    from: Option<(i64, &str)>,
) -> Result<Page, Failure> {
    let key = Key::text(conversation_id);
    let (found, all) = try_join!(
        conversation::summary(&seen.state, conversation_id),
        page.rows::<MessageRow>(seen, &CONVERSATIONS, &key, Vec::new()),
    )?;
    let summary = found.row;
    if !summary.is_group() {
        summary.members.get(&seen.viewer).ok_or(Rejection::NotFound)?;
        let (rows, next) = all;
        return Ok(Page { summary, rows, next });
    }
    let spans = spans(seen, &key, &summary).await?.ok_or(Rejection::NotFound)?;
    let (rows, next) = match spans[..] {
        [Span { from: 0, to: None }] => all,
        _ => within(seen, &key, &spans, page).await?,
    };
    let senders = rows.iter().map(|row| &*row.row.sender_id).chain(from.map(|(_, sender)| sender));
    let sights = Viewer::new(&seen.state, &seen.viewer).meetings(senders).await?;
    let is_hidden =
        |(number, sender): (i64, &str)| !spans.iter().any(|span| span.shows(number)) || !sights.of(sender).is_clear();
    if from.is_some_and(is_hidden) {
        return Err(Rejection::MessageNotFound.into());
    }
    let rows = rows.into_iter().filter(|row| sights.of(&row.row.sender_id).is_clear()).collect();
    Ok(Page { summary, rows, next })
}

/// Those of these messages that the caller sees in a group; in a direct conversation all.
pub async fn only_seen<'r>(
    seen: &Seen<'_>,
    conversation_id: &str,
    summary: &Summary,
    messages: impl Iterator<Item = (i64, &'r str)> + Clone,
) -> Result<BTreeSet<i64>, StoreError> {
    if !summary.is_group() || messages.clone().next().is_none() {
        return Ok(messages.map(|(number, _)| number).collect());
    }
    let key = Key::text(conversation_id);
    let looks = Viewer::new(&seen.state, &seen.viewer);
    let (spans, sights) =
        try_join!(spans(seen, &key, summary), looks.meetings(messages.clone().map(|(_, sender)| sender)))?;
    let spans = spans.unwrap_or_default();
    let is_seen =
        |(number, sender): &(i64, &str)| spans.iter().any(|span| span.shows(*number)) && sights.of(sender).is_clear();
    Ok(messages.filter(is_seen).map(|(number, _)| number).collect())
}

/// What the caller sees of a group, the last first; `None`: it never was in it.
async fn spans(seen: &Seen<'_>, key: &Key, summary: &Summary) -> Result<Option<Vec<Span>>, StoreError> {
    if let Some(seat) = summary.members.get(&seen.viewer).and_then(|member| member.seat.as_ref()) {
        return Ok(Some(of(&seat.before, Some(seat.from))));
    }
    let former = seen.state.row::<FormerRow>(&CONVERSATIONS, key, of_former(&seen.viewer)).await?;
    Ok(former.map(|found| of(&found.row.windows, None)))
}

fn of(windows: &Windows, now: Option<i64>) -> Vec<Span> {
    let now = now.map(|from| Span { from, to: None });
    let before = windows.iter().rev().map(|window| Span { from: window.from, to: Some(window.to) });
    now.into_iter().chain(before).collect()
}

async fn within(seen: &Seen<'_>, key: &Key, spans: &[Span], page: &PageAsk) -> Result<Messages, StoreError> {
    let below = page.after.as_deref().and_then(number);
    let left: Vec<Span> = spans.iter().copied().filter(|span| span.reaches_below(below)).collect();
    let mut rows: Vec<Found<MessageRow>> = Vec::new();
    for (read, span) in left.iter().enumerate() {
        if read == TIMES_PER_PAGE {
            // The next page begins with this one.
            return Ok((rows, span.start()));
        }
        let after = if span.has(below) { page.after.clone() } else { span.start() };
        let room = page.size - rows.len();
        let range = RowRange { after, ..RowRange::all::<MessageRow>() };
        let mut found: Vec<Found<MessageRow>> = seen.state.slice(&CONVERSATIONS, key, range, room + 1).await?;
        found.retain(|row| number(&row.clustering).is_some_and(|number| number > span.from));
        let more = found.len() > room;
        found.truncate(room);
        rows.extend(found);
        if more || rows.len() == page.size && read + 1 < left.len() {
            let last = rows.last().map(|last| last.clustering.clone());
            return Ok((rows, last));
        }
    }
    Ok((rows, None))
}

impl Span {
    /// Whether that number is in it.
    fn shows(&self, number: i64) -> bool {
        self.from < number && self.to.is_none_or(|to| number <= to)
    }

    /// Whether it has numbers below that one.
    fn reaches_below(&self, below: Option<i64>) -> bool {
        let last = self.to.unwrap_or(i64::MAX).min(below.map_or(i64::MAX, |below| below.saturating_sub(1)));
        self.from < last
    }

    /// Whether a page that ended with that number ended in it.
    fn has(&self, below: Option<i64>) -> bool {
        below.is_some_and(|below| self.to.is_none_or(|to| below <= to))
    }

    /// The place behind which it begins; `None`: with the newest message.
    fn start(&self) -> Option<Vec<Value>> {
        self.to.map(|to| vec![to.saturating_add(1).into()])
    }
}

fn number(clustering: &[Value]) -> Option<i64> {
    match clustering.first() {
        Some(Value::BigInt(number)) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kith_tables::Timestamp;

    use super::*;
    use crate::windows::Window;

    #[test]
    fn the_present_time_comes_first_and_what_is_passed_is_not_read_again() {
        let mut windows = Windows::default();
        for (from, to) in [(0, 3), (5, 5), (5, 8)] {
            windows.close(Window { from, to, joined: Timestamp(0), asked: false, listed: true });
        }
        let spans = of(&windows, Some(12));
        let shown: Vec<_> = spans.iter().map(|span| (span.from, span.to)).collect();
        assert_eq!(shown, [(12, None), (5, Some(8)), (5, Some(5)), (0, Some(3))]);
        let left = |below| spans.iter().map(|span| span.reaches_below(below)).collect::<Vec<_>>();
        assert_eq!(left(None), [true, true, false, true]);
        assert_eq!(left(Some(13)), [false, true, false, true]);
        assert_eq!(left(Some(6)), [false, false, false, true]);
        assert_eq!(left(Some(1)), [false; 4]);
        let within = |below| spans.iter().map(|span| span.has(Some(below))).collect::<Vec<_>>();
        assert_eq!((within(7), within(9)), (vec![true, true, false, false], vec![true, false, false, false]));
    }
}
