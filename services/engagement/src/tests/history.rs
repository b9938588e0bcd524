//! A history of one table partition, for tests of folds alone.

use kith_fold::{Fold, Record, Rows};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_service::command::Asked;
use kith_tables::{Table, Timestamp};

pub(crate) struct History {
    pub rows: Rows,
    /// Every record, copies included.
    pub records: Vec<Record>,
    originals: Vec<(RecordId, Event)>,
}

pub(crate) fn id(n: u8) -> RecordId {
    RecordId([n; 16])
}

/// The id of something as events carry it.
pub(crate) fn hex(n: u8) -> String {
    id(n).to_string()
}

/// A command of Ada's.
pub(crate) fn asked(n: u8) -> Asked {
    Asked { id: id(n), actor: hex(0xa), digest: [1; 32], at: Timestamp(7) }
}

impl History {
    pub(crate) fn new(table: &'static Table) -> Self {
        Self { rows: Rows::new(table, 1), records: Vec::new(), originals: Vec::new() }
    }

    pub(crate) fn record(offset: u64, id: RecordId, event: Event) -> Record {
        let partition = LogPartition { topic: topics::ENGAGEMENT, index: 0 };
        Record::new(Position { partition, offset }, id, event)
    }

    pub(crate) fn append(&mut self, fold: &dyn Fold, event: Event) {
        let id = id(100 + self.originals.len() as u8);
        self.originals.push((id, event.clone()));
        self.take(fold, id, event);
    }

    /// The command `back` places before the last comes again.
    pub(crate) fn append_copy(&mut self, fold: &dyn Fold, back: usize) {
        let original = self.originals.len().checked_sub(back + 1).and_then(|index| self.originals.get(index)).cloned();
        if let Some((id, event)) = original {
            self.take(fold, id, event);
        }
    }

    /// Everything comes again at its own place, as after a restart.
    pub(crate) fn replay(&mut self, fold: &dyn Fold) {
        for record in &self.records {
            self.rows.apply_at(record.position.offset, |rows| fold.apply(rows, record));
        }
    }

    /// Whether an actor of that number has done anything.
    pub(crate) fn knows(&self, actor: u8) -> bool {
        let is_of = |event: &kith_proto::Event| match event {
            kith_proto::Event::Engagement(Event::Reacted(event)) => event.actor_id == hex(actor),
            kith_proto::Event::Engagement(Event::Unreacted(event)) => event.actor_id == hex(actor),
            kith_proto::Event::Engagement(Event::Shared(event)) => event.actor_id == hex(actor),
            kith_proto::Event::Engagement(Event::Unshared(event)) => event.actor_id == hex(actor),
            _ => false,
        };
        self.records.iter().any(|record| is_of(&record.event))
    }

    fn take(&mut self, fold: &dyn Fold, id: RecordId, event: Event) {
        let record = Self::record(self.records.len() as u64, id, event);
        let Some(scope) = fold.scope(&record) else { return };
        self.rows.load_empty(&scope);
        self.rows.apply_at(record.position.offset, |rows| fold.apply(rows, &record));
        self.records.push(record);
    }
}
