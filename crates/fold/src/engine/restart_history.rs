//! The restart point of a fold over tables that may have lost their last acknowledged writes.

use std::time::Duration;

use kith_log::{Offset, RecordId};

/// Samples kept per margin.
const SAMPLES: i64 = 12;

/// How far a fold was, and when: no server loses writes that are older than the margin.
pub(crate) struct RestartHistory {
    margin: Duration,
    /// Time, offset and record id, oldest first.
    samples: Vec<(i64, Offset, RecordId)>,
}

impl RestartHistory {
    /// `margin` zero: the tables lose nothing unless the process ends, and no restart point is kept.
    pub fn new(margin: Duration) -> Self {
        Self { margin, samples: Vec::new() }
    }

    pub fn is_kept(&self) -> bool {
        !self.margin.is_zero()
    }

    /// Records the fold's position; returns the restart point, when it is time to store it.
    pub fn at(&mut self, now_ms: i64, offset: Offset, id: RecordId) -> Option<(Offset, RecordId)> {
        if !self.is_kept() {
            return None;
        }
        let margin_ms = i64::try_from(self.margin.as_millis()).unwrap_or(i64::MAX);
        let due = self.samples.last().is_none_or(|(at, ..)| now_ms - at >= margin_ms / SAMPLES);
        if due {
            self.samples.push((now_ms, offset, id));
        }
        let old = self.samples.iter().rposition(|(at, ..)| now_ms - at >= margin_ms)?;
        self.samples.drain(..old);
        due.then(|| (self.samples[0].1, self.samples[0].2))
    }

    /// The tables may have lost rows: earlier positions are no restart points, however old they become while the rows
    /// are folded again.
    pub fn forget(&mut self) {
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordId = RecordId([0; 16]);

    fn offsets(history: &mut RestartHistory, seen: &[(i64, Offset)]) -> Vec<Option<Offset>> {
        seen.iter().map(|&(now_ms, offset)| history.at(now_ms, offset, ID).map(|(offset, _)| offset)).collect()
    }

    #[test]
    fn a_fold_starts_where_it_was_a_margin_ago() {
        let mut history = RestartHistory::new(Duration::from_secs(60));
        let seen = [(0, 10), (30_000, 20), (59_999, 30), (60_000, 31), (90_000, 40), (94_999, 41), (95_000, 42)];
        assert_eq!(offsets(&mut history, &seen), [None, None, None, None, Some(20), None, Some(20)]);
    }

    #[test]
    fn what_was_folded_before_a_loss_is_no_place_to_start_from() {
        let mut history = RestartHistory::new(Duration::from_secs(60));
        assert_eq!(offsets(&mut history, &[(0, 1_000)]), [None]);
        history.forget();
        // The fold is at 5 again, much later: a margin must pass from here on.
        assert_eq!(offsets(&mut history, &[(200_000, 5), (259_000, 6), (261_000, 7)]), [None, None, None]);
        assert_eq!(offsets(&mut history, &[(266_000, 8)]), [Some(5)]);
    }

    #[test]
    fn tables_that_forget_nothing_need_no_place() {
        let mut history = RestartHistory::new(Duration::ZERO);
        assert_eq!(offsets(&mut history, &[(0, 1), (1_000_000, 2)]), [None, None]);
    }
}
