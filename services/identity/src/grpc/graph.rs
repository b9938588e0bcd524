use kith_fold::{Found, State, Token};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::identity::v1::graph_service_server::GraphService;
use kith_proto::identity::v1::{
    BatchGetRelationshipsRequest, BatchGetRelationshipsResponse, BlockRequest, BlockResponse, FollowEntry,
    FollowRequest, FollowResponse, ListFollowersRequest, ListFollowersResponse, ListFollowingRequest,
    ListFollowingResponse, Relationship, UnblockRequest, UnblockResponse, UnfollowRequest, UnfollowResponse,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::auth::caller;
use kith_service::deadline::{Deadline, deadline};
use kith_service::ids::{RequestId, parse_id, payload_digest, record_id};
use kith_service::kit::{self, Seen};
use kith_service::page_token::page_size;
use kith_tables::{Key, Table, Timestamp};
use tonic::{Request, Response, Status, async_trait};

use super::account::{parse_ids, visible};
use super::{IdentityService, after_append};
use crate::account;
use crate::edge::EdgeRow;
use crate::followers::{self, FOLLOWERS};
use crate::graph::EDGES;
use crate::relationship::{Command, Pair, Standing, Wish, decide, pairs};

#[async_trait]
impl GraphService for IdentityService {
    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<FollowResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let FollowRequest { target_id, shows_shares, notify, request_id, at_least } = request.into_inner();
        let backfill_window_seconds = self.shared.backfill_window_seconds;
        let wish = Wish::Follow { shows_shares, notify, backfill_window_seconds };
        let asked = Asked { actor: caller.account_id, target_id, request_id, at_least, wish, deadline };
        let (relationship, consistency_token) = self.kit().candid(self.change(asked), |_| {}).await?;
        Ok(Response::new(FollowResponse { relationship: Some(relationship), consistency_token }))
    }

    async fn unfollow(&self, request: Request<UnfollowRequest>) -> Result<Response<UnfollowResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let UnfollowRequest { target_id, request_id, at_least } = request.into_inner();
        let asked = Asked { actor: caller.account_id, target_id, request_id, at_least, wish: Wish::Unfollow, deadline };
        let (relationship, consistency_token) = self.kit().candid(self.change(asked), |_| {}).await?;
        Ok(Response::new(UnfollowResponse { relationship: Some(relationship), consistency_token }))
    }

    async fn block(&self, request: Request<BlockRequest>) -> Result<Response<BlockResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let BlockRequest { target_id, request_id, at_least } = request.into_inner();
        let asked = Asked { actor: caller.account_id, target_id, request_id, at_least, wish: Wish::Block, deadline };
        let (relationship, consistency_token) = self.kit().candid(self.change(asked), |_| {}).await?;
        Ok(Response::new(BlockResponse { relationship: Some(relationship), consistency_token }))
    }

    async fn unblock(&self, request: Request<UnblockRequest>) -> Result<Response<UnblockResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let UnblockRequest { target_id, request_id, at_least } = request.into_inner();
        let asked = Asked { actor: caller.account_id, target_id, request_id, at_least, wish: Wish::Unblock, deadline };
        let (relationship, consistency_token) = self.kit().candid(self.change(asked), |_| {}).await?;
        Ok(Response::new(UnblockResponse { relationship: Some(relationship), consistency_token }))
    }

    async fn batch_get_relationships(
        &self,
        request: Request<BatchGetRelationshipsRequest>,
    ) -> Result<Response<BatchGetRelationshipsResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let request = request.into_inner();
        parse_ids("target_ids", &request.target_ids)?;
        let handle = async {
            let seen = self.kit().see(&request.at_least, deadline).await?;
            let as_of = seen.as_of();
            let others: Vec<&str> = request.target_ids.iter().map(String::as_str).collect();
            let pairs = pairs(&seen.state, &caller.account_id.to_string(), &others).await.map_err(Failure::from)?;
            let relationships = pairs.iter().zip(request.target_ids).map(|(pair, id)| pair.present(id)).collect();
            Ok(BatchGetRelationshipsResponse { relationships, as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn list_followers(
        &self,
        request: Request<ListFollowersRequest>,
    ) -> Result<Response<ListFollowersResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let ListFollowersRequest { account_id, page_size, page_token, at_least } = request.into_inner();
        let list = List {
            query: "kith.identity.v1.GraphService/ListFollowers",
            table: &FOLLOWERS,
            account_id,
            page_size,
            page_token,
        };
        let handle = async {
            let seen = self.kit().see(&at_least, deadline).await?;
            let as_of = seen.as_of();
            let Listed { entries, next_page_token, omitted_count } =
                self.list(&seen.state, list, caller.account_id).await?;
            Ok(ListFollowersResponse { followers: entries, next_page_token, omitted_count, as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn list_following(
        &self,
        request: Request<ListFollowingRequest>,
    ) -> Result<Response<ListFollowingResponse>, Status> {
        let (deadline, caller) = (deadline(&request), caller(&request)?);
        let ListFollowingRequest { account_id, page_size, page_token, at_least } = request.into_inner();
        let list = List {
            query: "kith.identity.v1.GraphService/ListFollowing",
            table: &EDGES,
            account_id,
            page_size,
            page_token,
        };
        let handle = async {
            let seen = self.kit().see(&at_least, deadline).await?;
            let as_of = seen.as_of();
            let Listed { entries, next_page_token, omitted_count } =
                self.list(&seen.state, list, caller.account_id).await?;
            Ok(ListFollowingResponse { following: entries, next_page_token, omitted_count, as_of, incomplete: false })
        };
        Ok(Response::new(self.kit().candid(handle, |answer| answer.incomplete = true).await?))
    }
}

/// A command as it was asked for, not parsed yet.
struct Asked {
    actor: RecordId,
    target_id: String,
    request_id: String,
    at_least: Vec<String>,
    wish: Wish,
    deadline: Deadline,
}

/// A list as it was asked for, not parsed yet.
struct List {
    query: &'static str,
    table: &'static Table,
    account_id: String,
    page_size: i32,
    page_token: String,
}

struct Listed {
    entries: Vec<FollowEntry>,
    next_page_token: String,
    omitted_count: u32,
}

impl IdentityService {
    /// Parses and carries out a command; gives what the two now are to each other, and the token.
    async fn change(&self, asked: Asked) -> Result<(Relationship, String), Failure> {
        let target = parse_id("target_id", &asked.target_id)?;
        let request_id = RequestId::parse("request_id", &asked.request_id, &self.kit().runtime)?;
        let id = record_id(asked.actor, rpc(asked.wish), &request_id);
        let seen = self.kit().see(&asked.at_least, asked.deadline).await?;
        // Later than what the tokens stand for.
        let at = Timestamp(self.kit().runtime.tick());
        let command = Command { id, actor: asked.actor, target, wish: asked.wish, at };
        carry_out(&seen, command, asked.deadline).await
    }

    /// A page of follows, of the accounts that the caller may see.
    async fn list(&self, state: &State, list: List, caller: RecordId) -> Result<Listed, Failure> {
        let kit = self.kit();
        let size = page_size("page_size", list.page_size)?;
        let account = parse_id("account_id", &list.account_id)?;
        let filter: &[&[u8]] = &[&account.0];
        let cursor = kit.page_tokens.open(list.query, filter, &list.page_token)?.map(cursor_id).transpose()?;
        let viewer = caller.to_string();
        let owner = visible(state, &viewer, vec![list.account_id.clone()]).await?;
        if owner.iter().all(|entry| entry.account.is_none()) {
            return Err(account::not_found());
        }
        let page = followers::page(state, list.table, &list.account_id, cursor, size).await?;
        let next_page_token = match page.next.and_then(|id| RecordId::parse(&id)) {
            Some(id) => kit.page_tokens.seal(list.query, filter, &id.0)?,
            None => String::new(),
        };
        let entries = present(state, &viewer, &page.follows).await?;
        let omitted_count = u32::try_from(page.follows.len() - entries.len()).unwrap_or(u32::MAX);
        Ok(Listed { entries, next_page_token, omitted_count })
    }
}

async fn carry_out(seen: &Seen<'_>, command: Command, deadline: Deadline) -> Result<(Relationship, String), Failure> {
    let (actor, target) = (command.actor.to_string(), command.target.to_string());
    let look = || async {
        let standing = Standing::load(&seen.state, &actor, &target).await?;
        Ok((decide(&standing, &command)?, standing.pair))
    };
    let asked = kit::Asked { topic: topics::IDENTITY, key: &actor, id: command.id, digest: digest(&command) };
    let (event, mut pair) = seen.decide(asked, deadline, look).await?;
    let mut token = match event {
        None => pair.position(&seen.state, &actor).map_or_else(|| seen.state.as_of(), Token::from),
        Some(event) => {
            let record =
                kit::Command { topic: topics::IDENTITY, key: &actor, id: command.id, event: event.clone().into() };
            let position = seen.append(record, deadline).await?;
            pair.mine.evolve(&event, command.id, position.offset, command.at);
            position.into()
        }
    };
    if command.wish == Wish::Block {
        await_cut(seen, &mut pair, &mut token, &command, deadline).await?;
    }
    Ok((pair.present(target), token.encode()))
}

/// Waits until the target's follow of the actor, if the log has one that the block cuts, is cut; the token then covers
/// that too.
async fn await_cut(
    seen: &Seen<'_>,
    pair: &mut Pair,
    token: &mut Token,
    command: &Command,
    deadline: Deadline,
) -> Result<(), Failure> {
    let state = &seen.state;
    let (actor, target) = (command.actor.to_string(), command.target.to_string());
    // A follow that was answered before the block is in the log; it need not be folded yet.
    let last = seen.last(topics::IDENTITY, &target, deadline).await.map_err(|_| Failure::outcome_unknown())?;
    last.into_iter().for_each(|position| token.add(position));
    state.at_least(token, deadline.at()).await.map_err(after_append)?;
    let (key, mine) = (Key::text(&target), &pair.mine);
    let look = || async {
        let theirs = state.row::<EdgeRow>(&EDGES, &key, [actor.as_str().into()]).await?;
        let lasts = theirs.as_ref().is_none_or(|found| !found.row.is_cut_by(mine));
        Ok(lasts.then_some(theirs))
    };
    let theirs: Option<Found<EdgeRow>> =
        state.until((topics::IDENTITY, &target), deadline.at(), look).await.map_err(after_append)?;
    if let Some(found) = theirs {
        let partition = LogPartition::of_key(topics::IDENTITY, &target, state.partition_count());
        token.add(Position { partition, offset: found.position });
        pair.theirs = found.row;
    }
    Ok(())
}

/// The other ends of these follows, without those that a block hides from `viewer` and those that are gone.
async fn present(state: &State, viewer: &str, follows: &[Found<EdgeRow>]) -> Result<Vec<FollowEntry>, Failure> {
    let others: Vec<&str> = follows.iter().map(|found| found.text(0)).collect();
    let pairs = pairs(state, viewer, &others).await?;
    let ids: Vec<String> = others.iter().map(|&id| id.to_owned()).collect();
    let accounts = account::batch(state, &ids).await?;
    let entry = |(found, (account, pair)): (&Found<EdgeRow>, (Option<_>, &Pair))| {
        let account: kith_relations::account::AccountRow = account?;
        let account = (!pair.is_blocked()).then(|| account.present(found.text(0)))?;
        Some(FollowEntry { account: Some(account), follow_time: Some(time::of_us(found.row.follow_time.0)) })
    };
    Ok(follows.iter().zip(accounts.into_iter().zip(&pairs)).filter_map(entry).collect())
}

fn cursor_id(cursor: Vec<u8>) -> Result<String, Failure> {
    let id: [u8; 16] = cursor.try_into().map_err(|_| Failure::page_token_invalid())?;
    Ok(RecordId(id).to_string())
}

fn rpc(wish: Wish) -> &'static str {
    match wish {
        Wish::Follow { .. } => "kith.identity.v1.GraphService/Follow",
        Wish::Unfollow => "kith.identity.v1.GraphService/Unfollow",
        Wish::Block => "kith.identity.v1.GraphService/Block",
        Wish::Unblock => "kith.identity.v1.GraphService/Unblock",
    }
}

/// Of what the caller chose: not of the window, which is the server's.
fn digest(command: &Command) -> [u8; 32] {
    let settings = match command.wish {
        Wish::Follow { shows_shares, notify, .. } => [u8::from(shows_shares), u8::from(notify)],
        Wish::Unfollow | Wish::Block | Wish::Unblock => [0, 0],
    };
    payload_digest(&[&command.target.0, &settings])
}
