//! Step one of a read: which entries there are, newest first.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use futures::{StreamExt, TryStreamExt, stream, try_join};
use kith_fold::State;
use kith_tables::StoreError;

use crate::entry::{Entry, Place};
use crate::views::follows::Reach;
use crate::views::{author_feed, follows, home, pulls};

/// Weeks of a home feed that one call looks through; a reader who hears from few people walks on with page tokens.
const WEEKS_PER_CALL: i64 = 64;
/// Weeks read side by side: first these, with all else that is needed to begin, then twice as many each time.
const FIRST_WEEKS: i64 = 2;
/// At most.
const WEEKS_IN_FLIGHT: i64 = 8;
/// Authors pulled in one call. A reader who follows more very large ones than that is told that the page is incomplete.
const PULLED_AUTHORS_MAX: usize = 2_000;
/// Feeds of pulled authors read side by side.
const PULLS_IN_FLIGHT: usize = 16;

/// Entries newest first, all there are from where they were asked for down to `rest`.
#[derive(Debug, PartialEq, Eq)]
pub struct Skeleton {
    pub entries: Vec<Entry>,
    /// Behind this place there may be more; `None`: there is nothing.
    pub rest: Option<Place>,
    /// Whether sources were left out.
    pub incomplete: bool,
}

/// Merges sources, each newest first, and keeps no more than the newest `limit`.
struct Merge {
    limit: usize,
    entries: BTreeMap<Place, Entry>,
    rest: Option<Place>,
}

impl Merge {
    fn new(limit: usize) -> Self {
        Self { limit, entries: BTreeMap::new(), rest: None }
    }

    /// `rest`: behind which place the source may have more.
    fn add(&mut self, entries: Vec<Entry>, rest: Option<Place>) {
        self.rest = self.rest.take().max(rest);
        for entry in entries {
            // What was pushed before its author became one who is pulled comes twice.
            self.entries.entry(entry.place.clone()).or_insert(entry);
        }
        while self.entries.len() > self.limit {
            self.entries.pop_first();
            let oldest = self.entries.first_key_value().map(|(place, _)| place.clone());
            self.rest = self.rest.take().max(oldest);
        }
    }

    /// What is older than some source's rest would have gaps: it is left for the next page.
    fn finish(mut self) -> (Vec<Entry>, Option<Place>) {
        let sure = match &self.rest {
            Some(rest) => self.entries.split_off(rest),
            None => self.entries,
        };
        (sure.into_values().rev().collect(), self.rest)
    }
}

/// Where a first page of a home feed starts: a clock that is ahead, by up to a week, hides nothing.
pub fn newest(now_ms: i64) -> Place {
    Place::before(home::start_of(home::week_of(now_ms.saturating_mul(1_000)) + 2))
}

/// Entries that may be in the reader's home feed, from behind `from`: pushed ones and pulled ones; and whether the reader ever muted
/// anybody.
pub async fn of_home(state: &State, reader: &str, from: &Place, limit: usize) -> Result<(Skeleton, bool), StoreError> {
    let mut merge = Merge::new(limit);
    let newest = week_behind(from);
    let (reach, pulled, first) = try_join!(
        follows::reach(state, reader),
        pulls::authors(state, reader, PULLED_AUTHORS_MAX + 1),
        weeks(state, reader, newest - FIRST_WEEKS + 1..=newest, from, limit),
    )?;
    let incomplete = pulled.len() > PULLED_AUTHORS_MAX;
    if let Some(Reach { earliest_us, .. }) = reach {
        let walk = Weeks { next: newest - FIRST_WEEKS, oldest: home::week_of(earliest_us), entries: first };
        let (entries, rest) = pushed(state, reader, from, walk, limit).await?;
        merge.add(entries, rest);
        pull(state, reader, from, limit, pulled, &mut merge).await?;
    }
    let (entries, rest) = merge.finish();
    Ok((Skeleton { entries, rest, incomplete }, reach.is_some_and(|reach| reach.has_muted)))
}

/// Entries of one author's feed, from behind `from`, or from the newest.
pub async fn of_author(
    state: &State,
    author: &str,
    from: Option<&Place>,
    limit: usize,
) -> Result<Skeleton, StoreError> {
    let entries = author_feed::slice(state, author, from, limit).await?;
    let rest = (entries.len() == limit).then(|| entries.last().map(|last| last.place.clone())).flatten();
    Ok(Skeleton { entries, rest, incomplete: false })
}

/// How far a walk through the reader's weeks has come.
struct Weeks {
    /// The week to read next; what is behind `from` in later ones is in `entries`.
    next: i64,
    /// Nothing is in an earlier one.
    oldest: i64,
    entries: Vec<Entry>,
}

/// Walks the reader's weeks back to the oldest in which anything can be.
async fn pushed(
    state: &State,
    reader: &str,
    from: &Place,
    walk: Weeks,
    limit: usize,
) -> Result<(Vec<Entry>, Option<Place>), StoreError> {
    let Weeks { mut next, oldest, mut entries } = walk;
    let last = oldest.max(next.saturating_sub(WEEKS_PER_CALL - 1));
    let mut in_flight = FIRST_WEEKS;
    while next >= last && entries.len() < limit {
        in_flight = (in_flight * 2).min(WEEKS_IN_FLIGHT);
        let low = last.max(next - in_flight + 1);
        entries.extend(weeks(state, reader, low..=next, from, limit).await?);
        next = low - 1;
    }
    if entries.len() >= limit {
        entries.truncate(limit);
        let rest = entries.last().map(|last| last.place.clone());
        return Ok((entries, rest));
    }
    Ok((entries, (next >= oldest).then(|| Place::before(home::start_of(next + 1)))))
}

/// What is behind `from` in some weeks, read side by side, up to `limit` of each; newest first.
async fn weeks(
    state: &State,
    reader: &str,
    weeks: RangeInclusive<i64>,
    from: &Place,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let slices = weeks.rev().map(|week| home::slice(state, reader, week, from, limit));
    Ok(futures::future::try_join_all(slices).await?.into_iter().flatten().collect())
}

/// The newest week in which something can be behind this place.
fn week_behind(place: &Place) -> i64 {
    let nothing_at_it = place.item_id.is_empty();
    home::week_of(place.at_us.saturating_sub(i64::from(nothing_at_it)))
}

/// Merges what those wrote whom the reader follows and whose posts are not pushed.
async fn pull(
    state: &State,
    reader: &str,
    from: &Place,
    limit: usize,
    mut pulled: Vec<String>,
    merge: &mut Merge,
) -> Result<(), StoreError> {
    pulled.truncate(PULLED_AUTHORS_MAX);
    let targets: Vec<&str> = pulled.iter().map(String::as_str).collect();
    let follows = follows::standing(state, reader, &targets).await?;
    let slices = follows.into_iter().map(|(author, follow)| async move {
        let entries = author_feed::slice(state, &author, Some(from), limit).await?;
        Ok::<_, StoreError>(since(entries, follow.since_us(), limit))
    });
    let mut slices = stream::iter(slices).buffered(PULLS_IN_FLIGHT);
    while let Some((entries, rest)) = slices.try_next().await? {
        merge.add(entries, rest);
    }
    Ok(())
}

/// What of a slice of `limit` entries is not too old, and where more may be.
fn since(mut entries: Vec<Entry>, since_us: i64, limit: usize) -> (Vec<Entry>, Option<Place>) {
    let full = entries.len() == limit;
    entries.retain(|entry| entry.place.at_us >= since_us);
    let rest = (full && entries.len() == limit).then(|| entries.last().map(|last| last.place.clone())).flatten();
    (entries, rest)
}

/// The first `size` of the entries that are `wanted`, and the place that the next page starts behind: that of the last
/// entry looked at. `None`: there is nothing behind it.
pub fn page(skeleton: Skeleton, size: usize, wanted: impl Fn(&Entry) -> bool) -> (Vec<Entry>, Option<Place>) {
    let Skeleton { entries, rest, .. } = skeleton;
    let mut page = Vec::new();
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let place = entry.place.clone();
        if wanted(&entry) {
            page.push(entry);
        }
        if page.len() == size {
            let more = entries.peek().is_some() || rest.is_some();
            return (page, more.then_some(place));
        }
    }
    (page, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Kind;

    fn entry(at_us: i64) -> Entry {
        Entry {
            place: place(at_us),
            kind: Kind::Post,
            post_id: format!("p{at_us}"),
            author_id: "ada".into(),
            post_author_id: "ada".into(),
            over: false,
        }
    }

    fn place(at_us: i64) -> Place {
        Place { at_us, item_id: format!("p{at_us}") }
    }

    fn times(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.place.at_us).collect()
    }

    #[test]
    fn nothing_older_than_what_a_source_gave_is_taken_for_sure() {
        let mut merge = Merge::new(10);
        merge.add(vec![entry(9), entry(7)], Some(place(7)));
        merge.add(vec![entry(8), entry(5), entry(3)], None);
        let (entries, rest) = merge.finish();
        assert_eq!((times(&entries), rest), (vec![9, 8, 7], Some(place(7))));
    }

    #[test]
    fn a_place_with_nothing_at_it_is_the_end_of_the_week_before() {
        let start = home::start_of(100);
        assert_eq!(week_behind(&Place::before(start)), 99);
        assert_eq!(week_behind(&Place::before(start + 1)), 100);
        assert_eq!(week_behind(&Place { at_us: start, item_id: "a".into() }), 100);
        assert_eq!(week_behind(&newest(start / 1_000)), 101);
    }

    #[test]
    fn a_page_ends_where_its_last_entry_was_looked_at() {
        let skeleton = |rest| Skeleton { entries: [9, 8, 7, 6].map(entry).into(), rest, incomplete: false };
        let even = |entry: &Entry| entry.place.at_us % 2 == 0;
        let (entries, next) = page(skeleton(None), 1, even);
        assert_eq!((times(&entries), next), (vec![8], Some(place(8))));
        let (entries, next) = page(skeleton(None), 2, even);
        assert_eq!((times(&entries), next), (vec![8, 6], None));
        let (entries, next) = page(skeleton(Some(place(5))), 3, even);
        assert_eq!((times(&entries), next), (vec![8, 6], Some(place(5))));
    }

    /// A source as a table gives it: what is behind a place, no more than `limit`.
    fn ask(source: &[i64], behind: &Place, limit: usize) -> (Vec<Entry>, Option<Place>) {
        let older = source.iter().rev().copied().map(entry).filter(|entry| entry.place < *behind);
        since(older.take(limit).collect(), i64::MIN, limit)
    }

    proptest! {
        #[test]
        fn pages_over_any_sources_give_each_entry_once_in_order(
            sources in prop::collection::vec(prop::collection::btree_set(0_i64..60, 0..40), 1..5),
            limit in 1_usize..7,
        ) {
            let all: std::collections::BTreeSet<i64> = sources.iter().flatten().copied().collect();
            let sources: Vec<Vec<i64>> = sources.into_iter().map(|source| source.into_iter().collect()).collect();
            let mut behind = Place::before(100);
            let mut seen = Vec::new();
            loop {
                let mut merge = Merge::new(limit);
                for source in &sources {
                    let (entries, rest) = ask(source, &behind, limit);
                    merge.add(entries, rest);
                }
                let (entries, rest) = merge.finish();
                let (entries, next) = page(Skeleton { entries, rest, incomplete: false }, 2, |_| true);
                seen.extend(times(&entries));
                let Some(next) = next else { break };
                prop_assert!(next < behind);
                behind = next;
            }
            prop_assert_eq!(seen, all.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
