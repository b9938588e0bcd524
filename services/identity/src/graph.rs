//! Whom an account follows, asks to follow and blocks, by that account; the cut of a follow that had not seen a block or a removal;
//! and what follows from an answer to a request.

use std::sync::Arc;

use kith_fold::{Append, Cause, Effect, Fold, Record, Rows, Scope};
use kith_log::{RecordId, topics};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{FollowCut, FollowRequestEnded, Followed};
use kith_proto::{Event, time};
use kith_relations::edge::Change;
use kith_tables::{Column, Key, Order, Row, RowKey, RowType, Section, Table, row};
use sha2::{Digest, Sha256};

use crate::edge::{
    BlockedRow, EdgeRow, FollowedRow, RequestedRow, declines, of_other, recount, relist_block, relist_follow,
    relist_request,
};

pub static EDGES: Table = Table {
    name: "edges",
    partition: &[Column::text("actor_id")],
    clustering: &[Column::timestamp("at"), Column::text("target_id")],
    order: Order::Descending,
    sections: &[
        Section::of::<EdgeRow>("edge"),
        Section::of::<FollowedRow>("followed"),
        Section::of::<RequestedRow>("requested"),
        Section::of::<BlockedRow>("blocked"),
    ],
    summary: EdgesSummary::COLUMNS,
};

row! {
    /// How many an account follows and blocks.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EdgesSummary in 0 { pub following_count: i64, pub blocking_count: i64 }
}

/// Folds edges by actor.
///
/// A process manager from both sides: each has written its own row when it reads the other's from the store, so
/// whichever of a follow and a block, or a removal, comes second sees the first, and appends the cut; and so of a request and its
/// answer.
pub struct Edges;

impl Fold for Edges {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&EDGES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (actor, target) = about(record)?;
        Some(Scope::new(&EDGES, Key::text(actor)).with::<EdgeRow>(of_other(target)))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, target)) = about(record) else { return };
        let before = rows.get::<EdgeRow>(of_other(target)).unwrap_or_default();
        let mut after = before.clone();
        match Change::of(record) {
            Some(change) => after.evolve(&change, record),
            None => after.dismiss(record),
        }
        if after == before {
            return;
        }
        let summary: EdgesSummary = rows.summary();
        rows.set_summary(EdgesSummary {
            following_count: recount(summary.following_count, before.following, after.following),
            blocking_count: recount(summary.blocking_count, before.blocking, after.blocking),
        });
        relist_follow(rows, (&before, &after), target);
        relist_request(rows, (&before, &after), target);
        relist_block(rows, (&before, &after), target);
        rows.put(of_other(target), after);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(Change { actor, target, .. }) = Change::of(record) else { return Vec::new() };
        let Some(mine) = rows.get::<EdgeRow>(of_other(target)) else { return Vec::new() };
        let (actor, target, cause, offset) =
            (actor.to_owned(), target.to_owned(), record.cause(), record.position.offset);
        match &record.event {
            // A later one, or none that was applied, settles it instead.
            Event::Identity(Identity::Blocked(_) | Identity::FollowerRemoved(_))
                if mine.last_cut_offset() == Some(offset) =>
            {
                read_other_side(actor, target, move |theirs, actor, target| {
                    cut((target, theirs), (actor, &mine), cause.clone())
                })
            }
            Event::Identity(Identity::FollowRequestAnswered(_)) if mine.last_answer_offset() == Some(offset) => {
                read_other_side(actor, target, move |theirs, actor, target| {
                    settled((target, theirs), (actor, &mine), cause.clone())
                })
            }
            Event::Identity(Identity::Followed(_))
                if mine.following && u64::try_from(mine.follow_position) == Ok(offset) =>
            {
                read_other_side(actor, target, move |theirs, actor, target| {
                    cut((actor, &mine), (target, theirs), cause.clone())
                })
            }
            Event::Identity(Identity::FollowRequested(_))
                if mine.requested && u64::try_from(mine.asked_position) == Ok(offset) =>
            {
                read_other_side(actor, target, move |theirs, actor, target| {
                    let (mine, theirs) = ((actor, &mine), (target, theirs));
                    cut(mine, theirs, cause.clone()).or_else(|| settled(mine, theirs, cause.clone()))
                })
            }
            _ => Vec::new(),
        }
    }

    fn appends(&self) -> bool {
        true
    }
}

/// Who makes something of whom by the record: a follow, a block, or that it declined a suggestion.
fn about(record: &Record) -> Option<(&str, &str)> {
    Change::of(record).map(|change| (change.actor, change.target)).or_else(|| declines(record))
}

/// Reads what `target` is to `actor`, then gives what follows.
fn read_other_side<F>(actor: String, target: String, then: F) -> Vec<Effect>
where
    F: Fn(&EdgeRow, &str, &str) -> Option<Effect> + Send + Sync + 'static,
{
    let partition = Key::text(&target);
    let rows = vec![RowKey::of::<EdgeRow>(of_other(&actor))];
    let then = move |found: &[Option<Row>]| {
        let theirs = found.first().and_then(Option::as_ref).and_then(Row::read::<EdgeRow>);
        theirs.and_then(|theirs| then(&theirs, &actor, &target)).into_iter().collect()
    };
    vec![Effect::Read { table: &EDGES, partition, rows, then: Arc::new(then) }]
}

/// The cut of the follow, if the other's block or removal cuts it. The same from both sides. Once it is folded the follow is
/// gone, and there is nothing to cut.
fn cut(follow: (&str, &EdgeRow), block: (&str, &EdgeRow), cause: Cause) -> Option<Effect> {
    let ((follower, follow), (blocker, block)) = (follow, block);
    let block_offset = block.last_cut_offset().filter(|_| follow.is_cut_by(block))?;
    let event = Identity::FollowCut(FollowCut {
        follower_id: follower.to_owned(),
        target_id: blocker.to_owned(),
        block_offset,
        create_time: Some(time::of_us(block.cut_time.0)),
    });
    Some(Effect::append(Append {
        topic: topics::IDENTITY,
        key: follower.to_owned(),
        id: cut_id(follower, blocker, follow.begun_at(), block_offset),
        event: event.into(),
        cause,
    }))
}

/// What becomes of the request, if the other's answer answers it: a follow, or nothing. The same from both sides. Once it is folded
/// the request is gone, and there is nothing to settle. What is cut is no longer to be answered.
fn settled(request: (&str, &EdgeRow), answer: (&str, &EdgeRow), cause: Cause) -> Option<Effect> {
    let ((follower, request), (asked, answer)) = (request, answer);
    let is_due = request.is_answered_by(answer) && !request.is_cut_by(answer);
    let answer_offset = answer.last_answer_offset().filter(|_| is_due)?;
    let (follower_id, target_id) = (follower.to_owned(), asked.to_owned());
    let create_time = Some(time::of_us(answer.answer_time.0));
    let event = match answer.accepts {
        true => Identity::Followed(Followed {
            follower_id,
            target_id,
            shows_shares: request.shows_shares,
            notify: request.notify,
            create_time,
            // The answer is the last that it had seen: a block behind it cuts the follow.
            seen_target_offset: answer_offset.saturating_add(1),
            backfill_window_seconds: u32::try_from(request.backfill_window_seconds).unwrap_or_default(),
            request_offset: Some(u64::try_from(request.request_position).unwrap_or_default()),
        }),
        false => {
            Identity::FollowRequestEnded(FollowRequestEnded { follower_id, target_id, answer_offset, create_time })
        }
    };
    let named = format!(
        "kith.identity.follow-answer.v1 {follower} {asked} {} {answer_offset} {}",
        request.request_position, request.asked_position
    );
    Some(Effect::append(Append {
        topic: topics::IDENTITY,
        key: follower.to_owned(),
        id: named_id(&named),
        event: event.into(),
        cause,
    }))
}

/// One cut for a follow and a block, whichever side appends it, and however often.
fn cut_id(follower: &str, blocker: &str, follow_position: i64, block_offset: u64) -> RecordId {
    named_id(&format!("kith.identity.follow-cut.v1 {follower} {blocker} {follow_position} {block_offset}"))
}

fn named_id(named: &str) -> RecordId {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(named)[..16]);
    RecordId(id)
}
