//! A later release, for tests of upgrades: the groups of posts and of feeds have one more view, of how many hashtags and
//! mentions each post has; and the projector hosts one more group, [`edits`].

pub mod edits;

use std::sync::Arc;

use kith_fold::{Fold, Generations, Group, Record, Rows, Scope};
use kith_proto::Event;
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

/// The groups that the later release changes.
pub const CHANGED: [&str; 2] = ["posts", "feeds"];

/// All groups, as the later release has them.
pub fn groups(groups: Vec<Group>) -> Vec<Group> {
    groups.into_iter().map(of).chain([edits::group(Generations::FIRST)]).collect()
}

/// The group as the later release has it: a changed one under the next version of its folds.
pub fn of(mut group: Group) -> Group {
    if !CHANGED.contains(&group.name) {
        return group;
    }
    group.folds.push(Arc::new(Sizes));
    Group { folds_version: group.folds_version + 1, ..group }
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
