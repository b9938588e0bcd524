//! Pages as they are remembered: whoever looks again while nothing on a page has changed gets it as it was.

use bytes::Bytes;
use kith_fold::State;
use kith_proto::feeds::v1::FeedItem;
use kith_service::page_token::cursor;
use kith_tables::StoreError;
use prost::Message;

use crate::feed::{self, Ask, Page};
use crate::skeleton;
use crate::walk::Walk;

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
}

/// The page, from the tables or as it was.
pub async fn page(state: &State, feed: Feed<'_>, ask: Ask, now_ms: i64) -> Result<Page, StoreError> {
    // A page is a function of where it starts, not of the clock.
    let from = ask.walk.behind.clone().unwrap_or_else(|| skeleton::newest(now_ms));
    let behind = if let Feed::Home { .. } = feed { Some(from.clone()) } else { ask.walk.behind.clone() };
    let key = key(feed, &Ask { walk: Walk { behind, ..ask.walk.clone() }, ..ask });
    let read = |state: State| async move {
        let page = match feed {
            Feed::Home { reader } => feed::home(&state, reader, &from, &ask).await,
            Feed::Author { viewer, author } => feed::author(&state, viewer, author, &ask).await,
        };
        Ok(Bytes::from(Remembered::from(page?).encode_to_vec()))
    };
    let bytes = state.remembered(&key, read).await?;
    let page = Remembered::decode(bytes).ok().and_then(Remembered::page);
    page.ok_or_else(|| StoreError::Damaged("a remembered page does not read".to_owned()))
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
        let Page { items, next, omitted, incomplete } = page;
        Self {
            items,
            next: next.and_then(Walk::into_values).map(|values| cursor::encode(&values).into()),
            omitted: omitted as u64,
            incomplete,
        }
    }
}

impl Remembered {
    fn page(self) -> Option<Page> {
        let Self { items, next, omitted, incomplete } = self;
        let next = match next {
            Some(bytes) => Some(Walk::from_values(&cursor::decode(&bytes)?)?),
            None => None,
        };
        Some(Page { items, next, omitted: usize::try_from(omitted).ok()?, incomplete })
    }
}

#[cfg(test)]
mod tests {
    use kith_content::Opener;

    use super::*;
    use crate::entry::Place;

    fn asks(behind: Option<Place>) -> Ask {
        Ask { opener: Opener::new(), walk: Walk { behind, ..Walk::default() }, size: 50, include_shares: true }
    }

    #[test]
    fn a_page_reads_back_as_it_was() {
        let place = Place { at_us: -5, item_id: "x".to_owned() };
        let next = Some(Walk::default().to(place, [&*"ab".repeat(16)].into_iter(), std::iter::empty()));
        let page = || Page { items: vec![FeedItem::default()], next: next.clone(), omitted: 3, incomplete: true };
        let bytes = Remembered::from(page()).encode_to_vec();
        let back = Remembered::decode(&*bytes).unwrap().page().unwrap();
        assert_eq!((back.items, back.next, back.omitted, back.incomplete), (page().items, next, 3, true));
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
