//! The commands about two accounts whose answer waits for what follows from them under the other's key: blocks, removals of followers,
//! answers to requests to follow.

use async_trait::async_trait;
use kith_fold::Token;
use kith_log::{LogPartition, Position, topics};
use kith_proto::identity::v1::{
    AcceptFollowRequest, AcceptFollowResponse, BlockRequest, BlockResponse, RejectFollowRequest, RejectFollowResponse,
    Relationship, RemoveFollowerRequest, RemoveFollowerResponse, rpc,
};
use kith_service::Failure;
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::kit::Seen;

use crate::IdentityService;
use crate::pair::{Pair, pair};
use crate::relationship::{Command, Rejection, Relationships, Wish};

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

/// An answer is told once what follows from it is there.
impl Contests<rpc::AcceptFollow> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: AcceptFollowRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Answer { accepts: true })
    }
}

impl Contests<rpc::RejectFollow> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: RejectFollowRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Answer { accepts: false })
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

#[async_trait]
impl Settles<rpc::AcceptFollow> for Relationships {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<AcceptFollowResponse>, Unknown> {
        let (relationship, follows) = until_cut(seen, command).await?;
        if !relationship.followed_by {
            // It was taken back meanwhile, or the account is private no more and was followed without, and unfollowed.
            return Ok(Verdict::Lost(Rejection::NoRequest.into()));
        }
        let relationship = Some(relationship);
        Ok(Verdict::Won(AcceptFollowResponse { relationship, ..AcceptFollowResponse::default() }, follows))
    }
}

#[async_trait]
impl Settles<rpc::RejectFollow> for Relationships {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<RejectFollowResponse>, Unknown> {
        let (relationship, follows) = until_cut(seen, command).await?;
        let relationship = Some(relationship);
        Ok(Verdict::Won(RejectFollowResponse { relationship, ..RejectFollowResponse::default() }, follows))
    }
}

/// Waits until the target's follow of the actor, if the log has one that the command's record cuts, is cut, and its request, if that is
/// answered, has become a follow or nothing; gives what the two are to each other then, and the places that say so.
async fn until_cut(seen: &Seen<'_>, command: &Command) -> Result<(Relationship, Token), Unknown> {
    let (state, target) = (&seen.state, &*command.target);
    // A follow that was answered before is in the log; it need not be folded yet.
    let last = seen.last(topics::IDENTITY, target, seen.deadline).await;
    let last = last.map_err(|failure| Unknown::because(&failure))?;
    let mut follows: Token = last.into_iter().collect();
    state.at_least(&follows, seen.deadline.at()).await?;
    let is_settled = |pair: &Pair| !pair.theirs.is_cut_by(&pair.mine) && !pair.theirs.is_answered_by(&pair.mine);
    let look = || async { Ok(Some(pair(state, &command.actor, target).await?).filter(is_settled)) };
    let pair = state.until((topics::IDENTITY, target), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::IDENTITY, target, state.partition_count());
    pair.theirs_position.into_iter().for_each(|offset| follows.add(Position { partition, offset }));
    Ok((pair.present(target.to_owned(), seen.now()), follows))
}
