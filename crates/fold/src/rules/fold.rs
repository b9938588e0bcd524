use kith_tables::Table;

use super::{Effect, Record, Rows, Scope};

/// One view. Pure: the engine loads the rows of the scope, skips records at or below the mark, and writes the changes
/// in one batch.
pub trait Fold: Send + Sync + 'static {
    /// Every table that this fold evolves or spreads to.
    fn tables(&self) -> Vec<&'static Table>;

    /// The one table partition that this record evolves, with the rows that `apply` and `effects` read, if the record
    /// concerns this view. No other writer may write rows that it names, or that `apply` puts: no effect, and no scope
    /// of another log partition. Rows that this worker never wrote are not read (ADR 14), so such a row would be
    /// missed.
    fn scope(&self, record: &Record) -> Option<Scope>;

    /// Applies the record's changes there.
    fn apply(&self, rows: &mut Rows, record: &Record);

    /// The effects elsewhere. `rows` may be later than the record (on a replay): a value stamped with the record's
    /// offset must be a function of the record alone, one stamped with the rows' mark a function of the rows alone. That
    /// holds for removals too; a row that is put is never removed at the same position.
    fn effects(&self, _rows: &Rows, _record: &Record) -> Vec<Effect> {
        Vec::new()
    }

    /// Whether `effects` may contain appends, so that a starting worker must search for missing ones.
    fn appends(&self) -> bool {
        false
    }
}
