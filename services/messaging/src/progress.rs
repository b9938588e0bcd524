//! How far a member of a conversation has read.

use std::fmt;

use crate::unsent::Unsent;

/// Stretches of one's own messages above one's marker that are kept apart, with messages of others between them.
///
/// Where there would be more, the marker moves to the end of the oldest: whoever has written in so many places has seen
/// what stands below the first of them.
pub const OWN_RUNS_MAX: usize = 64;

/// A marker, and which messages above it are the member's own: so what is unread is told without looking at messages.
///
/// Shown as `7`, or `7:9-9,12-15` with the numbers of its own above 7; as `7^5` if the others are shown 5.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    read_number: i64,
    /// Up to which the others are told that the member has read; 0: they are told nothing.
    shown_number: i64,
    /// First and last number of each stretch, rising. Right below each, above the marker, stands a message of another's.
    own: Vec<(i64, i64)>,
}

impl Progress {
    /// Number up to which the member has read.
    pub fn read_number(&self) -> i64 {
        self.read_number
    }

    /// Number up to which the others are told that the member has read; 0: they are told nothing.
    pub fn shown_number(&self) -> i64 {
        self.shown_number
    }

    /// Messages of others above the marker that were not unsent, where `last_number` is the conversation's last.
    pub fn unread(&self, last_number: i64, unsent: &Unsent) -> i64 {
        let marker = self.read_number.max(unsent.floor());
        let mut seen: Vec<(i64, i64)> = self.own.iter().chain(unsent.stretches()).copied().collect();
        // Those of one's own that were unsent are in both.
        seen.sort_unstable();
        let (_, seen) = seen.into_iter().fold((marker, 0_i64), |(end, seen), (first, last)| {
            let new = last.saturating_sub(end.max(first.saturating_sub(1))).max(0);
            (end.max(last), seen.saturating_add(new))
        });
        last_number.saturating_sub(marker).saturating_sub(seen).max(0)
    }

    /// The others are told that the member has read up to `number`: never back.
    pub fn show(&mut self, number: i64) {
        self.shown_number = self.shown_number.max(number);
    }

    /// The member wrote message `number`, the last one. Others' messages below it stay unread.
    pub fn write(&mut self, number: i64) {
        match self.own.last_mut() {
            Some((_, last)) if last.saturating_add(1) == number => *last = number,
            _ => self.own.push((number, number)),
        }
        let oldest = self.own.first().filter(|_| self.own.len() > OWN_RUNS_MAX);
        self.read_up_to(oldest.map_or(0, |(_, last)| *last));
    }

    /// The member has read up to `number`: never back, and on past its own messages that follow there.
    pub fn read_up_to(&mut self, number: i64) {
        self.read_number = self.read_number.max(number);
        let mut passed = 0;
        for (first, last) in &self.own {
            if *first > self.read_number.saturating_add(1) {
                break;
            }
            self.read_number = self.read_number.max(*last);
            passed += 1;
        }
        self.own.drain(..passed);
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        let (read, own) = shown.split_once(':').map_or((shown, None), |(read, own)| (read, Some(own)));
        let (read, told) = read.split_once('^').map_or((read, None), |(read, told)| (read, Some(told)));
        let run = |run: &str| {
            let (first, last) = run.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let own = own.map_or_else(|| Some(Vec::new()), |own| own.split(',').map(run).collect())?;
        let shown_number = told.map_or(Some(0), |told| told.parse().ok().filter(|told| *told > 0))?;
        let progress = Self { read_number: read.parse().ok()?, shown_number, own };
        progress.is_sound().then_some(progress)
    }

    fn is_sound(&self) -> bool {
        let ends = std::iter::once(self.read_number).chain(self.own.iter().map(|(_, last)| *last));
        let apart = ends.zip(&self.own).all(|(end, (first, last))| end.saturating_add(1) < *first && first <= last);
        self.read_number >= 0 && apart
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.read_number)?;
        if self.shown_number > 0 {
            write!(f, "^{}", self.shown_number)?;
        }
        for (n, (first, last)) in self.own.iter().enumerate() {
            write!(f, "{}{first}-{last}", if n == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Mine,
        Theirs,
        /// Up to so many before the last message.
        Read(usize),
    }
    use Step::{Mine, Read, Theirs};

    /// The last number, and what the steps make of a member.
    fn progress(steps: &[Step]) -> (i64, Progress) {
        let (mut last, mut progress) = (0, Progress::default());
        for step in steps {
            match step {
                Mine => {
                    last += 1;
                    progress.write(last);
                }
                Theirs => last += 1,
                Read(before) => progress.read_up_to((last - *before as i64).max(0)),
            }
        }
        (last, progress)
    }

    /// The same from a list of who wrote each message (true: the member): the marker, and what is unread.
    fn recounted(steps: &[Step]) -> (usize, usize) {
        let (mut mine, mut marker) = (Vec::<bool>::new(), 0);
        for step in steps {
            match step {
                Mine => mine.push(true),
                Theirs => mine.push(false),
                Read(before) => marker = marker.max(mine.len().saturating_sub(*before)),
            }
            let above = &mine[marker..];
            let stretches = (0..above.len()).filter(|&n| above[n] && (n == 0 || !above[n - 1])).count();
            if stretches > OWN_RUNS_MAX {
                let first = above.iter().position(|own| *own).unwrap();
                marker += first;
            }
            marker += mine[marker..].iter().take_while(|own| **own).count();
        }
        (marker, mine[marker..].iter().filter(|own| !**own).count())
    }

    fn check(steps: &[Step]) {
        let (last, progress) = progress(steps);
        assert_eq!(
            (progress.read_number() as usize, progress.unread(last, &Unsent::default()) as usize),
            recounted(steps)
        );
        assert!(progress.is_sound() && progress.own.len() <= OWN_RUNS_MAX, "{progress}");
        assert_eq!(Progress::parse(&progress.to_string()), Some(progress));
    }

    #[test]
    fn a_message_moves_the_marker_only_past_ones_own() {
        for (steps, shown, unread) in [
            (&[Mine, Mine][..], "2", 0),
            (&[Theirs, Theirs, Mine], "0:3-3", 2),
            (&[Theirs, Theirs, Mine, Read(1)], "3", 0),
            (&[Theirs, Theirs, Mine, Read(2)], "1:3-3", 1),
            (&[Theirs, Mine, Mine, Theirs, Mine, Read(3)], "3:5-5", 1),
            (&[Theirs, Mine, Mine, Theirs, Mine, Read(4)], "3:5-5", 1),
            (&[Theirs, Mine, Mine, Theirs, Mine, Read(0)], "5", 0),
        ] {
            let (last, progress) = progress(steps);
            assert_eq!(
                (progress.to_string().as_str(), progress.unread(last, &Unsent::default())),
                (shown, unread),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn more_stretches_than_are_kept_move_the_marker_to_the_end_of_the_oldest() {
        let apart = [Theirs, Mine, Mine];
        let (last, full) = progress(&apart.repeat(OWN_RUNS_MAX));
        assert_eq!((full.read_number(), full.unread(last, &Unsent::default())), (0, OWN_RUNS_MAX as i64));
        let (last, over) = progress(&apart.repeat(OWN_RUNS_MAX + 1));
        assert_eq!((over.read_number(), over.unread(last, &Unsent::default())), (3, OWN_RUNS_MAX as i64));
        check(&apart.repeat(3 * OWN_RUNS_MAX));
    }

    #[test]
    fn what_is_shown_to_others_only_rises_and_moves_no_marker() {
        let (_, mut progress) = progress(&[Theirs, Theirs, Mine]);
        progress.show(2);
        progress.show(1);
        assert_eq!((progress.shown_number(), progress.read_number()), (2, 0));
        assert_eq!((progress.to_string().as_str(), Progress::parse("0^2:3-3")), ("0^2:3-3", Some(progress.clone())));
    }

    #[test]
    fn damaged_progress_is_none() {
        for damaged in [
            "",
            "x",
            "-1",
            "1:",
            "1:3",
            "1:3-",
            "1:4-3",
            "1:2-2",
            "1:3-4,5-6",
            "1:5-6,3-3",
            "1:3-3:5-5",
            "1^",
            "1^0",
            "1^x",
            "^1",
        ] {
            assert_eq!(Progress::parse(damaged), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_a_recount_finds(
            steps in prop::collection::vec(
                prop_oneof![4 => Just(Mine), 4 => Just(Theirs), 1 => (0..12_usize).prop_map(Read)],
                0..60,
            ),
        ) {
            check(&steps);
        }

        #[test]
        fn what_was_unsent_is_unread_by_nobody(
            steps in prop::collection::vec(prop_oneof![Just(Mine), Just(Theirs), (0..6_usize).prop_map(Read)], 1..40),
            unsent in prop::collection::btree_set(1..40_i64, 0..20),
        ) {
            let (last, progress) = progress(&steps);
            let mine: Vec<bool> = steps.iter().filter(|step| !matches!(step, Read(_))).map(|step| matches!(step, Mine)).collect();
            let mut held = Unsent::default();
            let gone: Vec<i64> = unsent.into_iter().filter(|number| *number <= last).collect();
            gone.iter().for_each(|&number| held.insert(number, 0));
            let above = (progress.read_number() + 1)..=last;
            let naive = above.filter(|number| !mine[*number as usize - 1] && !gone.contains(number)).count();
            prop_assert_eq!(progress.unread(last, &held), naive as i64);
        }

        #[test]
        fn so_it_is_where_the_bound_is_met(
            steps in prop::collection::vec(
                prop_oneof![40 => Just(Mine), 40 => Just(Theirs), 1 => (60..200_usize).prop_map(Read)],
                200..600,
            ),
        ) {
            check(&steps);
        }

        #[test]
        fn a_marker_that_was_there_before_changes_nothing(
            steps in prop::collection::vec(prop_oneof![Just(Mine), Just(Theirs), (0..6_usize).prop_map(Read)], 1..40),
            at in any::<prop::sample::Index>(),
        ) {
            let (_, mut now) = progress(&steps);
            let before = progress(&steps[..at.index(steps.len())]).1.read_number();
            let unchanged = now.clone();
            now.read_up_to(before);
            prop_assert_eq!(now, unchanged);
        }
    }
}
