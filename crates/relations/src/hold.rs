//! The rule for things of which an account has at most one per post: a share, a bookmark. Pure. Every fold of them uses it;
//! a group's other columns are its own.

use kith_fold::AppliedIds;
use kith_log::RecordId;

use crate::are_ids;

/// A record by which an account's share or bookmark of a post begins or ends.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a, B> {
    pub post_id: &'a str,
    pub actor_id: &'a str,
    /// The id of the share or bookmark that begins or ends.
    pub id: &'a str,
    /// What it begins with; `None`: it ends.
    pub begins: Option<B>,
}

/// The columns of a row that the rule reads and writes.
#[derive(Debug)]
pub struct Held<'r> {
    pub stands: &'r mut bool,
    /// The id of the current one, or of the last one if none is current.
    pub id: &'r mut String,
    pub applied: &'r mut AppliedIds,
}

/// The effect of a record on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<B> {
    /// Only the record's id is remembered.
    Stays,
    Begins(B),
    Ends,
}

impl<'a, B: Copy> Change<'a, B> {
    /// `None`: one of the ids is malformed and cannot be a key.
    pub fn new(post_id: &'a str, actor_id: &'a str, id: &'a str, begins: Option<B>) -> Option<Self> {
        are_ids(&[post_id, actor_id, id]).then_some(Self { post_id, actor_id, id, begins })
    }

    /// Applies the record with that id; `None`: it was applied before. Of two racing beginnings the first in the log wins. An
    /// end applies only to the share or bookmark that it names, so a late end never ends the next one.
    pub fn turn(&self, held: Held<'_>, record_id: RecordId) -> Option<Turn<B>> {
        if !held.applied.insert(record_id) {
            return None;
        }
        Some(match self.begins {
            Some(begins) if !*held.stands => {
                *held.stands = true;
                *held.id = self.id.to_owned();
                Turn::Begins(begins)
            }
            None if *held.stands && *held.id == self.id => {
                *held.stands = false;
                Turn::Ends
            }
            Some(_) | None => Turn::Stays,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these events (an id, and whether it begins), each with the number of its record, make of a row that is new.
    fn turns(events: &[(&str, bool, u8)]) -> (Vec<Option<Turn<()>>>, bool, String) {
        let (mut stands, mut id, mut applied) = (false, String::new(), AppliedIds::default());
        let turn = |&(of, begins, record): &(&str, bool, u8)| {
            let change = Change { post_id: "p", actor_id: "ada", id: of, begins: begins.then_some(()) };
            let held = Held { stands: &mut stands, id: &mut id, applied: &mut applied };
            change.turn(held, RecordId([record; 16]))
        };
        let turns = events.iter().map(turn).collect();
        (turns, stands, id)
    }

    #[test]
    fn of_two_that_raced_the_first_stands_until_its_own_end() {
        let (made, stands, id) = turns(&[("a", true, 1), ("b", true, 2), ("b", false, 3)]);
        assert_eq!(made, [Some(Turn::Begins(())), Some(Turn::Stays), Some(Turn::Stays)]);
        assert_eq!((stands, &*id), (true, "a"));
    }

    #[test]
    fn a_late_end_leaves_the_next_alone() {
        let (made, stands, id) = turns(&[("a", true, 1), ("a", false, 2), ("b", true, 3), ("a", false, 4)]);
        assert_eq!(made[1..], [Some(Turn::Ends), Some(Turn::Begins(())), Some(Turn::Stays)]);
        assert_eq!((stands, &*id), (true, "b"));
    }

    #[test]
    fn a_record_applied_before_changes_nothing() {
        let (made, stands, _) = turns(&[("a", true, 1), ("a", false, 2), ("a", true, 1), ("a", false, 2)]);
        assert_eq!(made, [Some(Turn::Begins(())), Some(Turn::Ends), None, None]);
        assert!(!stands);
    }

    #[test]
    fn what_names_no_ids_is_about_nothing() {
        let (good, long) = ("a".repeat(32), "a".repeat(9_000));
        assert!(Change::new(&good, &good, &good, Some(())).is_some());
        for bad in ["", "ADA", &long] {
            let changes = [(bad, &*good, &*good), (&good, bad, &good), (&good, &good, bad)];
            assert!(changes.iter().all(|(post, actor, id)| Change::new(post, actor, id, Some(())).is_none()), "{bad}");
        }
    }
}
