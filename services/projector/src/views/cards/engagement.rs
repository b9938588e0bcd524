//! What stands around a post, as its card shows it. What concerns its comments is no part of it, but for their number.

use kith_fold::{AppliedIds, Fold, Record, Rows, Scope};
use kith_log::RecordId;
use kith_proto::engagement::v1::{CommentCreated, Counts, ReactionKind, ViewerState};
use kith_relations::hold::Held;
use kith_relations::reaction::{self, KINDS};
use kith_relations::{comment, share};
use kith_tables::{Key, Table, row};

use super::CARDS;

row! {
    /// What one account did about the post.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ActorRow in 1 {
        /// A `ReactionKind`; 0: no reaction.
        pub reaction: i64,
        pub shared: bool,
        /// The share that stands, or stood last.
        pub share_id: String,
        /// As engagement keeps them: of reactions and of shares apart, or a late copy that one of the two forgot would
        /// be told by the other.
        pub applied_reactions: AppliedIds,
        pub applied_shares: AppliedIds,
    }
}
row! {
    /// That a comment has been counted.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct CommentRow in 2 { pub counted: bool }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EngagementSummary in 0 {
        pub like_count: i64,
        pub love_count: i64,
        pub laugh_count: i64,
        pub wow_count: i64,
        pub sad_count: i64,
        pub support_count: i64,
        pub comment_count: i64,
        pub share_count: i64,
    }
}

/// Folds what stands around posts.
pub struct CardEngagement;

/// What a record does about a post.
enum Change<'a> {
    Reaction(reaction::Change<'a>),
    Share(share::Change<'a>),
    Comment(&'a CommentCreated),
}

impl<'a> Change<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let reaction = reaction::Change::of(record).filter(|change| change.subject.comment_id.is_empty());
        let share = || share::change(record).map(Self::Share);
        let comment = || comment::created(record).map(Self::Comment);
        reaction.map(Self::Reaction).or_else(share).or_else(comment)
    }
}

impl Fold for CardEngagement {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CARDS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let scope = |post_id: &str| Scope::new(&CARDS, Key::text(post_id));
        Some(match Change::of(record)? {
            Change::Reaction(change) => scope(&change.subject.post_id).with::<ActorRow>([change.actor_id.into()]),
            Change::Share(change) => scope(change.post_id).with::<ActorRow>([change.actor_id.into()]),
            Change::Comment(event) => {
                let scope = scope(&event.post_id).with::<CommentRow>([event.comment_id.as_str().into()]);
                match &*event.parent_comment_id {
                    "" => scope,
                    parent => scope.with::<CommentRow>([parent.into()]),
                }
            }
        })
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        match Change::of(record) {
            Some(Change::Reaction(change)) => act(rows, change.actor_id, |row| row.react(&change, record.id)),
            Some(Change::Share(change)) => act(rows, change.actor_id, |row| row.share(&change, record.id)),
            Some(Change::Comment(event)) => count_comment(rows, event),
            None => {}
        }
    }
}

/// Changes what an account did about the post, and the counts with it; where `change` says false, nothing.
fn act(rows: &mut Rows, actor_id: &str, change: impl FnOnce(&mut ActorRow) -> bool) {
    let before = rows.get::<ActorRow>([actor_id.into()]).unwrap_or_default();
    let mut row = before.clone();
    if change(&mut row) {
        rows.set_summary(rows.summary::<EngagementSummary>().after(&before, &row));
        rows.put([actor_id.into()], row);
    }
}

/// A reply to what is not there is none, as for engagement, whose numbers these are.
fn count_comment(rows: &mut Rows, event: &CommentCreated) {
    let (comment, parent) = (&*event.comment_id, &*event.parent_comment_id);
    let counted = |id: &str| rows.get::<CommentRow>([id.into()]).is_some();
    if !counted(comment) && (parent.is_empty() || counted(parent)) {
        let summary = rows.summary::<EngagementSummary>();
        rows.put([comment.into()], CommentRow { counted: true });
        rows.set_summary(EngagementSummary { comment_count: summary.comment_count + 1, ..summary });
    }
}

impl ActorRow {
    /// False: the record was applied before.
    fn react(&mut self, change: &reaction::Change<'_>, id: RecordId) -> bool {
        let is_new = self.applied_reactions.insert(id);
        if is_new {
            self.reaction = change.kind.map_or(0, |kind| i64::from(i32::from(kind)));
        }
        is_new
    }

    /// False: the record was applied before.
    fn share(&mut self, change: &share::Change<'_>, id: RecordId) -> bool {
        let Self { shared, share_id, applied_shares, .. } = self;
        change.turn(Held { stands: shared, id: share_id, applied: applied_shares }, id).is_some()
    }

    /// What the account did, as it is told.
    pub fn present(&self) -> ViewerState {
        ViewerState { reaction: self.kind().unwrap_or_default().into(), shared: self.shared }
    }

    /// `None`: no reaction.
    fn kind(&self) -> Option<ReactionKind> {
        i32::try_from(self.reaction).ok().and_then(reaction::known)
    }
}

impl EngagementSummary {
    fn after(mut self, before: &ActorRow, after: &ActorRow) -> Self {
        reaction::recount(self.by_kind(), before.kind(), after.kind());
        self.share_count += i64::from(after.shared) - i64::from(before.shared);
        self
    }

    fn by_kind(&mut self) -> [&mut i64; KINDS.len()] {
        let Self { like_count, love_count, laugh_count, wow_count, sad_count, support_count, .. } = self;
        [like_count, love_count, laugh_count, wow_count, sad_count, support_count]
    }

    /// The counts as callers see them.
    pub fn present(&self) -> Counts {
        let reactions = self.clone().by_kind().map(|count| *count);
        reaction::present(reactions, self.comment_count, self.share_count)
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, topics};
    use kith_proto::engagement::v1::engagement_event::Event;
    use kith_proto::engagement::v1::{Reacted, ReactionCount, Shared, Subject, Unreacted, Unshared};

    use super::*;

    /// What an account did about the post, by events with ids of their own.
    fn after(events: Vec<Event>) -> (ActorRow, Counts) {
        let (mut row, mut summary) = (ActorRow::default(), EngagementSummary::default());
        for (event, n) in events.into_iter().zip(1..) {
            let before = row.clone();
            let position = Position { partition: LogPartition { topic: topics::ENGAGEMENT, index: 0 }, offset: 0 };
            let record = Record::new(position, RecordId([n; 16]), event);
            match Change::of(&record) {
                Some(Change::Reaction(change)) => assert!(row.react(&change, record.id)),
                Some(Change::Share(change)) => assert!(row.share(&change, record.id)),
                Some(Change::Comment(_)) | None => panic!("nothing that an account did: {record:?}"),
            }
            summary = summary.after(&before, &row);
        }
        (row, summary.present())
    }

    fn hex(n: u8) -> String {
        RecordId([n; 16]).to_string()
    }

    fn react(kind: ReactionKind) -> Event {
        let subject = Some(Subject { post_id: hex(1), comment_id: String::new() });
        Event::Reacted(Reacted { subject, actor_id: hex(2), kind: kind.into(), ..Reacted::default() })
    }

    fn unreact() -> Event {
        let subject = Some(Subject { post_id: hex(1), comment_id: String::new() });
        Event::Unreacted(Unreacted { subject, actor_id: hex(2), create_time: None })
    }

    fn share(n: u8) -> Event {
        Event::Shared(Shared { share_id: hex(n), post_id: hex(1), actor_id: hex(2), ..Shared::default() })
    }

    fn unshare(n: u8) -> Event {
        Event::Unshared(Unshared { share_id: hex(n), post_id: hex(1), actor_id: hex(2), create_time: None })
    }

    #[test]
    fn a_new_reaction_replaces_the_old_one() {
        let (row, counts) = after(vec![react(ReactionKind::Like), react(ReactionKind::Sad)]);
        assert_eq!(row.present().reaction(), ReactionKind::Sad);
        assert_eq!(counts.reactions_by_kind, [ReactionCount { kind: ReactionKind::Sad.into(), count: 1 }]);
        let (row, counts) = after(vec![react(ReactionKind::Like), unreact(), unreact()]);
        assert_eq!((row.present(), counts), (ViewerState::default(), Counts::default()));
    }

    #[test]
    fn one_share_stands_at_a_time_and_only_its_own_end_ends_it() {
        let (row, counts) = after(vec![share(1), share(2), unshare(2)]);
        assert_eq!((row.shared, &row.share_id, counts.share_count), (true, &hex(1), 1));
        let (row, counts) = after(vec![share(1), unshare(1), share(2)]);
        assert_eq!((row.shared, &row.share_id, counts.share_count), (true, &hex(2), 1));
        let (row, counts) = after(vec![share(1), unshare(1), unshare(1)]);
        assert_eq!((row.shared, counts.share_count), (false, 0));
    }
}
