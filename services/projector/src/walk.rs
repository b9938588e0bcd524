//! Where a walk through the pages of a feed stands: its place, and which posts it has shown already.

use bytes::Bytes;
use kith_service::Failure;
use kith_service::ids::{ID_END_BYTES, id_end};
use kith_service::query::PageAsk;
use kith_tables::Value;

use crate::entry::Place;

/// The maximum of posts shown through a share that a walk remembers: an older share, or the post itself, may follow.
const REMEMBERED_MAX: usize = 512;
/// The maximum of posts with the time of the walk's place that it remembers: an entry of the same time may follow.
const OF_A_MOMENT_MAX: usize = 100;

/// How far a walk has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Behind which place to go on; `None`: with the newest.
    pub behind: Option<Place>,
    /// Posts shown through shares.
    pub shown: Shown,
    /// Other posts shown whose time equals that of `behind`. Entries of posts with a later time cannot follow.
    pub of_the_moment: Shown,
}

/// Posts that may come again, the latest first: none of them is shown again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown(Vec<[u8; ID_END_BYTES]>);

impl Walk {
    pub fn of(page: &PageAsk) -> Result<Self, Failure> {
        let Some(values) = &page.after else { return Ok(Self::default()) };
        Self::from_values(values).ok_or_else(Failure::page_token_invalid)
    }

    /// Whether the walk has shown the post already.
    pub fn has(&self, post_id: &str) -> bool {
        self.shown.has(post_id) || self.of_the_moment.has(post_id)
    }

    /// The walk after a page that ended at `place`. `shared`: posts shown through a share; `of_the_moment`: other posts whose time
    /// equals that of `place`.
    #[must_use]
    pub fn to<'a>(
        &self,
        place: Place,
        shared: impl Iterator<Item = &'a str>,
        of_the_moment: impl Iterator<Item = &'a str>,
    ) -> Self {
        let stays = self.behind.as_ref().is_some_and(|behind| behind.at_us == place.at_us);
        let before = if stays { self.of_the_moment.clone() } else { Shown::default() };
        let of_the_moment = before.with(of_the_moment, OF_A_MOMENT_MAX);
        Self { behind: Some(place), shown: self.shown.clone().with(shared, REMEMBERED_MAX), of_the_moment }
    }

    /// As a page token carries it.
    pub fn into_values(self) -> Option<Vec<Value>> {
        let [at, item_id] = self.behind?.clustering();
        Some(vec![at, item_id, self.shown.into_value(), self.of_the_moment.into_value()])
    }

    /// `None`: no walk makes such values.
    pub fn from_values(values: &[Value]) -> Option<Self> {
        let [place @ .., Value::Blob(shown), Value::Blob(moment)] = values else { return None };
        let (shown, of_the_moment) = (Shown::from_bytes(shown)?, Shown::from_bytes(moment)?);
        Some(Self { behind: Some(Place::of(place)?), shown, of_the_moment })
    }
}

impl Shown {
    fn has(&self, post_id: &str) -> bool {
        id_end(post_id).is_some_and(|end| self.0.contains(&end))
    }

    /// Adds what a page shows; forgets the oldest where there are too many.
    fn with<'a>(self, post_ids: impl Iterator<Item = &'a str>, most: usize) -> Self {
        let mut all: Vec<_> = post_ids.filter_map(id_end).collect();
        all.extend(self.0);
        all.truncate(most);
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

#[cfg(test)]
mod tests {
    use kith_tables::Timestamp;

    use super::*;

    fn place(at_us: i64, item_id: &str) -> Place {
        Place { at_us, item_id: item_id.to_owned() }
    }

    fn id(number: usize) -> String {
        format!("{number:032x}")
    }

    #[test]
    fn a_walk_reads_back_from_its_token() {
        for item_id in ["", "a", "é"] {
            let walk = Walk::default().to(place(-5, item_id), [&*id(7), &*id(9)].into_iter(), [&*id(8)].into_iter());
            let values = walk.clone().into_values();
            assert_eq!(values.and_then(|values| Walk::from_values(&values)), Some(walk));
        }
        assert_eq!(Walk::default().into_values(), None);
        let blob = |bytes| Value::Blob(Bytes::from_static(bytes));
        let uneven = [Timestamp(1).into(), "a".into(), blob(b"123456789"), blob(b"")];
        assert_eq!(Walk::from_values(&uneven), None);
        assert_eq!(Walk::from_values(&["a".into()]), None);
    }

    #[test]
    fn posts_of_a_moment_are_remembered_while_the_walk_is_there() {
        let to =
            |walk: &Walk, at_us, post: usize| walk.to(place(at_us, "x"), std::iter::empty(), [&*id(post)].into_iter());
        let first = to(&Walk::default(), 9, 1);
        let second = to(&first, 9, 2);
        assert!(second.has(&id(1)) && second.has(&id(2)));
        let later = to(&second, 8, 3);
        assert!(later.has(&id(3)) && !later.has(&id(1)) && !later.has(&id(2)));
    }

    #[test]
    fn many_pages_without_shares_forget_no_share() {
        let shared = Walk::default().to(place(9_000, "x"), [&*id(1)].into_iter(), std::iter::empty());
        let on =
            |walk: Walk, n: usize| walk.to(place(8_000 - n as i64, "x"), std::iter::empty(), [&*id(n + 2)].into_iter());
        let far = (0..2 * REMEMBERED_MAX).fold(shared, on);
        assert!(far.has(&id(1)));
    }

    #[test]
    fn what_was_shown_last_is_remembered() {
        let mut shown = Shown::default();
        for number in 0..=REMEMBERED_MAX {
            shown = shown.with([&*id(number)].into_iter(), REMEMBERED_MAX);
        }
        assert!(!shown.has(&id(0)), "the oldest is forgotten");
        assert!((1..=REMEMBERED_MAX).all(|number| shown.has(&id(number))));
        assert!(!shown.has(&id(REMEMBERED_MAX + 1)) && !shown.has("") && !shown.has("no id, but long enough"));
    }
}
