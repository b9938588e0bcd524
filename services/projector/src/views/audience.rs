//! An author's audience: the table `followers`, and the walk over it that both sides of the home feed's join make.

use std::sync::Arc;

use kith_fold::{Effect, Unless, Walk};
use kith_tables::{Column, Key, Order, Row, RowKey, RowRange, RowType, Section, Table, Value, row};

use super::follows::FollowRow;

pub static FOLLOWERS: Table = Table {
    name: "followers",
    partition: &[Column::text("target_id")],
    clustering: &[Column::text("follower_id")],
    order: Order::Ascending,
    sections: &[Section::of::<FollowRow>("follower"), Section::of::<FlagRow>("flag")],
    summary: FollowersSummary::COLUMNS,
};

row! {
    /// That the author's posts are not pushed any more. One row a target, under the empty follower, the same whoever
    /// writes it: so at position 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FlagRow in 1 { pub pulled: bool }
}
row! {
    /// Of the followers whose log partition this is.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FollowersSummary in 0 { pub follower_count: i64, pub highest_count: i64 }
}

/// For each follower of the author that follows now, as the author's posts are pushed: unless they are pulled. The flag
/// is read beside the first followers, not before them: one that is not seen yet costs rows that are pulled as well.
pub(super) fn unless_pulled(author: &str, then: impl Fn(&str) -> Vec<Effect> + Send + Sync + 'static) -> Effect {
    let unless = Unless { row: flag_key(), holds: is_flagged };
    each_follower(author, Some(unless), move |follower, _| then(follower))
}

pub(super) fn each_follower(
    author: &str,
    unless: Option<Unless>,
    then: impl Fn(&str, &FollowRow) -> Vec<Effect> + Send + Sync + 'static,
) -> Effect {
    let each = move |row: &Row| match (row.key.clustering.first(), row.read::<FollowRow>()) {
        (Some(Value::Text(follower)), Some(follow)) if follow.following => Some(then(follower, &follow)),
        _ => Some(Vec::new()),
    };
    let (partition, range) = (Key::text(author), RowRange::all::<FollowRow>());
    Effect::ForEach(Box::new(Walk { table: &FOLLOWERS, partition, range, unless, then: Arc::new(each) }))
}

pub(super) fn flag_key() -> RowKey {
    RowKey::of::<FlagRow>(["".into()])
}

pub(super) fn is_flagged(row: &Row) -> bool {
    row.read::<FlagRow>().is_some_and(|flag| flag.pulled)
}

impl FollowersSummary {
    /// After a follow began (`following`), or ended.
    pub(super) fn after(self, following: bool) -> Self {
        let follower_count = self.follower_count + if following { 1 } else { -1 };
        Self { follower_count, highest_count: self.highest_count.max(follower_count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_count_never_falls() {
        let steps = [true, true, false, false, true];
        let summary = steps.into_iter().fold(FollowersSummary::default(), FollowersSummary::after);
        assert_eq!(summary, FollowersSummary { follower_count: 1, highest_count: 2 });
    }
}
