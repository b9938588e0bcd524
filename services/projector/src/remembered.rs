//! Pages as they are remembered: whoever looks again while nothing on a page has changed gets it as it was.
//!
//! A mute ends without a row that changes. So a home page says from when until when it stands, and out of that time it is another
//! page, remembered under that time's bound beside its name.

use bytes::Bytes;
use kith_fold::State;
use kith_proto::feeds::v1::FeedItem;
use kith_service::page_token::cursor;
use kith_tables::{StoreError, Timestamp};
use prost::Message;

use crate::entry::Place;
use crate::feed::{self, Ask, Page};
use crate::skeleton;
use crate::walk::Walk;

/// Pages of one name that are remembered, each of another time; what has become of one after that is read, and not remembered.
const TIMES_REMEMBERED: usize = 2;

/// Whose page is asked for; the same ask under another is another page.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    Home { reader: &'a str },
    Author { viewer: &'a str, author: &'a str },
}

/// A page without what is new with each answer: its token, and how new it is.
#[derive(Clone, PartialEq, Message)]
struct Remembered {
    #[prost(message, repeated, tag = "1")]
    items: Vec<FeedItem>,
    /// As a page token carries it.
    #[prost(bytes = "bytes", optional, tag = "2")]
    next: Option<Bytes>,
    #[prost(uint64, tag = "3")]
    omitted: u64,
    #[prost(bool, tag = "4")]
    incomplete: bool,
    /// From when until when it stands, microseconds since 1970; unset: for ever.
    #[prost(sint64, optional, tag = "5")]
    stands_from_us: Option<i64>,
    #[prost(sint64, optional, tag = "6")]
    stands_until_us: Option<i64>,
}

/// The page, from the tables or as it was.
pub async fn page(state: &State, feed: Feed<'_>, ask: Ask, now_ms: i64) -> Result<Page, StoreError> {
    // A page is a function of where it starts, not of the clock, but for mutes that end.
    let from = ask.walk.behind.clone().unwrap_or_else(|| skeleton::newest(now_ms));
    let behind = if let Feed::Home { .. } = feed { Some(from.clone()) } else { ask.walk.behind.clone() };
    let mut key = key(feed, &Ask { walk: Walk { behind, ..ask.walk.clone() }, ..ask.clone() });
    let now = Timestamp(now_ms.saturating_mul(1_000));
    for _ in 0..TIMES_REMEMBERED {
        let (of, from) = (ask.clone(), from.clone());
        let read = |state: State| async move {
            Ok(Bytes::from(Remembered::from(read(&state, feed, &of, &from, now).await?).encode_to_vec()))
        };
        let bytes = state.remembered(&key, read).await?;
        let page = Remembered::decode(bytes).ok().and_then(Remembered::page);
        let page = page.ok_or_else(|| StoreError::Damaged("a remembered page does not read".to_owned()))?;
        match &page.stands {
            Some(stands) if !stands.contains(&now.0) => key.extend(stands.end.to_be_bytes()),
            _ => return Ok(page),
        }
    }
    read(state, feed, &ask, &from, now).await
}

async fn read(state: &State, feed: Feed<'_>, ask: &Ask, from: &Place, now: Timestamp) -> Result<Page, StoreError> {
    match feed {
        Feed::Home { reader } => feed::home(state, reader, from, ask, now).await,
        Feed::Author { viewer, author } => feed::author(state, viewer, author, ask).await,
    }
}

/// Names the page: every part after its length.
fn key(feed: Feed<'_>, ask: &Ask) -> Vec<u8> {
    let Ask { size, include_shares, walk, .. } = ask;
    let (whose, of) = match feed {
        Feed::Home { reader } => (reader, None),
        Feed::Author { viewer, author } => (viewer, Some(author)),
    };
    let walk = walk.clone().into_values().map(|values| cursor::encode(&values));
    let fixed = [&size.to_be_bytes()[..], &[u8::from(*include_shares), u8::from(of.is_some())]].concat();
    let parts = [&fixed, whose.as_bytes(), of.unwrap_or_default().as_bytes(), walk.as_deref().unwrap_or_default()];
    parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied())).collect()
}

impl From<Page> for Remembered {
    fn from(page: Page) -> Self {
        let Page { items, next, omitted, incomplete, stands } = page;
        Self {
            stands_from_us: stands.as_ref().map(|stands| stands.start),
            stands_until_us: stands.map(|stands| stands.end),
            items,
            next: next.and_then(Walk::into_values).map(|values| cursor::encode(&values).into()),
            omitted: omitted as u64,
            incomplete,
        }
    }
}

impl Remembered {
    fn page(self) -> Option<Page> {
        let Self { items, next, omitted, incomplete, stands_from_us, stands_until_us } = self;
        let next = match next {
            Some(bytes) => Some(Walk::from_values(&cursor::decode(&bytes)?)?),
            None => None,
        };
        let stands = stands_from_us.zip(stands_until_us).map(|(from, until)| from..until);
        Some(Page { items, next, omitted: usize::try_from(omitted).ok()?, incomplete, stands })
    }
}

#[cfg(test)]
mod tests {
    use kith_content::Opener;

    use super::*;

    fn asks(behind: Option<Place>) -> Ask {
        Ask { opener: Opener::new(), walk: Walk { behind, ..Walk::default() }, size: 50, include_shares: true }
    }

    #[test]
    fn a_page_reads_back_as_it_was() {
        let place = Place { at_us: -5, item_id: "x".to_owned() };
        let next = Some(Walk::default().to(place, [&*"ab".repeat(16)].into_iter(), std::iter::empty()));
        let page = || Page {
            items: vec![FeedItem::default()],
            next: next.clone(),
            omitted: 3,
            incomplete: true,
            stands: Some(i64::MIN..7),
        };
        let bytes = Remembered::from(page()).encode_to_vec();
        let back = Remembered::decode(&*bytes).unwrap().page().unwrap();
        assert_eq!((back.items, back.next, back.omitted, back.incomplete), (page().items, next, 3, true));
        assert_eq!(back.stands, Some(i64::MIN..7));
        assert_eq!(Remembered::from(Page::default()).page().unwrap().next, None);
    }

    #[test]
    fn what_asks_for_another_page_has_another_key() {
        let home = |reader| Feed::Home { reader };
        let behind = |at_us| asks(Some(Place::before(at_us)));
        let mut after_a_share = behind(1);
        let to = after_a_share.walk.to(Place::before(1), [&*"ab".repeat(16)].into_iter(), std::iter::empty());
        after_a_share.walk = to;
        let keys = [
            key(home("ada"), &asks(None)),
            key(home("bob"), &asks(None)),
            key(Feed::Author { viewer: "ada", author: "" }, &asks(None)),
            key(Feed::Author { viewer: "ada", author: "bob" }, &asks(None)),
            key(Feed::Author { viewer: "adab", author: "ob" }, &asks(None)),
            key(home("ada"), &behind(1)),
            key(home("ada"), &behind(2)),
            key(home("ada"), &after_a_share),
            key(home("ada"), &Ask { size: 51, ..asks(None) }),
            key(home("ada"), &Ask { include_shares: false, ..asks(None) }),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
