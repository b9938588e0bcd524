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

/// The messages above a number, up to another one. That of a present member ends with the last message of the row that says that it is
/// one: what was written after its removal is in no later read a message that it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
}

type Messages = (Vec<Found<MessageRow>>, Option<Vec<Value>>);

/// What the caller sees of a conversation.
pub struct Page {
    pub summary: Summary,
    /// Newest first.
    pub rows: Vec<Found<MessageRow>>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Vec<Value>>,
    /// Messages that a block leaves out.
    pub left_out: usize,
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
    // Blocks alone: what is written stays for the others while its sender is away.
    Ok(member.sees(number) && Viewer::new(state, viewer).blocks([sender_id]).await?.of(sender_id).is_clear())
}

/// A page of what the caller sees, from the newest message on, or from this one if the caller sees it. Messages are read only once it is
/// known that the caller is, or was, in the conversation: how long it takes to be refused says nothing of what others have there.
pub async fn page(
    seen: &Seen<'_>,
    conversation_id: &str,
    page: &PageAsk,
    from: Option<(i64, &str)>,
) -> Result<Page, Failure> {
    let key = Key::text(conversation_id);
    let summary = conversation::summary(&seen.state, conversation_id).await?.row;
    let all = || page.rows::<MessageRow>(seen, &CONVERSATIONS, &key, Vec::new());
    if !summary.is_group() {
        summary.members.get(&seen.viewer).ok_or(Rejection::NotFound)?;
        let (rows, next) = all().await?;
        return Ok(Page { summary, rows, next, left_out: 0 });
    }
    let spans = spans(seen, &key, &summary).await?.ok_or(Rejection::NotFound)?;
    let (rows, next) = match spans[..] {
        [Span { from: 0, to }] if to == summary.last_number => up_to(all().await?, to),
        _ => within(seen, &key, &spans, page).await?,
    };
    let senders = rows.iter().map(|row| &*row.row.sender_id).chain(from.map(|(_, sender)| sender));
    let sights = Viewer::new(&seen.state, &seen.viewer).blocks(senders).await?;
    let is_hidden =
        |(number, sender): (i64, &str)| !spans.iter().any(|span| span.shows(number)) || !sights.of(sender).is_clear();
    if from.is_some_and(is_hidden) {
        return Err(Rejection::MessageNotFound.into());
    }
    let found = rows.len();
    let rows: Vec<_> = rows.into_iter().filter(|row| sights.of(&row.row.sender_id).is_clear()).collect();
    let left_out = found - rows.len();
    Ok(Page { summary, rows, next, left_out })
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
        try_join!(spans(seen, &key, summary), looks.blocks(messages.clone().map(|(_, sender)| sender)))?;
    let spans = spans.unwrap_or_default();
    let is_seen =
        |(number, sender): &(i64, &str)| spans.iter().any(|span| span.shows(*number)) && sights.of(sender).is_clear();
    Ok(messages.filter(is_seen).map(|(number, _)| number).collect())
}

/// What the caller sees of a group, the last first; `None`: it never was in it.
async fn spans(seen: &Seen<'_>, key: &Key, summary: &Summary) -> Result<Option<Vec<Span>>, StoreError> {
    if let Some(seat) = summary.members.get(&seen.viewer).and_then(|member| member.seat.as_ref()) {
        return Ok(Some(of(&seat.before, Some(Span { from: seat.from, to: summary.last_number }))));
    }
    let former = seen.state.row::<FormerRow>(&CONVERSATIONS, key, of_former(&seen.viewer)).await?;
    Ok(former.map(|found| of(&found.row.windows, None)))
}

fn of(windows: &Windows, now: Option<Span>) -> Vec<Span> {
    let before = windows.iter().rev().map(|window| Span { from: window.from, to: window.to });
    now.into_iter().chain(before).collect()
}

/// A page without what was written since.
fn up_to((mut rows, next): Messages, last: i64) -> Messages {
    rows.retain(|row| number(&row.clustering).is_some_and(|number| number <= last));
    (rows, next)
}

async fn within(seen: &Seen<'_>, key: &Key, spans: &[Span], page: &PageAsk) -> Result<Messages, StoreError> {
    let below = page.after.as_deref().and_then(number);
    let left: Vec<Span> = spans.iter().copied().filter(|span| span.reaches_below(below)).collect();
    let mut rows: Vec<Found<MessageRow>> = Vec::new();
    for (read, span) in left.iter().enumerate() {
        if read == TIMES_PER_PAGE {
            // The next page begins with this one.
            return Ok((rows, Some(span.start())));
        }
        let after = if span.has(below) { page.after.clone() } else { Some(span.start()) };
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
        self.from < number && number <= self.to
    }

    /// Whether it has numbers below that one.
    fn reaches_below(&self, below: Option<i64>) -> bool {
        self.from < self.to.min(below.map_or(i64::MAX, |below| below.saturating_sub(1)))
    }

    /// Whether a page that ended with that number ended in it.
    fn has(&self, below: Option<i64>) -> bool {
        below.is_some_and(|below| below <= self.to)
    }

    /// The place behind which it begins.
    fn start(&self) -> Vec<Value> {
        vec![self.to.saturating_add(1).into()]
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
            windows.close(Window { from, to, opened: Timestamp(0), asked: false, listed: true, refused: false });
        }
        let spans = of(&windows, Some(Span { from: 12, to: 14 }));
        let shown: Vec<_> = spans.iter().map(|span| (span.from, span.to)).collect();
        assert_eq!(shown, [(12, 14), (5, 8), (5, 5), (0, 3)]);
        let left = |below| spans.iter().map(|span| span.reaches_below(below)).collect::<Vec<_>>();
        assert_eq!(left(None), [true, true, false, true]);
        assert_eq!(left(Some(13)), [false, true, false, true]);
        assert_eq!(left(Some(6)), [false, false, false, true]);
        assert_eq!(left(Some(1)), [false; 4]);
        let within = |below| spans.iter().map(|span| span.has(Some(below))).collect::<Vec<_>>();
        assert_eq!((within(7), within(9)), (vec![true, true, false, false], vec![true, false, false, false]));
    }

    #[test]
    fn what_is_written_between_the_two_reads_is_on_no_page() {
        let row = |number: i64| {
            let clustering = vec![number.into(), "m".into()];
            Found { clustering, position: 0, row: MessageRow::default() }
        };
        let next = Some(vec![2.into(), "m".into()]);
        let (rows, after) = up_to(((2..=5).rev().map(row).collect(), next.clone()), 3);
        assert_eq!(rows.iter().filter_map(|row| number(&row.clustering)).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(after, next, "the walk goes on below");
        let span = Span { from: 0, to: 3 };
        assert_eq!((span.start(), span.has(Some(5)), span.reaches_below(Some(5))), (vec![4.into()], false, true));
    }
}
