use std::sync::atomic::{AtomicU64, Ordering};

/// Table partitions are counted together in so many places: two that share one seem to change with each other.
const PLACES: u64 = 16 * 1024;

/// A state that a table partition was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    place: u32,
    changes: u64,
}

/// How often table partitions have changed since the start of the process; for a store that is their only writer.
pub(crate) struct Versions(Vec<AtomicU64>);

impl Versions {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// `partition`: a hash of which one.
    pub(crate) fn of(&self, partition: u64) -> Version {
        let place = place(partition);
        Version { place, changes: self.changes(place) }
    }

    /// Comes after a change, so that whoever read its rows before knows them as old from then on.
    pub(crate) fn changed(&self, partition: u64) {
        if let Some(changes) = self.0.get(place(partition) as usize) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn are_current(&self, versions: &[Version]) -> bool {
        versions.iter().all(|version| self.changes(version.place) == version.changes)
    }

    fn changes(&self, place: u32) -> u64 {
        self.0.get(place as usize).map_or(u64::MAX, |changes| changes.load(Ordering::Acquire))
    }
}

fn place(partition: u64) -> u32 {
    // Less than PLACES, which fits.
    (partition % PLACES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_current_until_its_partition_changes() {
        let versions = Versions::new();
        let (one, other) = (versions.of(1), versions.of(2));
        assert!(versions.are_current(&[one, other]) && versions.are_current(&[]));
        versions.changed(2);
        assert!(versions.are_current(&[one]) && !versions.are_current(&[one, other]));
        assert!(versions.are_current(&[one, versions.of(2)]));
        versions.changed(1 + PLACES);
        assert!(!versions.are_current(&[one]), "they share a place");
    }
}
