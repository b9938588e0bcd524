//! What two accounts are to each other, and what one may make of it.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Found, GRAPH_EVENTS, Record, State, Token};
use kith_log::{LogPartition, Position, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    BatchGetRelationshipsRequest, BatchGetRelationshipsResponse, BlockRequest, BlockResponse, Blocked, FollowRequest,
    FollowResponse, Followed, FollowerRemoved, Relationship, RemoveFollowerRequest, RemoveFollowerResponse,
    UnblockRequest, UnblockResponse, Unblocked, UnfollowRequest, UnfollowResponse, Unfollowed, rpc,
};
use kith_proto::time;
use kith_relations::away;
use kith_relations::edge::Change;
use kith_relations::mute::{MUTES, MuteRow, of_target};
use kith_relations::sight::Sight;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::Reads;
use kith_tables::{Key, StoreError, Timestamp};

use crate::edge::{EdgeRow, of_other};
use crate::followers::FOLLOWERS;
use crate::graph::EDGES;
use crate::{IdentityService, read};

/// A command of one account about another.
#[derive(Debug, Clone)]
pub struct Command {
    pub actor: String,
    pub target: String,
    pub wish: Wish,
}

/// What the actor wants to be to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Follow {
        shows_shares: bool,
        notify: bool,
        backfill_window_seconds: u32,
    },
    Unfollow,
    Block,
    Unblock,
    /// That the target follows the actor no longer.
    RemoveFollower,
}

/// What a decision looks at.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub pair: Pair,
    /// Also not while it is away.
    pub target_exists: bool,
    /// Whether the version of the events is open that has removals.
    pub is_open: bool,
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
    /// What I mute of the other.
    pub mute: MuteRow,
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
    #[error("operators have not opened the version of the events that has removed followers")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SelfNotAllowed => Self::new(Reason::SelfNotAllowed, rejection.to_string()),
            Rejection::AccountNotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::Blocked => Self::new(Reason::Blocked, rejection.to_string()),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
        }
    }
}

fn may(before: &Before, command: &Command) -> Result<(), Rejection> {
    let sight = before.pair.sight();
    match command.wish {
        Wish::Unfollow | Wish::Unblock => Ok(()),
        Wish::Follow { .. } | Wish::Block | Wish::RemoveFollower if command.actor == command.target => {
            Err(Rejection::SelfNotAllowed)
        }
        // Whoever is not there, or blocks the actor, does not follow it.
        Wish::RemoveFollower => Ok(()),
        Wish::Follow { .. } | Wish::Block if !before.target_exists => Err(Rejection::AccountNotFound),
        Wish::Follow { .. } if !sight.shows_account() => Err(Rejection::AccountNotFound),
        Wish::Follow { .. } if !sight.is_clear() => Err(Rejection::Blocked),
        Wish::Follow { .. } | Wish::Block => Ok(()),
    }
}

fn event(asked: &Asked, command: &Command, seen_target_offset: u64) -> Identity {
    let (actor, target_id) = (command.actor.clone(), command.target.clone());
    let create_time = Some(time::of_us(asked.at.0));
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
        Wish::RemoveFollower => {
            Identity::FollowerRemoved(FollowerRemoved { actor_id: actor, follower_id: target_id, create_time })
        }
    }
}

/// The RPCs about two accounts.
pub struct Relationships;

#[async_trait]
impl Noun for Relationships {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Identity;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY;

    fn key(command: &Command) -> &str {
        &command.actor
    }

    /// Whether there is a follow to end says the log under the follower's key.
    fn rests_also_on(command: &Command) -> Option<&str> {
        (command.wish == Wish::RemoveFollower).then_some(&command.target)
    }

    /// The target's watermark comes first: what is read after it includes at least that much.
    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, target) = (&seen.state, &*command.target);
        let partition = LogPartition::of_key(topics::IDENTITY, target, state.partition_count());
        let watermark = state.watermarks().next_offset(partition);
        let (pair, account) = try_join!(pair(state, command), read::found(state, target))?;
        // All that the target's partition says of the two up to their row's position is in the row.
        let seen_target_offset = watermark.max(pair.theirs_position.map_or(0, |offset| offset + 1));
        let created = account.as_ref().map(|found| found.row.create_time).unwrap_or_default();
        let newest = pair.mine.newest().max(pair.theirs.newest()).max(created);
        let rests_on = pair.mine_position;
        let is_open = seen.events_open() >= GRAPH_EVENTS;
        let target_exists = account.is_some_and(|found| !found.row.away);
        let before = Before { pair, target_exists, is_open, seen_target_offset };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The event that the command makes; `None` when there is nothing to change, or the command was applied before: a copy
    /// is no news, whatever stands between the two by now.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Identity>, Rejection> {
        let Pair { mine, theirs, .. } = &before.pair;
        if mine.applied.contains(asked.id) {
            return Ok(None);
        }
        may(before, command)?;
        let in_effect = match command.wish {
            Wish::Follow { shows_shares, notify, .. } => {
                // A follow that is about to be cut is none: its actor now knows of the block, and that it is over.
                let stands = mine.following && !mine.is_cut_by(theirs);
                stands && (mine.shows_shares, mine.notify) == (shows_shares, notify)
            }
            Wish::Unfollow => !mine.following,
            Wish::Block => mine.blocking,
            Wish::Unblock => !mine.blocking,
            Wish::RemoveFollower => !theirs.following || theirs.is_cut_by(mine),
        };
        if !in_effect && !before.is_open && command.wish == Wish::RemoveFollower {
            return Err(Rejection::EventsNotOpen);
        }
        Ok((!in_effect).then(|| event(asked, command, before.seen_target_offset)))
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            before.pair.mine.evolve(&change, record);
        }
    }
}

impl Command {
    fn parse(asked: &Asked, target_id: String, wish: Wish) -> Result<Self, Failure> {
        parse_id("target_id", &target_id)?;
        Ok(Self { actor: asked.actor.clone(), target: target_id, wish })
    }
}

impl Answers<rpc::Follow> for Relationships {
    fn parse(service: &IdentityService, asked: &Asked, request: FollowRequest) -> Result<Command, Failure> {
        let FollowRequest { target_id, shows_shares, notify, .. } = request;
        let backfill_window_seconds = service.shared.backfill_window_seconds;
        Command::parse(asked, target_id, Wish::Follow { shows_shares, notify, backfill_window_seconds })
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<FollowResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(FollowResponse { relationship, ..FollowResponse::default() })
    }
}

impl Answers<rpc::Unfollow> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: UnfollowRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Unfollow)
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<UnfollowResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(UnfollowResponse { relationship, ..UnfollowResponse::default() })
    }
}

impl Answers<rpc::Unblock> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: UnblockRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Unblock)
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<UnblockResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(UnblockResponse { relationship, ..UnblockResponse::default() })
    }
}

/// A block cannot lose; but as a contest it is answered only when what follows from it is there.
impl Contests<rpc::Block> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: BlockRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Block)
    }
}

/// The same of a removal.
impl Contests<rpc::RemoveFollower> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: RemoveFollowerRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::RemoveFollower)
    }
}

#[async_trait]
impl Settles<rpc::Block> for Relationships {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<BlockResponse>, Unknown> {
        let (relationship, follows) = until_cut(seen, command).await?;
        let relationship = Some(relationship);
        Ok(Verdict::Won(BlockResponse { relationship, ..BlockResponse::default() }, follows))
    }
}

#[async_trait]
impl Settles<rpc::RemoveFollower> for Relationships {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<RemoveFollowerResponse>, Unknown> {
        let (relationship, follows) = until_cut(seen, command).await?;
        let relationship = Some(relationship);
        Ok(Verdict::Won(RemoveFollowerResponse { relationship, ..RemoveFollowerResponse::default() }, follows))
    }
}

/// Waits until the target's follow of the actor, if the log has one that the command's record cuts, is cut; gives what the two are
/// to each other then, and the places that say so.
async fn until_cut(seen: &Seen<'_>, command: &Command) -> Result<(Relationship, Token), Unknown> {
    let (state, target) = (&seen.state, &*command.target);
    // A follow that was answered before is in the log; it need not be folded yet.
    let last = seen.last(topics::IDENTITY, target, seen.deadline).await;
    let last = last.map_err(|failure| Unknown::because(&failure))?;
    let mut follows: Token = last.into_iter().collect();
    state.at_least(&follows, seen.deadline.at()).await?;
    let look = || async { Ok(Some(pair(state, command).await?).filter(|pair| !pair.theirs.is_cut_by(&pair.mine))) };
    let pair = state.until((topics::IDENTITY, target), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::IDENTITY, target, state.partition_count());
    pair.theirs_position.into_iter().for_each(|offset| follows.add(Position { partition, offset }));
    Ok((pair.present(target.to_owned(), seen.now()), follows))
}

#[async_trait]
impl Reads<rpc::BatchGetRelationships> for Relationships {
    type Service = IdentityService;
    type Wanted = Vec<String>;

    fn parse(request: BatchGetRelationshipsRequest) -> Result<Vec<String>, Failure> {
        read::parse_ids("target_ids", request.target_ids)
    }

    async fn read(
        _: &IdentityService,
        seen: &Seen<'_>,
        target_ids: Vec<String>,
    ) -> Result<BatchGetRelationshipsResponse, Failure> {
        let others: Vec<&str> = target_ids.iter().map(String::as_str).collect();
        let (pairs, away) =
            try_join!(pairs(&seen.state, &seen.viewer, &others), away::among(&seen.state, others.iter().copied()),)?;
        let now = seen.now();
        let one = |(pair, id): (&Pair, String)| match away.contains(&id) {
            true => Relationship { target_id: id, ..Relationship::default() },
            false => pair.present(id, now),
        };
        let relationships = pairs.iter().zip(target_ids).map(one).collect();
        Ok(BatchGetRelationshipsResponse { relationships, ..BatchGetRelationshipsResponse::default() })
    }
}

/// What the command's actor and target are to each other.
async fn pair(state: &State, command: &Command) -> Result<Pair, StoreError> {
    Ok(pairs(state, &command.actor, &[&command.target]).await?.pop().unwrap_or_default())
}

/// What `actor` and each of `others`, at most a batch, are to each other; aligned with `others`.
pub async fn pairs(state: &State, actor: &str, others: &[&str]) -> Result<Vec<Pair>, StoreError> {
    let key = Key::text(actor);
    let clusterings = || others.iter().map(|&other| of_other(other).to_vec());
    let mine = state.rows::<EdgeRow>(&EDGES, &key, clusterings());
    let theirs = state.rows::<EdgeRow>(&FOLLOWERS, &key, clusterings());
    let mutes = state.rows::<MuteRow>(&MUTES, &key, others.iter().map(|&other| of_target(other).to_vec()));
    let (mine, theirs, mutes) = try_join!(mine, theirs, mutes)?;
    let edges = mine.into_iter().zip(theirs);
    Ok(edges.zip(mutes).map(|((mine, theirs), mute)| Pair::of(mine, theirs, mute)).collect())
}

impl Before {
    /// As callers see it: nothing of an account that is not there.
    fn present(&self, target_id: String, now: Timestamp) -> Relationship {
        match self.target_exists {
            true => self.pair.present(target_id, now),
            false => Relationship { target_id, ..Relationship::default() },
        }
    }
}

impl Pair {
    fn of(mine: Option<Found<EdgeRow>>, theirs: Option<Found<EdgeRow>>, mute: Option<Found<MuteRow>>) -> Self {
        let (mine_position, mine) = mine.map_or_else(Default::default, |found| (Some(found.position), found.row));
        let (theirs_position, theirs) = theirs.map_or_else(Default::default, |found| (Some(found.position), found.row));
        let mute = mute.map(|found| found.row).unwrap_or_default();
        Self { mine, mine_position, theirs, theirs_position, mute }
    }

    /// How I see the other, by the rows that also say how much of the other's partition was seen: a block that another
    /// table does not have yet would count as seen.
    pub fn sight(&self) -> Sight {
        Sight::of(self.mine.blocking, self.theirs.blocking)
    }

    /// As callers see it at that time. A follow that cannot last is over; of whoever blocks me I see what I did alone.
    pub fn present(&self, target_id: String, now: Timestamp) -> Relationship {
        let (mine, theirs) = (&self.mine, &self.theirs);
        let mute = Some(&self.mute).filter(|mute| mute.is_in_effect(now));
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
            blocked_by: false,
            muting: mute.is_some(),
            mute_scopes: mute.map(MuteRow::scopes),
            mute_time: mute.map(|mute| time::of_us(mute.mute_time.0)),
            mute_end_time: mute.and_then(MuteRow::ends_us).map(time::of_us),
        }
    }
}

#[cfg(test)]
#[path = "tests/relationship.rs"]
mod tests;
