//! Which messages of a conversation were unsent, as far as somebody's unread count has to leave them out. Pure.

use kith_service::limits::UNSENT_STRETCHES;
use kith_tables::{Cell, Kind, Value};

/// Stretches of unsent messages above the lowest read marker, in order, apart. In its column it reads `floor:1-3,7-7`.
///
/// They are bounded: where there would be more than [`UNSENT_STRETCHES`], the oldest is forgotten, and unread counts do not look
/// below its end any more. No marker moves by that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsent {
    floor: i64,
    stretches: Vec<(i64, i64)>,
}

impl Unsent {
    /// The number up to which nothing counts as unread.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// First and last number of each stretch, rising.
    pub fn stretches(&self) -> &[(i64, i64)] {
        &self.stretches
    }

    /// Message `number` was unsent, where everybody has read up to `read_by_all`.
    pub fn insert(&mut self, number: i64, read_by_all: i64) {
        let at = self.stretches.partition_point(|(first, _)| *first <= number);
        self.stretches.insert(at, (number, number));
        self.stretches.dedup_by(|next, stretch| {
            let touches = next.0 <= stretch.1.saturating_add(1);
            if touches {
                stretch.1 = stretch.1.max(next.1);
            }
            touches
        });
        self.forget(read_by_all.max(self.floor));
        while self.stretches.len() > UNSENT_STRETCHES {
            self.floor = self.floor.max(self.stretches.remove(0).1);
        }
    }

    /// Everybody has read up to `read_by_all`.
    pub fn forget(&mut self, read_by_all: i64) {
        self.stretches.retain(|(_, last)| *last > read_by_all);
    }

    fn is_sound(&self) -> bool {
        let ends = std::iter::once(self.floor.saturating_sub(1)).chain(self.stretches.iter().map(|(_, last)| *last));
        let apart =
            ends.zip(&self.stretches).all(|(end, (first, last))| end.saturating_add(1) < *first && first <= last);
        self.floor >= 0 && apart && self.stretches.len() <= UNSENT_STRETCHES
    }
}

impl Cell for Unsent {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        if self == Self::default() {
            return Value::Text(String::new());
        }
        let shown: Vec<String> = self.stretches.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        Value::Text(format!("{}:{}", self.floor, shown.join(",")))
    }

    fn from_value(value: Value) -> Option<Self> {
        let text = String::from_value(value)?;
        if text.is_empty() {
            return Some(Self::default());
        }
        let (floor, rest) = text.split_once(':')?;
        let stretch = |shown: &str| {
            let (first, last) = shown.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let stretches = rest.split_terminator(',').map(stretch).collect::<Option<Vec<_>>>()?;
        let unsent = Self { floor: floor.parse().ok()?, stretches };
        unsent.is_sound().then_some(unsent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_stretch_and_what_all_have_read_is_forgotten() {
        let mut unsent = Unsent::default();
        [5, 9, 7, 5, 6, 2].into_iter().for_each(|number| unsent.insert(number, 1));
        assert_eq!(unsent.stretches(), [(2, 2), (5, 7), (9, 9)]);
        unsent.insert(4, 6);
        assert_eq!((unsent.stretches(), unsent.floor()), (&[(4, 7), (9, 9)][..], 0));
        unsent.insert(3, 9);
        assert!(unsent.stretches().is_empty());
    }

    #[test]
    fn more_stretches_than_are_kept_raise_the_floor_to_the_end_of_the_oldest() {
        let mut unsent = Unsent::default();
        (1..=UNSENT_STRETCHES as i64 + 2).for_each(|n| unsent.insert(2 * n, 0));
        assert_eq!((unsent.floor(), unsent.stretches().len()), (4, UNSENT_STRETCHES));
        unsent.insert(3, 0);
        assert_eq!(unsent.floor(), 4, "below the floor nothing counts in any case");
        assert_eq!(Unsent::from_value(unsent.clone().into_value()), Some(unsent));
    }

    #[test]
    fn what_is_damaged_is_none() {
        for damaged in ["x", "1", "1:2", "1:3-2", "0:5-5,6-6", "0:5-5,3-3", "-1:3-3", "9:3-3"] {
            assert_eq!(Unsent::from_value(Value::Text(damaged.into())), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn stretches_have_the_numbers_that_were_unsent(numbers in prop::collection::vec(1..60_i64, 0..40)) {
            let mut unsent = Unsent::default();
            numbers.iter().for_each(|&number| unsent.insert(number, 0));
            let held: Vec<i64> = unsent.stretches().iter().flat_map(|(first, last)| *first..=*last).collect();
            let told: std::collections::BTreeSet<i64> = numbers.into_iter().collect();
            prop_assert_eq!(held, told.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Unsent::from_value(unsent.clone().into_value()), Some(unsent));
        }
    }
}
