//! What a record says of an account's reaction to a post or a comment, and how reactions are counted. Pure: the rules that
//! every fold of reactions goes by.

use kith_fold::Record;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Counts, Reacted, ReactionCount, ReactionKind, Subject, Unreacted};

use crate::are_ids;

/// The kinds and their names in the tables, in the order of the enum. A kind newer than this release is none of them; its
/// events change nothing here.
pub const KINDS: [(ReactionKind, &str); 6] = [
    (ReactionKind::Like, "like"),
    (ReactionKind::Love, "love"),
    (ReactionKind::Laugh, "laugh"),
    (ReactionKind::Wow, "wow"),
    (ReactionKind::Sad, "sad"),
    (ReactionKind::Support, "support"),
];

/// What a record makes of an account's reaction to a subject, unless it was applied to it before: the later one stands.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub subject: &'a Subject,
    pub actor_id: &'a str,
    /// `None`: it is taken back.
    pub kind: Option<ReactionKind>,
}

impl<'a> Change<'a> {
    /// `None`: the record is about no reaction, or about one of a kind that this release does not know, or its ids can be
    /// no keys. That of the comment may be empty: the post is meant.
    pub fn of(record: &'a Record) -> Option<Self> {
        let (subject, actor_id, kind) = match &record.event {
            Event::Engagement(Engagement::Reacted(Reacted { subject, actor_id, kind, .. })) => {
                (subject.as_ref()?, actor_id, Some(known(*kind)?))
            }
            Event::Engagement(Engagement::Unreacted(Unreacted { subject, actor_id, .. })) => {
                (subject.as_ref()?, actor_id, None)
            }
            _ => return None,
        };
        let Subject { post_id, comment_id } = subject;
        let named = are_ids(&[post_id, actor_id]) && (comment_id.is_empty() || are_ids(&[comment_id]));
        named.then_some(Self { subject, actor_id, kind })
    }
}

/// The kind of that number; `None` for no reaction and for one that this release does not know.
pub fn known(kind: i32) -> Option<ReactionKind> {
    ReactionKind::try_from(kind).ok().filter(|kind| *kind != ReactionKind::Unspecified)
}

/// Counts of all [`KINDS`], in their order, once an account's reaction is `to` and no longer `from`.
pub fn recount(counts: [&mut i64; KINDS.len()], from: Option<ReactionKind>, to: Option<ReactionKind>) {
    for ((kind, _), count) in KINDS.into_iter().zip(counts) {
        let more = i64::from(to == Some(kind)) - i64::from(from == Some(kind));
        *count = count.saturating_add(more);
    }
}

/// What stands around a subject, as callers see it. Kinds that nobody chose are left out.
pub fn present(reactions: [i64; KINDS.len()], comments: i64, shares: i64) -> Counts {
    let unsigned = |count| u64::try_from(count).unwrap_or(0);
    let by_kind = KINDS.into_iter().zip(reactions);
    let by_kind = by_kind.map(|((kind, _), count)| ReactionCount { kind: kind.into(), count: unsigned(count) });
    let reactions_by_kind: Vec<ReactionCount> = by_kind.filter(|one| one.count > 0).collect();
    Counts {
        reaction_count: reactions_by_kind.iter().map(|one| one.count).sum(),
        reactions_by_kind,
        comment_count: unsigned(comments),
        share_count: unsigned(shares),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_counts_where_it_is_and_no_longer_where_it_was() {
        let mut counts = [0, 0, 0, 0, 0, i64::MAX];
        let mut count = |from, to| recount(counts.each_mut(), from, to);
        count(None, Some(ReactionKind::Love));
        count(Some(ReactionKind::Love), Some(ReactionKind::Sad));
        count(None, Some(ReactionKind::Sad));
        count(Some(ReactionKind::Sad), Some(ReactionKind::Sad));
        count(Some(ReactionKind::Sad), None);
        count(None, Some(ReactionKind::Support));
        assert_eq!(counts, [0, 0, 0, 0, 1, i64::MAX]);
    }

    #[test]
    fn kinds_that_nobody_chose_are_left_out() {
        let counts = present([2, 0, 0, -1, 3, 0], 4, -5);
        let of = |kind: ReactionKind, count| ReactionCount { kind: kind.into(), count };
        assert_eq!(counts.reactions_by_kind, [of(ReactionKind::Like, 2), of(ReactionKind::Sad, 3)]);
        assert_eq!((counts.reaction_count, counts.comment_count, counts.share_count), (5, 4, 0));
    }

    #[test]
    fn every_kind_that_is_one_is_counted() {
        let kinds: Vec<ReactionKind> = (0..100).filter_map(known).collect();
        assert_eq!(kinds, KINDS.map(|(kind, _)| kind));
    }
}
