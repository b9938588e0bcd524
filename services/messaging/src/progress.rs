//! How far a member of a conversation has read.

use std::fmt;

/// Stretches of one's own messages above one's marker that are kept apart, with messages of others between them.
///
/// Where there would be more, the marker moves to the end of the oldest: whoever has written in so many places has seen
/// what stands below the first of them.
pub const OWN_RUNS_MAX: usize = 64;

/// A marker, and which messages above it are the member's own: so what is unread is told without looking at messages.
///
/// Shown as `7`, or `7:9-9,12-15` with the numbers of its own above 7.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    read_number: i64,
    /// First and last number of each stretch, rising. Right below each, above the marker, stands a message of another's.
    own: Vec<(i64, i64)>,
}

impl Progress {
    /// Number up to which the member has read.
    pub fn read_number(&self) -> i64 {
        self.read_number
    }

    /// Messages of others above the marker, where `last_number` is the conversation's last.
    pub fn unread(&self, last_number: i64) -> i64 {
        let own = self.own.iter().fold(0_i64, |sum, (first, last)| sum.saturating_add(last - first + 1));
        last_number.saturating_sub(self.read_number).saturating_sub(own).max(0)
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
        let (read_number, own) = shown.split_once(':').map_or((shown, None), |(read, own)| (read, Some(own)));
        let run = |run: &str| {
            let (first, last) = run.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let own = own.map_or_else(|| Some(Vec::new()), |own| own.split(',').map(run).collect())?;
        let progress = Self { read_number: read_number.parse().ok()?, own };
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
        assert_eq!((progress.read_number() as usize, progress.unread(last) as usize), recounted(steps));
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
            assert_eq!((progress.to_string().as_str(), progress.unread(last)), (shown, unread), "{steps:?}");
        }
    }

    #[test]
    fn more_stretches_than_are_kept_move_the_marker_to_the_end_of_the_oldest() {
        let apart = [Theirs, Mine, Mine];
        let (last, full) = progress(&apart.repeat(OWN_RUNS_MAX));
        assert_eq!((full.read_number(), full.unread(last)), (0, OWN_RUNS_MAX as i64));
        let (last, over) = progress(&apart.repeat(OWN_RUNS_MAX + 1));
        assert_eq!((over.read_number(), over.unread(last)), (3, OWN_RUNS_MAX as i64));
        check(&apart.repeat(3 * OWN_RUNS_MAX));
    }

    #[test]
    fn damaged_progress_is_none() {
        for damaged in ["", "x", "-1", "1:", "1:3", "1:3-", "1:4-3", "1:2-2", "1:3-4,5-6", "1:5-6,3-3", "1:3-3:5-5"] {
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
