//! A later release, for tests of upgrades. The groups of posts and of feeds have one more view, of how many hashtags and mentions
//! each post has; and the projector hosts one more group, [`edits`]. It brings a version of the events, under whose rules an edit
//! that names no revision loses.

pub mod edits;

use std::sync::Arc;

use kith_fold::{Effect, Fold, Generations, Group, Record, Rows, Scope};
use kith_proto::Event;
use kith_proto::posts::private::v1::EditRequested;
use kith_proto::posts::private::v1::post_private_event::Event as Private;
use kith_proto::posts::v1::PostAttributes;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_tables::{Column, Key, Order, Section, Table, row};

static SIZES: Table = Table {
    name: "sizes",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<SizeRow>("size")],
    summary: &[],
};

row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    struct SizeRow in 0 { tags: i64, mentions: i64 }
}

struct Sizes;

/// The groups that have the view.
pub const CHANGED: [&str; 2] = ["posts", "feeds"];

/// The version of the events that it brings.
pub const EVENTS: u32 = kith_fold::EVENTS + 1;

/// The table of the contest of edits.
const EDIT_CLAIMS: &str = "edit_claims";

/// All groups, as the later release has them.
pub fn groups(groups: Vec<Group>) -> Vec<Group> {
    groups.into_iter().map(of).chain([edits::group(Generations::FIRST)]).collect()
}

/// The group as the later release has it: one with the view under the next version of its folds.
pub fn of(group: Group) -> Group {
    let mut group = with_rules(group);
    if !CHANGED.contains(&group.name) {
        return group;
    }
    group.folds.push(Arc::new(Sizes));
    Group { folds_version: group.folds_version + 1, ..group }
}

/// The group of a later release without the view. Before its events are opened its folds write the same rows as those before
/// them, so that both releases fold one generation.
pub fn with_rules(group: Group) -> Group {
    let later = |fold: Arc<dyn Fold>| -> Arc<dyn Fold> {
        let is_contest = fold.tables().first().is_some_and(|table| table.name == EDIT_CLAIMS);
        if is_contest { Arc::new(LaterRules(fold)) } else { fold }
    };
    Group { folds: group.folds.into_iter().map(later).collect(), reads: EVENTS, ..group }
}

/// The contest of edits, with the judges of both versions.
struct LaterRules(Arc<dyn Fold>);

impl Fold for LaterRules {
    fn tables(&self) -> Vec<&'static Table> {
        self.0.tables()
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        self.0.scope(record)
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        match &record.event {
            Event::PostsPrivate(Private::EditRequested(event)) if loses(event) => {
                self.0.apply(rows, &lost(record, event));
            }
            _ => self.0.apply(rows, record),
        }
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        self.0.effects(rows, record)
    }

    fn appends(&self) -> bool {
        self.0.appends()
    }
}

/// The record as one whose edit loses by the rules of the first version: it has no content.
pub fn lost(record: &Record, event: &EditRequested) -> Record {
    let event = Private::EditRequested(EditRequested { content: None, ..event.clone() });
    Record { event: event.into(), ..record.clone() }
}

/// Whether the rules that came with [`EVENTS`] let it lose.
fn loses(event: &EditRequested) -> bool {
    event.rules >= EVENTS && event.expected_revision == 0
}

impl Fold for Sizes {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SIZES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (post_id, _) = said(record)?;
        Some(Scope::new(&SIZES, Key::text(post_id)).with::<SizeRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, attributes)) = said(record) else { return };
        let count = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
        let (tags, mentions) = (count(attributes.tags.len()), count(attributes.mentioned_account_ids.len()));
        rows.put([], SizeRow { tags, mentions });
    }
}

fn said(record: &Record) -> Option<(&str, &PostAttributes)> {
    match &record.event {
        Event::Posts(Post::PostCreated(event)) => Some((&event.post_id, event.attributes.as_ref()?)),
        Event::Posts(Post::PostEdited(event)) => Some((&event.post_id, event.attributes.as_ref()?)),
        _ => None,
    }
}
