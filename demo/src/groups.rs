//! Groups of friends: what happens in them, and what each member then sees, recounted from the plan alone.

use std::collections::BTreeSet;

/// What happens in a group, in order. The first member made it.
#[derive(Debug)]
pub struct Group {
    pub title: String,
    pub members: Vec<usize>,
    pub events: Vec<Happens>,
}

#[derive(Debug, Clone)]
pub enum Happens {
    Says { by: usize, text: String },
    Adds { whom: usize },
    Removes { whom: usize },
}

impl Group {
    /// Of somebody and its friends, who follow each other: one comes later, and one has to go.
    pub fn of(owner: usize, friends: &[usize], number: usize) -> Option<Self> {
        let [first, goes, comes, ..] = *friends else { return None };
        let said = |by: usize, line: usize| Happens::Says { by, text: format!("group {number}, line {line}") };
        let events = vec![
            said(first, 1),
            said(owner, 2),
            Happens::Adds { whom: comes },
            said(goes, 3),
            said(comes, 4),
            Happens::Removes { whom: goes },
            said(first, 5),
            Happens::Adds { whom: goes },
            said(comes, 6),
        ];
        Some(Self { title: format!("Group {number}"), members: vec![owner, first, goes], events })
    }

    pub fn steps(&self) -> usize {
        self.events.len() + 1
    }

    /// The members in the end.
    pub fn stands(&self) -> BTreeSet<usize> {
        let mut stands: BTreeSet<usize> = self.members.iter().copied().collect();
        for event in &self.events {
            match event {
                Happens::Adds { whom } => _ = stands.insert(*whom),
                Happens::Removes { whom } => _ = stands.remove(whom),
                Happens::Says { .. } => {}
            }
        }
        stands
    }

    /// What somebody sees of it, with who said it, oldest first; and how many messages of others it has not read.
    pub fn seen_by(&self, person: usize) -> (Vec<(usize, &str)>, u64) {
        let (mut is_in, mut seen, mut unread) = (self.members.contains(&person), Vec::new(), 0);
        for event in &self.events {
            match event {
                Happens::Says { by, text } if is_in => {
                    seen.push((*by, text.as_str()));
                    unread += u64::from(*by != person);
                }
                // What was there before counts as read.
                Happens::Adds { whom } if *whom == person => (is_in, unread) = (true, 0),
                Happens::Removes { whom } if *whom == person => (is_in, unread) = (false, 0),
                _ => {}
            }
        }
        (seen, unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sees_what_was_said_while_it_was_there() {
        let group = Group::of(1, &[2, 3, 4, 5], 7).unwrap();
        let seen = |person| {
            let (seen, unread) = group.seen_by(person);
            (
                seen.iter().map(|(_, text)| text.rsplit(' ').next().unwrap().parse().unwrap()).collect::<Vec<u32>>(),
                unread,
            )
        };
        assert_eq!(seen(1), (vec![1, 2, 3, 4, 5, 6], 5));
        assert_eq!(seen(3), (vec![1, 2, 3, 4, 6], 1), "who had to go and came back");
        assert_eq!(seen(4), (vec![3, 4, 5, 6], 2));
        assert_eq!(seen(5), (Vec::new(), 0));
        assert_eq!(group.stands(), BTreeSet::from([1, 2, 3, 4]));
        assert!(Group::of(1, &[2, 3], 7).is_none());
    }
}
