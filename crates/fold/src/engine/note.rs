/// The maximum age of a stored watermark that no other process reads, ms.
const NOTE_EVERY_MS: i64 = 100;

/// When the watermark is stored. If other processes read it: with every batch. If this is the tables' only process, it
/// is not read before the next start, and a refold from there costs little: the marks show what is applied.
pub(super) struct Note {
    every_ms: i64,
    last_ms: i64,
}

impl Note {
    /// `is_shared`: whether other processes read the tables.
    pub fn new(is_shared: bool) -> Self {
        Self { every_ms: if is_shared { 0 } else { NOTE_EVERY_MS }, last_ms: 0 }
    }

    pub fn is_due(&mut self, now_ms: i64) -> bool {
        let due = now_ms.saturating_sub(self.last_ms) >= self.every_ms || now_ms < self.last_ms;
        if due {
            self.last_ms = now_ms;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_that_others_read_is_noted_each_time() {
        let mut note = Note { every_ms: 0, last_ms: 0 };
        assert!([5, 5, 6].into_iter().all(|now_ms| note.is_due(now_ms)));
    }

    #[test]
    fn one_that_nobody_reads_is_noted_now_and_then_also_over_a_clock_that_goes_back() {
        let mut note = Note { every_ms: 100, last_ms: 0 };
        let due: Vec<bool> = [1_000, 1_099, 1_100, 1_150, 40, 139, 140].map(|now_ms| note.is_due(now_ms)).to_vec();
        assert_eq!(due, [true, false, true, false, true, false, true]);
    }
}
