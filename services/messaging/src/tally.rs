//! How often a message got each reaction. Pure.

use kith_service::limits::REACTIONS_PER_MESSAGE;
use kith_tables::{Cell, Kind, Value};

/// Counts by grapheme, in the order of the graphemes; none is 0. In its column a line each, the count behind a tab: neither is in a
/// grapheme that shows something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(Vec<(String, i64)>);

impl Tally {
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(grapheme, count)| (grapheme.as_str(), *count))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one more grapheme fits, or this one is there.
    pub fn takes(&self, grapheme: &str) -> bool {
        self.0.len() < REACTIONS_PER_MESSAGE || self.place(grapheme).is_ok()
    }

    pub fn add(&mut self, grapheme: &str) {
        match self.place(grapheme) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(1),
            Err(at) => self.0.insert(at, (grapheme.to_owned(), 1)),
        }
    }

    pub fn remove(&mut self, grapheme: &str) {
        if let Ok(at) = self.place(grapheme) {
            self.0[at].1 -= 1;
            self.0.retain(|(_, count)| *count > 0);
        }
    }

    fn place(&self, grapheme: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(grapheme))
    }
}

impl Cell for Tally {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        Value::Text(self.0.iter().map(|(grapheme, count)| format!("{grapheme}\t{count}\n")).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        let text = String::from_value(value)?;
        let line = |line: &str| {
            let (grapheme, count) = line.split_once('\t')?;
            Some((grapheme.to_owned(), count.parse().ok()?))
        };
        let tally = Self(text.split_terminator('\n').map(line).collect::<Option<Vec<_>>>()?);
        let is_sound = tally.0.is_sorted_by(|one, next| one.0 < next.0) && tally.0.iter().all(|(_, count)| *count > 0);
        is_sound.then_some(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactions_are_counted_and_read_back() {
        let mut tally = Tally::default();
        ["👍", "❤️", "👍", "a"].into_iter().for_each(|grapheme| tally.add(grapheme));
        tally.remove("a");
        tally.remove("b");
        assert_eq!(tally.iter().collect::<Vec<_>>(), [("❤️", 1), ("👍", 2)]);
        assert_eq!(Tally::from_value(tally.clone().into_value()), Some(tally));
        for damaged in ["a", "a\tx\n", "a\t0\n", "b\t1\na\t1\n"] {
            assert_eq!(Tally::from_value(Value::Text(damaged.into())), None, "{damaged}");
        }
    }

    #[test]
    fn a_message_takes_so_many_different_ones() {
        let mut tally = Tally::default();
        let all: Vec<String> = (0..REACTIONS_PER_MESSAGE).map(|n| format!("{n:02}")).collect();
        all.iter().for_each(|grapheme| tally.add(grapheme));
        assert!(tally.takes("07") && !tally.takes("x"));
        tally.remove("07");
        assert!(tally.takes("x"));
    }
}
