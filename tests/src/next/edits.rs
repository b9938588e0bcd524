//! A fold group that only the later release has: how often each post was edited.

use std::sync::Arc;

use kith_fold::{Fold, Group, Record, Rows, Scope};
use kith_log::topics;
use kith_proto::Event;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_tables::{Column, Key, Order, Section, Table, row};

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "edits";

static EDITS: Table = Table {
    name: "edits",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<EditsRow>("edits")],
    summary: &[],
};

row! {
    /// A post, whether it was edited or not.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct EditsRow in 0 { times: i64 }
}

struct Edits;

pub fn group(generation: u32) -> Group {
    let (topics, folds): (_, Vec<Arc<dyn Fold>>) = (vec![topics::POSTS], vec![Arc::new(Edits)]);
    Group { name: GROUP, generation, folds_version: 1, reads: super::EVENTS, topics, folds, shown: None }
}

impl Fold for Edits {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&EDITS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (post_id, _) = edited(record)?;
        Some(Scope::new(&EDITS, Key::text(post_id)).with::<EditsRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, more)) = edited(record) else { return };
        let before: EditsRow = rows.get([]).unwrap_or_default();
        rows.put([], EditsRow { times: before.times + more });
    }
}

/// The post, and how many edits the record adds to it.
fn edited(record: &Record) -> Option<(&str, i64)> {
    match &record.event {
        Event::Posts(Post::PostCreated(event)) => Some((&event.post_id, 0)),
        Event::Posts(Post::PostEdited(event)) => Some((&event.post_id, 1)),
        _ => None,
    }
}
