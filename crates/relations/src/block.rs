//! Who blocks whom: `blocks` (by who blocks) and `blocked_by` (by who is blocked), from `Blocked` and `Unblocked`.

use kith_fold::{AppliedIds, Fold, Record, Rows, Scope};
use kith_tables::{Column, Key, Order, Section, Table, row};

use crate::edge::Change;

pub static BLOCKS: Table = Table {
    name: "blocks",
    partition: &[Column::text("actor_id")],
    clustering: &[Column::text("target_id")],
    order: Order::Ascending,
    sections: &[Section::of::<BlockRow>("block")],
    summary: &[],
};

pub static BLOCKED_BY: Table = Table {
    name: "blocked_by",
    partition: &[Column::text("target_id")],
    clustering: &[Column::text("actor_id")],
    order: Order::Ascending,
    sections: &[Section::of::<BlockRow>("block")],
    summary: &[],
};

row! {
    /// Whether the block stands.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct BlockRow in 0 { pub blocking: bool, pub applied: AppliedIds }
}

/// Folds blocks by who blocks.
pub struct Blocks;

/// Folds blocks by who is blocked.
pub struct BlockedBy;

impl Fold for Blocks {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&BLOCKS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (actor, target, _) = block(record)?;
        Some(Scope::new(&BLOCKS, Key::text(actor)).with::<BlockRow>([target.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let Some((_, target, blocking)) = block(record) {
            evolve(rows, target, blocking, record);
        }
    }
}

impl Fold for BlockedBy {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&BLOCKED_BY]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (actor, target, _) = block(record)?;
        Some(Scope::new(&BLOCKED_BY, Key::text(target)).with::<BlockRow>([actor.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let Some((actor, _, blocking)) = block(record) {
            evolve(rows, actor, blocking, record);
        }
    }
}

fn evolve(rows: &mut Rows, other: &str, blocking: bool, record: &Record) {
    let mut row = rows.get::<BlockRow>([other.into()]).unwrap_or_default();
    if row.applied.insert(record.id) {
        row.blocking = blocking;
        rows.put([other.into()], row);
    }
}

/// Who blocks whom, or no longer does.
fn block(record: &Record) -> Option<(&str, &str, bool)> {
    let change = Change::of(record)?;
    Some((change.actor, change.target, change.blocking()?))
}
