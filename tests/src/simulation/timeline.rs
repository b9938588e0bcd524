//! The value of something after each prefix of its log partition. Pure.

use kith_log::Offset;

/// Values by how many records of the partition they come after; the default before the first.
#[derive(Debug, Clone)]
pub struct Timeline<V> {
    changes: Vec<(Offset, V)>,
}

impl<V> Default for Timeline<V> {
    fn default() -> Self {
        Self { changes: Vec::new() }
    }
}

impl<V: Clone + Default + PartialEq> Timeline<V> {
    /// After the record at `offset` it is `value`.
    pub fn set(&mut self, offset: Offset, value: V) {
        if self.last() != value {
            self.changes.push((offset + 1, value));
        }
    }

    /// What it is after the first `records` records.
    pub fn at(&self, records: Offset) -> V {
        let known = self.changes.iter().rev().find(|(after, _)| *after <= records);
        known.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub fn last(&self) -> V {
        self.changes.last().map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Every value that it has after `low` up to `high` records.
    pub fn within(&self, (low, high): (Offset, Offset)) -> Vec<V> {
        let later = self.changes.iter().filter(|(after, _)| *after > low && *after <= high);
        std::iter::once(self.at(low)).chain(later.map(|(_, value)| value.clone())).collect()
    }

    pub fn ever(&self, window: (Offset, Offset), holds: impl Fn(&V) -> bool) -> bool {
        self.within(window).iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_stood_at_its_start_and_what_came_within() {
        let mut line = Timeline::<i32>::default();
        [(2, 7), (5, 8), (9, 9)].into_iter().for_each(|(offset, value)| line.set(offset, value));
        assert_eq!([line.at(2), line.at(3), line.at(6), line.last()], [0, 7, 8, 9]);
        assert_eq!(line.within((0, 6)), [0, 7, 8]);
        assert_eq!(line.within((3, 5)), [7]);
    }
}
