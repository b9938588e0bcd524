use sha2::{Digest as _, Sha256};

use crate::{Column, RowType, SectionId};

/// The order of a section's rows by their clustering columns, the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// A kind of rows in a table partition, which are written together. All sections of a table share its clustering
/// columns and have columns of their own; two sections may name the same column of the same kind.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    pub id: SectionId,
    pub name: &'static str,
    pub columns: &'static [Column],
    /// Whether its rows may be removed. A cache over such a section must not take an absent row for one that was never
    /// written: an older write may come, and lose to the removal.
    pub removable: bool,
}

impl Section {
    /// The section of the rows of type `R`, which stay once they are written.
    pub const fn of<R: RowType>(name: &'static str) -> Self {
        Self { id: R::SECTION, name, columns: R::COLUMNS, removable: false }
    }

    /// The section of the rows of type `R`, which may be removed.
    pub const fn removable<R: RowType>(name: &'static str) -> Self {
        Self { removable: true, ..Self::of::<R>(name) }
    }
}

/// A table: in CQL one real table with one typed column for each that is named here, `section` among its clustering
/// columns (0 and up: the sections below; negative: the summary row of the log partition of that number).
///
/// A table partition that is evolved (not only spread to) has one summary row for each log partition that evolves it:
/// the mark, and `summary`'s columns.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub partition: &'static [Column],
    pub clustering: &'static [Column],
    pub order: Order,
    pub sections: &'static [Section],
    pub summary: &'static [Column],
}

/// The column of a summary row that holds the mark.
pub(crate) const MARK: Column = Column::bigint("mark");

impl Table {
    /// The columns of the rows of `section`, in their order; for a summary row the mark comes first. `None`: the table
    /// has no such section.
    pub fn columns(&self, section: SectionId) -> Option<impl Iterator<Item = Column> + use<>> {
        let (mark, own) = match section {
            ..0 => (Some(MARK), self.summary),
            _ => (None, self.sections.iter().find(|s| s.id == section)?.columns),
        };
        Some(mark.into_iter().chain(own.iter().copied()))
    }

    /// Whether rows of `section` may be removed.
    pub fn is_removable(&self, section: SectionId) -> bool {
        self.sections.iter().any(|of| of.id == section && of.removable)
    }

    /// Every column that is not part of the key, once, in the order of declaration.
    pub fn all_columns(&self) -> Vec<Column> {
        let mut all: Vec<Column> = Vec::new();
        let sections = self.sections.iter().flat_map(|s| s.columns.iter().copied());
        for column in sections.chain([MARK]).chain(self.summary.iter().copied()) {
            if !all.iter().any(|known| known.name == column.name) {
                all.push(column);
            }
        }
        all
    }

    /// Name, keys, order, sections and columns: a line for the table, one per section and one for the summary.
    pub fn declaration(&self) -> String {
        let columns = |columns: &[Column]| {
            let one = |column: &Column| format!("{} {:?}", column.name, column.kind);
            columns.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let (name, partition, clustering) = (self.name, columns(self.partition), columns(self.clustering));
        let table = format!("table {name}: by ({partition}), ({clustering}) {:?}", self.order);
        let section = |of: &Section| format!("  {name}.{} {}: {}", of.name, of.id, columns(of.columns));
        let summary = format!("  {name}.summary: {}", columns(self.summary));
        let lines = [table].into_iter().chain(self.sections.iter().map(section)).chain([summary]);
        lines.map(|line| line + "\n").collect()
    }

    /// The first 12 hexadecimal digits of the SHA-256 of [`Self::declaration`].
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.declaration());
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key of the summary row of the log partition of the number `source`, 1 and up.
    pub fn summary_key(&self, source: i32) -> crate::RowKey {
        let clustering = self.clustering.iter().map(|c| c.kind.default_value()).collect();
        crate::RowKey { section: -source, clustering }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{FEED, NOTES};

    #[test]
    fn equal_declarations_have_equal_fingerprints_and_others_have_not() {
        let same = Table { ..NOTES };
        assert_eq!(same.fingerprint(), NOTES.fingerprint());
        let other_order = Table { order: Order::Descending, ..NOTES };
        let one_column_less = Table { sections: &NOTES.sections[..0], ..NOTES };
        let all = [&NOTES, &FEED, &other_order, &one_column_less].map(Table::fingerprint);
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((different.len(), all[0].len()), (4, 12));
    }
}
