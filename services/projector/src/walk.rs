//! Where a walk through the pages of a feed stands: its place, and which posts it has shown already.

use bytes::Bytes;
use kith_service::Failure;
use kith_service::query::PageAsk;
use kith_tables::Value;

use crate::entry::Place;

/// Posts that a walk remembers, of those that may come again: through an older share, or by themselves.
const REMEMBERED_MAX: usize = 512;
/// The end of a post's id, of which every digit depends on all of what the id was made of.
const ID_END_DIGITS: usize = 16;
const ID_END_BYTES: usize = ID_END_DIGITS / 2;

/// How far a walk has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Behind which place to go on; `None`: with the newest.
    pub behind: Option<Place>,
    pub shown: Shown,
}

/// Posts that a walk has shown and that may come again, the latest first: none of them is shown again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown(Vec<[u8; ID_END_BYTES]>);

impl Walk {
    pub fn of(page: &PageAsk) -> Result<Self, Failure> {
        let Some(values) = &page.after else { return Ok(Self::default()) };
        Self::from_values(values).ok_or_else(Failure::page_token_invalid)
    }

    /// As a page token carries it.
    pub fn into_values(self) -> Option<Vec<Value>> {
        let [at, item_id] = self.behind?.clustering();
        Some(vec![at, item_id, self.shown.into_value()])
    }

    /// `None`: no walk makes such values.
    pub fn from_values(values: &[Value]) -> Option<Self> {
        let [place @ .., Value::Blob(shown)] = values else { return None };
        Some(Self { behind: Some(Place::of(place)?), shown: Shown::from_bytes(shown)? })
    }
}

impl Shown {
    pub fn has(&self, post_id: &str) -> bool {
        id_end(post_id).is_some_and(|end| self.0.contains(&end))
    }

    /// Adds what a page shows; forgets the oldest where there are too many.
    #[must_use]
    pub fn with<'a>(self, post_ids: impl Iterator<Item = &'a str>) -> Self {
        let mut all: Vec<_> = post_ids.filter_map(id_end).collect();
        all.extend(self.0);
        all.truncate(REMEMBERED_MAX);
        Self(all)
    }

    fn into_value(self) -> Value {
        Value::Blob(Bytes::from(self.0.concat()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ends, rest) = bytes.as_chunks();
        rest.is_empty().then(|| Self(ends.to_vec()))
    }
}

/// `None`: it is no post's id, and so in no feed.
fn id_end(post_id: &str) -> Option<[u8; ID_END_BYTES]> {
    let digits = post_id.get(post_id.len().checked_sub(ID_END_DIGITS)?..)?;
    u64::from_str_radix(digits, 16).ok().map(u64::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use kith_tables::Timestamp;

    use super::*;

    fn id(number: usize) -> String {
        format!("{number:032x}")
    }

    #[test]
    fn a_walk_reads_back_from_its_token() {
        let shown = Shown::default().with([&*id(7), &*id(9)].into_iter());
        for item_id in ["", "a", "é"] {
            let walk = Walk { behind: Some(Place { at_us: -5, item_id: item_id.into() }), shown: shown.clone() };
            let values = walk.clone().into_values();
            assert_eq!(values.and_then(|values| Walk::from_values(&values)), Some(walk));
        }
        assert_eq!(Walk::default().into_values(), None);
        let uneven = [Timestamp(1).into(), "a".into(), Value::Blob(Bytes::from_static(b"123456789"))];
        assert_eq!(Walk::from_values(&uneven), None);
        assert_eq!(Walk::from_values(&["a".into()]), None);
    }

    #[test]
    fn what_was_shown_last_is_remembered() {
        let mut shown = Shown::default();
        for number in 0..=REMEMBERED_MAX {
            shown = shown.with([&*id(number)].into_iter());
        }
        assert!(!shown.has(&id(0)), "the oldest is forgotten");
        assert!((1..=REMEMBERED_MAX).all(|number| shown.has(&id(number))));
        assert!(!shown.has(&id(REMEMBERED_MAX + 1)) && !shown.has("") && !shown.has("no id, but long enough"));
    }
}
