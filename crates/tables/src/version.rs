use std::sync::atomic::{AtomicU64, Ordering};

/// The number of counters: two table partitions that share one seem to change together.
const PLACES: u64 = 16 * 1024;

/// A version of a table partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    place: u32,
    changes: u64,
}

/// Counts the changes of table partitions since the start of the process; for a sole writer.
///
/// A counter's lower bits count the changes in progress, its upper bits the ended ones.
pub struct Versions(Vec<AtomicU64>);

/// One change in progress.
const UNDER_WAY: u64 = 1;
/// One that has ended.
const ENDED: u64 = 1 << 16;

impl Default for Versions {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Versions {
    /// `partition`: a hash of which one. `None` during a change: a read then may see the state before or after it.
    pub fn of(&self, partition: u64) -> Option<Version> {
        let place = place(partition);
        let changes = self.changes(place);
        (changes.is_multiple_of(ENDED)).then_some(Version { place, changes })
    }

    /// The change lasts until the result is dropped, whatever its outcome.
    pub fn changing(&self, partition: u64) -> Changing<'_> {
        let place = place(partition);
        let changes = self.0.get(place as usize);
        let before = changes.map_or(u64::MAX, |changes| changes.fetch_add(UNDER_WAY, Ordering::AcqRel));
        Changing { changes, before: Version { place, changes: before } }
    }

    /// Called after a change, so that rows read before it are stale from then on.
    pub(crate) fn changed(&self, partition: u64) {
        if let Some(changes) = self.0.get(place(partition) as usize) {
            changes.fetch_add(ENDED, Ordering::AcqRel);
        }
    }

    /// Anything may have changed.
    pub fn all_changed(&self) {
        for changes in &self.0 {
            changes.fetch_add(ENDED, Ordering::AcqRel);
        }
    }

    pub fn are_current(&self, versions: &[Version]) -> bool {
        versions.iter().all(|version| self.changes(version.place) == version.changes)
    }

    fn changes(&self, place: u32) -> u64 {
        self.0.get(place as usize).map_or(u64::MAX, |changes| changes.load(Ordering::Acquire))
    }
}

/// A change in progress.
pub struct Changing<'a> {
    changes: Option<&'a AtomicU64>,
    /// The version before, if no other change was in progress.
    before: Version,
}

impl Changing<'_> {
    /// The version before it, and the one after it unless the counter has another change in between: then that one is
    /// never current. `None`: another change was in progress when it began.
    pub fn versions(&self) -> Option<(Version, Version)> {
        let Version { place, changes } = self.before;
        let after = Version { place, changes: changes.wrapping_add(ENDED) };
        changes.is_multiple_of(ENDED).then_some((self.before, after))
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if let Some(changes) = self.changes {
            changes.fetch_add(ENDED - UNDER_WAY, Ordering::AcqRel);
        }
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
        let versions = Versions::default();
        let (one, other) = (versions.of(1).unwrap(), versions.of(2).unwrap());
        assert!(versions.are_current(&[one, other]) && versions.are_current(&[]));
        versions.changed(2);
        assert!(versions.are_current(&[one]) && !versions.are_current(&[one, other]));
        assert!(versions.are_current(&[one, versions.of(2).unwrap()]));
        versions.changed(1 + PLACES);
        assert!(!versions.are_current(&[one]), "they share a place");
        let third = versions.of(3).unwrap();
        versions.all_changed();
        assert!(!versions.are_current(&[third]));
    }

    #[test]
    fn what_a_change_leaves_behind_is_known_unless_another_interferes() {
        let versions = Versions::default();
        let before = versions.of(1).unwrap();
        let change = versions.changing(1);
        let (found, left) = change.versions().unwrap();
        assert_eq!(found, before);
        drop(change);
        assert_eq!(versions.of(1), Some(left));

        let meanwhile: [fn(&Versions); 3] =
            [|versions| drop(versions.changing(1)), |versions| versions.changed(1), Versions::all_changed];
        for meanwhile in meanwhile {
            let change = versions.changing(1);
            let (_, left) = change.versions().unwrap();
            meanwhile(&versions);
            assert!(!versions.are_current(&[left]));
            drop(change);
            assert!(versions.of(1).is_some() && !versions.are_current(&[left]));
        }
        let (first, second) = (versions.changing(1), versions.changing(1));
        assert!(second.versions().is_none());
        let (_, left) = first.versions().unwrap();
        drop(first);
        assert!(!versions.are_current(&[left]));
        drop(second);
        assert!(!versions.are_current(&[left]));
    }

    #[test]
    fn there_is_no_version_while_a_change_is_under_way() {
        let versions = Versions::default();
        let before = versions.of(1).unwrap();
        let (one, other) = (versions.changing(1), versions.changing(1));
        assert!(versions.of(1).is_none() && !versions.are_current(&[before]));
        drop(one);
        assert!(versions.of(1).is_none());
        drop(other);
        assert!(versions.of(1).is_some() && !versions.are_current(&[before]));
    }
}
