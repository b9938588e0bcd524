use kith_tables::Table;

use super::{Effect, Record, Rows, Scope};

/// One view. Pure: the engine loads the rows asked for, skips what the mark says is in, writes what changed at once.
pub trait Fold: Send + Sync + 'static {
    /// Every table that this fold evolves or spreads to.
    fn tables(&self) -> Vec<&'static Table>;

    /// The one table partition that this record evolves, with the rows that `apply` and `effects` look at, if the
    /// record concerns this view. Nobody else writes rows that it names, or that `apply` puts: no effect, and no scope of
    /// another log partition. What was never written is not read (ADR 14), so such a row would not be seen.
    fn scope(&self, record: &Record) -> Option<Scope>;

    /// What the record changes there.
    fn apply(&self, rows: &mut Rows, record: &Record);

    /// What follows elsewhere. `rows` may be later than the record (on a replay): a value stamped with the record's
    /// offset must be a function of the record alone, one stamped with the rows' mark a function of the rows alone.
    fn effects(&self, _rows: &Rows, _record: &Record) -> Vec<Effect> {
        Vec::new()
    }

    /// Whether `effects` may hold appends, so that a worker that starts must look for ones never made.
    fn appends(&self) -> bool {
        false
    }
}
