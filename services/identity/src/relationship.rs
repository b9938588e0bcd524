//! What two accounts are to each other, and what one may make of it.

use kith_fold::{Found, State};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Blocked, Followed, Relationship, Unblocked, Unfollowed};
use kith_proto::time;
use kith_service::Failure;
use kith_tables::{Key, StoreError, Timestamp, Value};

use crate::edge::EdgeRow;
use crate::followers::FOLLOWERS;
use crate::graph::EDGES;

/// A command of one account about another.
#[derive(Debug, Clone)]
pub struct Command {
    pub id: RecordId,
    pub actor: RecordId,
    pub target: RecordId,
    pub wish: Wish,
    pub at: Timestamp,
}

/// What the actor wants to be to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Follow { shows_shares: bool, notify: bool, backfill_window_seconds: u32 },
    Unfollow,
    Block,
    Unblock,
}

/// What a decision looks at.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub pair: Pair,
    pub target_exists: bool,
    /// How many records of the target's partition are in `pair`, at least.
    pub seen_target_offset: u64,
}

/// Both edges between an account, "I", and another.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    pub mine: EdgeRow,
    /// The offset of the record that last changed it.
    pub mine_position: Option<u64>,
    pub theirs: EdgeRow,
    pub theirs_position: Option<u64>,
}

/// Why an account cannot have what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this cannot be done to oneself")]
    SelfNotAllowed,
    /// Also for an account that blocks the actor.
    #[error("account was not found")]
    AccountNotFound,
    #[error("the account is blocked: take back the block first")]
    Blocked,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SelfNotAllowed => Self::new(Reason::SelfNotAllowed, rejection.to_string()),
            Rejection::AccountNotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::Blocked => Self::new(Reason::Blocked, rejection.to_string()),
        }
    }
}

/// The event that the command makes; `None` when there is nothing to change, or the command was applied before.
pub fn decide(standing: &Standing, command: &Command) -> Result<Option<Identity>, Rejection> {
    let Standing { pair, target_exists, .. } = standing;
    let (mine, theirs) = (&pair.mine, &pair.theirs);
    let is_self = command.actor == command.target;
    if mine.applied.contains(command.id) {
        // A copy, as of every command: whatever stands between the two by now.
        return Ok(None);
    }
    match command.wish {
        Wish::Follow { .. } | Wish::Block if is_self => return Err(Rejection::SelfNotAllowed),
        Wish::Follow { .. } if !target_exists || theirs.blocking => return Err(Rejection::AccountNotFound),
        Wish::Block if !target_exists => return Err(Rejection::AccountNotFound),
        Wish::Follow { .. } if mine.blocking => return Err(Rejection::Blocked),
        Wish::Follow { .. } | Wish::Unfollow | Wish::Block | Wish::Unblock => {}
    }
    let in_effect = match command.wish {
        Wish::Follow { shows_shares, notify, .. } => {
            // A follow that is about to be cut is none: its actor now knows of the block, and that it is over.
            let stands = mine.following && !mine.is_cut_by(theirs);
            stands && (mine.shows_shares, mine.notify) == (shows_shares, notify)
        }
        Wish::Unfollow => !mine.following,
        Wish::Block => mine.blocking,
        Wish::Unblock => !mine.blocking,
    };
    Ok((!in_effect).then(|| event(command, standing.seen_target_offset)))
}

fn event(command: &Command, seen_target_offset: u64) -> Identity {
    let (actor, target_id) = (command.actor.to_string(), command.target.to_string());
    let create_time = Some(time::of_us(command.at.0));
    match command.wish {
        Wish::Follow { shows_shares, notify, backfill_window_seconds } => Identity::Followed(Followed {
            follower_id: actor,
            target_id,
            shows_shares,
            notify,
            create_time,
            seen_target_offset,
            backfill_window_seconds,
        }),
        Wish::Unfollow => Identity::Unfollowed(Unfollowed { follower_id: actor, target_id, create_time }),
        Wish::Block => Identity::Blocked(Blocked { actor_id: actor, target_id, create_time }),
        Wish::Unblock => Identity::Unblocked(Unblocked { actor_id: actor, target_id, create_time }),
    }
}

impl Standing {
    /// Reads what stands. The target's watermark comes first: what is read after it includes at least that much.
    pub async fn load(state: &State, actor: &str, target: &str) -> Result<Self, StoreError> {
        let partition = LogPartition::of_key(topics::IDENTITY, target, state.partition_count());
        let watermark = state.watermarks().next_offset(partition);
        let pair = pairs(state, actor, &[target]).await?.pop().unwrap_or_default();
        let target_exists = kith_relations::account::account(state, target).await?.is_some();
        // All that the target's partition says of the two up to their row's position is in the row.
        let seen_target_offset = watermark.max(pair.theirs_position.map_or(0, |offset| offset + 1));
        Ok(Self { pair, target_exists, seen_target_offset })
    }
}

/// What `actor` and each of `others`, at most a batch, are to each other; aligned with `others`.
pub async fn pairs(state: &State, actor: &str, others: &[&str]) -> Result<Vec<Pair>, StoreError> {
    let key = Key::text(actor);
    let clusterings = || others.iter().map(|&other| vec![Value::from(other)]);
    let mine = state.rows::<EdgeRow>(&EDGES, &key, clusterings()).await?;
    let theirs = state.rows::<EdgeRow>(&FOLLOWERS, &key, clusterings()).await?;
    Ok(mine.into_iter().zip(theirs).map(|(mine, theirs)| Pair::of(mine, theirs)).collect())
}

impl Pair {
    fn of(mine: Option<Found<EdgeRow>>, theirs: Option<Found<EdgeRow>>) -> Self {
        let (mine_position, mine) = mine.map_or_else(Default::default, |found| (Some(found.position), found.row));
        let (theirs_position, theirs) = theirs.map_or_else(Default::default, |found| (Some(found.position), found.row));
        Self { mine, mine_position, theirs, theirs_position }
    }

    /// Whether I may see the other in lists: a block either way hides each from the other.
    pub fn is_blocked(&self) -> bool {
        self.mine.blocking || self.theirs.blocking
    }

    /// Where the record that last changed my edge stands.
    pub fn position(&self, state: &State, actor: &str) -> Option<Position> {
        let partition = LogPartition::of_key(topics::IDENTITY, actor, state.partition_count());
        self.mine_position.map(|offset| Position { partition, offset })
    }

    /// As callers see it. A follow that cannot last is over.
    pub fn present(&self, target_id: String) -> Relationship {
        let (mine, theirs) = (&self.mine, &self.theirs);
        let following = mine.following && !mine.is_cut_by(theirs);
        let followed_by = theirs.following && !theirs.is_cut_by(mine);
        let since = |stands: bool, Timestamp(at)| stands.then(|| time::of_us(at));
        Relationship {
            target_id,
            following,
            shows_shares: following && mine.shows_shares,
            notify: following && mine.notify,
            follow_time: since(following, mine.follow_time),
            followed_by,
            followed_by_time: since(followed_by, theirs.follow_time),
            blocking: mine.blocking,
            block_time: since(mine.blocking, mine.block_time),
            blocked_by: theirs.blocking,
        }
    }
}

#[cfg(test)]
#[path = "tests/relationship.rs"]
mod tests;
