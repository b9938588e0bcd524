//! What stands around a post, as its card shows it. What concerns its comments is no part of it, but for their number.

use kith_fold::{AppliedIds, Fold, Record, Rows, Scope};
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Counts, ReactionCount, ReactionKind, ViewerState};
use kith_tables::{Key, Table, row};

use super::CARDS;
use crate::views::are_ids;

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
struct Change<'a> {
    post_id: &'a str,
    step: Step<'a>,
}

enum Step<'a> {
    Actor(&'a str, Act<'a>),
    /// The comment; what it replies to, if not to the post.
    Comment(&'a str, Option<&'a str>),
}

enum Act<'a> {
    React(ReactionKind),
    Unreact,
    Share(&'a str),
    Unshare(&'a str),
}

impl<'a> Change<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let Event::Engagement(event) = &record.event else { return None };
        let (post_id, id, step) = match event {
            Engagement::Reacted(event) => {
                let kind = ReactionKind::try_from(event.kind).ok().filter(|kind| *kind != ReactionKind::Unspecified)?;
                let subject = event.subject.as_ref().filter(|subject| subject.comment_id.is_empty())?;
                (&*subject.post_id, &*event.actor_id, Step::Actor(&event.actor_id, Act::React(kind)))
            }
            Engagement::Unreacted(event) => {
                let subject = event.subject.as_ref().filter(|subject| subject.comment_id.is_empty())?;
                (&*subject.post_id, &*event.actor_id, Step::Actor(&event.actor_id, Act::Unreact))
            }
            Engagement::CommentCreated(event) => {
                let parent = Some(&*event.parent_comment_id).filter(|parent| !parent.is_empty());
                if !are_ids(&[&event.author_id]) || !parent.is_none_or(|parent| are_ids(&[parent])) {
                    return None;
                }
                (&*event.post_id, &*event.comment_id, Step::Comment(&event.comment_id, parent))
            }
            Engagement::Shared(event) if are_ids(&[&event.share_id]) => {
                (&*event.post_id, &*event.actor_id, Step::Actor(&event.actor_id, Act::Share(&event.share_id)))
            }
            Engagement::Unshared(event) if are_ids(&[&event.share_id]) => {
                (&*event.post_id, &*event.actor_id, Step::Actor(&event.actor_id, Act::Unshare(&event.share_id)))
            }
            _ => return None,
        };
        are_ids(&[post_id, id]).then_some(Self { post_id, step })
    }
}

impl Fold for CardEngagement {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CARDS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        let scope = Scope::new(&CARDS, Key::text(change.post_id));
        Some(match change.step {
            Step::Actor(actor, _) => scope.with::<ActorRow>([actor.into()]),
            Step::Comment(comment, None) => scope.with::<CommentRow>([comment.into()]),
            Step::Comment(comment, Some(parent)) => {
                scope.with::<CommentRow>([comment.into()]).with::<CommentRow>([parent.into()])
            }
        })
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let summary = rows.summary::<EngagementSummary>();
        match change.step {
            Step::Actor(actor, act) => {
                let before = rows.get::<ActorRow>([actor.into()]).unwrap_or_default();
                let mut row = before.clone();
                if row.applied(&act).insert(record.id) {
                    row.evolve(&act);
                    rows.set_summary(summary.after(&before, &row));
                    rows.put([actor.into()], row);
                }
            }
            // A reply to what is not there is none, as for engagement, whose numbers these are.
            Step::Comment(comment, parent) => {
                let counted = |id: &str| rows.get::<CommentRow>([id.into()]).is_some();
                if !counted(comment) && parent.is_none_or(counted) {
                    rows.put([comment.into()], CommentRow { counted: true });
                    rows.set_summary(EngagementSummary { comment_count: summary.comment_count + 1, ..summary });
                }
            }
        }
    }
}

impl ActorRow {
    /// One share an account: the first stands until it is taken back.
    fn evolve(&mut self, act: &Act<'_>) {
        match act {
            Act::React(kind) => self.reaction = i64::from(i32::from(*kind)),
            Act::Unreact => self.reaction = 0,
            Act::Share(share_id) if !self.shared => {
                self.shared = true;
                self.share_id = (*share_id).to_owned();
            }
            Act::Unshare(share_id) if self.share_id == *share_id => self.shared = false,
            Act::Share(_) | Act::Unshare(_) => {}
        }
    }

    fn applied(&mut self, act: &Act<'_>) -> &mut AppliedIds {
        match act {
            Act::React(_) | Act::Unreact => &mut self.applied_reactions,
            Act::Share(_) | Act::Unshare(_) => &mut self.applied_shares,
        }
    }

    /// What the account did, as it is told.
    pub fn present(&self) -> ViewerState {
        ViewerState { reaction: self.kind().into(), shared: self.shared }
    }

    fn kind(&self) -> ReactionKind {
        i32::try_from(self.reaction).ok().and_then(|kind| ReactionKind::try_from(kind).ok()).unwrap_or_default()
    }
}

impl EngagementSummary {
    fn after(mut self, before: &ActorRow, after: &ActorRow) -> Self {
        for (row, by) in [(before, -1), (after, 1)] {
            if let Some(count) = self.of_kind(row.kind()) {
                *count += by;
            }
            self.share_count += by * i64::from(row.shared);
        }
        self
    }

    fn of_kind(&mut self, kind: ReactionKind) -> Option<&mut i64> {
        match kind {
            ReactionKind::Unspecified => None,
            ReactionKind::Like => Some(&mut self.like_count),
            ReactionKind::Love => Some(&mut self.love_count),
            ReactionKind::Laugh => Some(&mut self.laugh_count),
            ReactionKind::Wow => Some(&mut self.wow_count),
            ReactionKind::Sad => Some(&mut self.sad_count),
            ReactionKind::Support => Some(&mut self.support_count),
        }
    }

    /// The counts as callers see them.
    pub fn present(&self) -> Counts {
        let by_kind = [
            (ReactionKind::Like, self.like_count),
            (ReactionKind::Love, self.love_count),
            (ReactionKind::Laugh, self.laugh_count),
            (ReactionKind::Wow, self.wow_count),
            (ReactionKind::Sad, self.sad_count),
            (ReactionKind::Support, self.support_count),
        ];
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let some = by_kind.iter().filter(|(_, count)| *count > 0);
        Counts {
            reactions_by_kind: some
                .map(|&(kind, count)| ReactionCount { kind: kind.into(), count: unsigned(count) })
                .collect(),
            reaction_count: by_kind.iter().map(|(_, count)| unsigned(*count)).sum(),
            comment_count: unsigned(self.comment_count),
            share_count: unsigned(self.share_count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(acts: &[Act<'_>]) -> (ActorRow, Counts) {
        let (mut row, mut summary) = (ActorRow::default(), EngagementSummary::default());
        for act in acts {
            let before = row.clone();
            row.evolve(act);
            summary = summary.after(&before, &row);
        }
        (row, summary.present())
    }

    #[test]
    fn a_new_reaction_replaces_the_old_one() {
        let (row, counts) = after(&[Act::React(ReactionKind::Like), Act::React(ReactionKind::Sad)]);
        assert_eq!(row.present().reaction(), ReactionKind::Sad);
        assert_eq!(counts.reactions_by_kind, [ReactionCount { kind: ReactionKind::Sad.into(), count: 1 }]);
        let (row, counts) = after(&[Act::React(ReactionKind::Like), Act::Unreact, Act::Unreact]);
        assert_eq!((row.present(), counts), (ViewerState::default(), Counts::default()));
    }

    #[test]
    fn one_share_stands_at_a_time_and_only_its_own_end_ends_it() {
        let (row, counts) = after(&[Act::Share("s1"), Act::Share("s2"), Act::Unshare("s2")]);
        assert_eq!((row.shared, &*row.share_id, counts.share_count), (true, "s1", 1));
        let (row, counts) = after(&[Act::Share("s1"), Act::Unshare("s1"), Act::Share("s2")]);
        assert_eq!((row.shared, &*row.share_id, counts.share_count), (true, "s2", 1));
        let (row, counts) = after(&[Act::Share("s1"), Act::Unshare("s1"), Act::Unshare("s1")]);
        assert_eq!((row.shared, counts.share_count), (false, 0));
    }
}
