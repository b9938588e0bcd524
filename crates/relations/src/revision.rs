//! The rules of what is changed from a revision, a post or a profile: of the changes that start from one revision the first in the
//! log wins. Changes are asked for by intents, and of one that won a fact follows. Pure.

use kith_log::Offset;

use crate::signed;

/// What the intents so far make of one: whether it wins, and the revision that it made, or the one that it found and had not
/// expected. `changes` is how many have won; `expected` the revision that it starts from, 0: whichever it is. Without content there is
/// nothing that it could say.
pub fn judge(changes: &mut i64, expected: u32, has_content: bool) -> (bool, i64) {
    let current = changes.saturating_add(1);
    let expected = i64::from(expected);
    let won = has_content && (expected == 0 || expected == current);
    if won {
        *changes = current;
    }
    (won, current.saturating_add(i64::from(won)))
}

/// The revision after so many changes: it begins as 1.
pub fn after(changes: i64) -> u32 {
    shown(changes.saturating_add(1))
}

/// A revision from its column.
pub fn shown(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// Whether a change that starts from `expected` has lost for certain where the revision is `current` or later: it never goes back.
pub fn has_lost(expected: u32, current: u32) -> bool {
    (1..current).contains(&expected)
}

/// Whether the fact of the intent at that offset still applies: only if its intent comes after the one whose fact was applied last.
/// The column `intent_next` remembers that one, by [`intent_after`].
pub fn takes(intent_next: i64, intent_offset: Offset) -> bool {
    signed(intent_offset) >= intent_next
}

/// The column `intent_next` once the fact of the intent at that offset was applied.
pub fn intent_after(intent_offset: Offset) -> i64 {
    signed(intent_offset).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_changes_from_one_revision_the_first_wins() {
        let mut changes = 0;
        let mut judged = |expected| judge(&mut changes, expected, true);
        assert_eq!([1, 1, 0, 7, 3].map(&mut judged), [(true, 2), (false, 2), (true, 3), (false, 3), (true, 4)]);
        assert_eq!((judge(&mut changes, 0, false), changes, after(changes)), ((false, 4), 3, 4));
        assert_eq!([0, 1, 3, 4, 5].map(|expected| has_lost(expected, 4)), [false, true, true, false, false]);
    }

    #[test]
    fn a_fact_applies_once_and_never_after_a_later_one() {
        assert_eq!([3, 4, 5].map(|offset| takes(intent_after(4), offset)), [false, false, true]);
        assert!(!takes(i64::MAX, 9) && takes(intent_after(u64::MAX), u64::MAX), "a hostile offset is cut");
    }
}
