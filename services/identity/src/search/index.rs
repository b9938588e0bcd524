//! The index of names in memory: a sorted map from where names may be begun to be typed to the accounts that have them. It is a
//! cache of what accounts' rows say once they are opened, outside tables and digests; whoever answers from it reads the rows anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use kith_log::RecordId;
use kith_service::limits;
use kith_text::search::{matches, starts};

/// So much of a start is kept; the rest is compared with the whole name.
const START_CHARS: usize = 16;

/// The names of accounts.
#[derive(Debug)]
pub struct Index {
    /// So many accounts have room.
    room: usize,
    names: BTreeMap<RecordId, Name>,
    starts: BTreeSet<(Box<str>, RecordId)>,
    /// Whether there was no room for an account.
    is_short: bool,
}

/// What an account is found by, as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub handle: Box<str>,
    /// Of the handle.
    pub handle_words: Box<str>,
    /// Of the display name; may be empty.
    pub display: Box<str>,
}

/// How well an account fits what was typed; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exactness {
    /// Words of handle or display name begin as typed.
    Words,
    /// The display name begins so.
    DisplayNameBegins,
    /// The handle begins so.
    HandleBegins,
    /// The display name is what was typed.
    DisplayName,
    /// The handle is what was typed.
    Handle,
}

/// An account that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    pub account_id: RecordId,
    pub exactness: Exactness,
    pub handle: Box<str>,
}

impl Name {
    pub fn of(handle: &str, display_name: &str) -> Self {
        let words = |text: &str| kith_text::search::words(text).into_boxed_str();
        Self { handle: handle.into(), handle_words: words(handle), display: words(display_name) }
    }

    /// How it fits the words of a query; `None`: it does not.
    pub fn fits(&self, query: &str) -> Option<Exactness> {
        let Self { handle_words, display, .. } = self;
        if !matches(query, &[handle_words, display]) {
            return None;
        }
        Some(match () {
            () if **handle_words == *query => Exactness::Handle,
            () if **display == *query => Exactness::DisplayName,
            () if handle_words.starts_with(query) => Exactness::HandleBegins,
            () if display.starts_with(query) => Exactness::DisplayNameBegins,
            () => Exactness::Words,
        })
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        starts(&self.handle_words).chain(starts(&self.display)).map(cut)
    }
}

fn cut(start: &str) -> &str {
    start.char_indices().nth(START_CHARS).map_or(start, |(at, _)| &start[..at])
}

impl Default for Index {
    fn default() -> Self {
        Self::with_room(limits::SEARCHED_ACCOUNTS)
    }
}

impl Index {
    fn with_room(room: usize) -> Self {
        Self { room, names: BTreeMap::new(), starts: BTreeSet::new(), is_short: false }
    }

    /// The account is called so from now on.
    pub fn put(&mut self, account_id: RecordId, name: Name) {
        if self.names.get(&account_id) == Some(&name) {
            return;
        }
        if let Some(before) = self.names.remove(&account_id) {
            before.keys().for_each(|start| {
                self.starts.remove(&(start.into(), account_id));
            });
        }
        if self.names.len() >= self.room {
            self.is_short = true;
            return;
        }
        self.starts.extend(name.keys().map(|start| (start.into(), account_id)));
        self.names.insert(account_id, name);
    }

    /// Whether accounts are missing, because there are more than it has room for.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Those of `preferred` that fit, then the first that fit in the order of what is typed and of ids: at most
    /// [`limits::SEARCH_CANDIDATES`] together, found among as many preferred ones as there are and [`limits::SEARCH_SCANNED`] others.
    pub fn find(&self, query: &str, preferred: &[RecordId]) -> Vec<Match> {
        let mut found = BTreeMap::new();
        let mut take = |account_id: RecordId| {
            let Some(name) = self.names.get(&account_id).filter(|_| found.len() < limits::SEARCH_CANDIDATES) else {
                return;
            };
            if let Some(exactness) = name.fits(query) {
                let handle = name.handle.clone();
                found.insert(account_id, Match { account_id, exactness, handle });
            }
        };
        preferred.iter().copied().for_each(&mut take);
        let longest = query.split(' ').max_by_key(|word| word.len()).map(cut).unwrap_or_default();
        let from = Bound::Included((Box::from(longest), RecordId([0; 16])));
        let beginning = self.starts.range((from, Bound::Unbounded)).take_while(|(start, _)| start.starts_with(longest));
        beginning.take(limits::SEARCH_SCANNED).for_each(|(_, account_id)| take(*account_id));
        found.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: RecordId = RecordId([0xa; 16]);
    const BOB: RecordId = RecordId([0xb; 16]);

    fn index(names: &[(RecordId, &str, &str)]) -> Index {
        let mut index = Index::default();
        names.iter().for_each(|(id, handle, display_name)| index.put(*id, Name::of(handle, display_name)));
        index
    }

    fn found(index: &Index, query: &str) -> Vec<(RecordId, Exactness)> {
        let query = kith_text::search::words(query);
        index.find(&query, &[]).into_iter().map(|found| (found.account_id, found.exactness)).collect()
    }

    #[test]
    fn names_are_found_by_the_starts_of_their_words() {
        let index = index(&[(ADA, "ada_l", "Augusta Ada 山田太郎"), (BOB, "bob", "Ada")]);
        assert_eq!(found(&index, "ada_l"), [(ADA, Exactness::Handle)]);
        assert_eq!(found(&index, "ADA"), [(ADA, Exactness::HandleBegins), (BOB, Exactness::DisplayName)]);
        assert_eq!(found(&index, "aug"), [(ADA, Exactness::DisplayNameBegins)]);
        assert_eq!(found(&index, "太郎"), [(ADA, Exactness::Words)]);
        assert_eq!(found(&index, "ada aug"), [(ADA, Exactness::Words)]);
        assert_eq!(found(&index, "x"), []);
    }

    #[test]
    fn a_name_that_changed_is_found_by_the_new_one_alone() {
        let mut index = index(&[(ADA, "ada", "Augusta")]);
        index.put(ADA, Name::of("ada", "Countess"));
        assert_eq!(found(&index, "aug"), []);
        assert_eq!(found(&index, "count"), [(ADA, Exactness::DisplayNameBegins)]);
        assert_eq!(index.starts.len(), 2);
    }

    #[test]
    fn what_has_no_room_is_said_to_be_missing_and_what_has_keeps_it() {
        let mut index = Index::with_room(1);
        index.put(ADA, Name::of("ada", ""));
        index.put(ADA, Name::of("ada", "Augusta"));
        assert!(!index.is_short());
        index.put(BOB, Name::of("bob", ""));
        assert!(index.is_short() && found(&index, "bob").is_empty());
        assert_eq!((found(&index, "aug").len(), index.starts.len()), (1, 2));
    }

    /// One letter asks for as little as a whole name, whoever made however many accounts.
    #[test]
    fn a_letter_that_begins_everything_costs_no_more() {
        let mut index = Index::default();
        for n in 0..10_000_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            index.put(RecordId(id), Name::of(&format!("ada{n}"), ""));
        }
        let last = RecordId([0xff; 16]);
        index.put(last, Name::of("azalea", ""));
        let found = index.find("a", &[last]);
        assert_eq!(found.len(), limits::SEARCH_CANDIDATES);
        assert!(found.iter().any(|found| found.account_id == last), "whom one prefers is always among them");
        assert_eq!(index.find("azalea", &[]).len(), 1);
    }

    /// Prints the figure of docs/capacity.md.
    #[test]
    #[ignore = "measures this process's memory"]
    fn what_an_account_takes() {
        const ACCOUNTS: u64 = 200_000;
        let kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let (before, mut index) = (kib(), Index::default());
        for n in 0..ACCOUNTS {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            index.put(RecordId(id), Name::of(&format!("person_{n}"), &format!("Augusta{n} Lovelace")));
        }
        println!("{} bytes an account", (kib() - before) * 1_024 / ACCOUNTS);
        assert_eq!(index.names.len() as u64, ACCOUNTS);
    }

    #[test]
    fn what_is_longer_than_what_is_kept_is_compared_whole() {
        let index = index(&[(ADA, "ada", &"x".repeat(40))]);
        assert_eq!(found(&index, &"x".repeat(40)).len(), 1);
        assert_eq!(found(&index, &format!("{}y", "x".repeat(39))), []);
    }
}
