//! The RPCs that change groups: what each asks for, and how it is answered.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_log::RecordId;
use kith_proto::messaging::v1::{
    AddMembersRequest, AddMembersResponse, CreateGroupRequest, CreateGroupResponse, LeaveConversationRequest,
    LeaveConversationResponse, RemoveMemberRequest, RemoveMemberResponse, SetRoleRequest, SetRoleResponse,
    UpdateGroupRequest, UpdateGroupResponse, rpc,
};
use kith_service::command::{Asked, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::{self, parse_id, parse_id_or_empty};
use kith_service::kit::Seen;
use kith_service::text::parse_name;
use kith_service::{Failure, limits};

use super::{Change, Command, Groups, settled};
use crate::{MessagingService, Rejection, role};

/// The id of the group that a command makes.
fn group_id(command: RecordId) -> RecordId {
    ids::item_id(command, b"group")
}

fn of(conversation_id: String, change: Change) -> Result<Command, Failure> {
    parse_id("conversation_id", &conversation_id)?;
    Ok(Command { conversation_id, change })
}

/// Each once, sorted, without the caller, who is in it.
fn parse_ids(field: &str, ids: Vec<String>, asked: &Asked) -> Result<Vec<String>, Failure> {
    if ids.len() >= limits::GROUP_MEMBERS {
        return Err(Failure::batch_too_long(field, ids.len()));
    }
    let mut numbered = ids.iter().enumerate();
    numbered.try_for_each(|(at, id)| parse_id(&format!("{field}[{at}]"), id).map(|_| ()))?;
    let each: BTreeSet<String> = ids.into_iter().filter(|id| *id != asked.actor).collect();
    Ok(each.into_iter().collect())
}

fn parse_limit(limit: i32) -> Result<u32, Failure> {
    let most = u32::try_from(limits::GROUP_MEMBERS).unwrap_or(u32::MAX);
    match u32::try_from(limit) {
        Ok(0) => Ok(most),
        Ok(limit) if (2..=most).contains(&limit) => Ok(limit),
        _ => Err(Failure::field_invalid("member_limit", "is not 2 to 100")),
    }
}

impl Contests<rpc::CreateGroup> for Groups {
    fn parse(_: &MessagingService, asked: &Asked, request: CreateGroupRequest) -> Result<Command, Failure> {
        let title = parse_name("title", &request.title, limits::GROUP_TITLE)?;
        let member_ids = parse_ids("member_ids", request.member_ids, asked)?;
        let member_limit = parse_limit(request.member_limit)?;
        let conversation_id = group_id(asked.id).to_string();
        Ok(Command { conversation_id, change: Change::Create { title, member_ids, member_limit } })
    }
}

impl Contests<rpc::AddMembers> for Groups {
    fn parse(_: &MessagingService, asked: &Asked, request: AddMembersRequest) -> Result<Command, Failure> {
        if request.account_ids.is_empty() {
            return Err(Failure::field_missing("account_ids"));
        }
        let account_ids = parse_ids("account_ids", request.account_ids, asked)?;
        of(request.conversation_id, Change::Add { account_ids })
    }
}

impl Contests<rpc::RemoveMember> for Groups {
    fn parse(_: &MessagingService, asked: &Asked, request: RemoveMemberRequest) -> Result<Command, Failure> {
        let RemoveMemberRequest { conversation_id, account_id, .. } = request;
        parse_id("account_id", &account_id)?;
        if account_id == asked.actor {
            return Err(Rejection::RemovingOneself.into());
        }
        of(conversation_id, Change::Remove { account_id })
    }
}

impl Contests<rpc::SetRole> for Groups {
    fn parse(_: &MessagingService, _: &Asked, request: SetRoleRequest) -> Result<Command, Failure> {
        let SetRoleRequest { conversation_id, account_id, role, .. } = request;
        parse_id("account_id", &account_id)?;
        let role = role::of(role).ok_or_else(|| Failure::field_invalid("role", "is no role"))?;
        of(conversation_id, Change::SetRole { account_id, role })
    }
}

impl Contests<rpc::UpdateGroup> for Groups {
    fn parse(_: &MessagingService, _: &Asked, request: UpdateGroupRequest) -> Result<Command, Failure> {
        let title = parse_name("title", &request.title, limits::GROUP_TITLE)?;
        let expected_revision = request.expected_revision;
        of(request.conversation_id, Change::SetTitle { title, expected_revision })
    }
}

impl Contests<rpc::LeaveConversation> for Groups {
    fn parse(_: &MessagingService, _: &Asked, request: LeaveConversationRequest) -> Result<Command, Failure> {
        let LeaveConversationRequest { conversation_id, successor_id, .. } = request;
        parse_id_or_empty("successor_id", &successor_id)?;
        of(conversation_id, Change::Leave { successor_id })
    }
}

/// An answer that is the group; its token is set by who runs the command.
macro_rules! answers_with_the_group {
    ($($rpc:ident: $response:ident),*) => {$(
        #[async_trait]
        impl Settles<rpc::$rpc> for Groups {
            async fn settle(
                seen: &Seen<'_>,
                asked: &Asked,
                command: &Command,
            ) -> Result<Verdict<$response>, Unknown> {
                Ok(match settled(seen, asked, command).await? {
                    Verdict::Lost(failure) => Verdict::Lost(failure),
                    Verdict::Won(conversation, token) => {
                        Verdict::Won($response { conversation, ..$response::default() }, token)
                    }
                })
            }
        }
    )*};
}

answers_with_the_group! {
    CreateGroup: CreateGroupResponse,
    AddMembers: AddMembersResponse,
    RemoveMember: RemoveMemberResponse,
    SetRole: SetRoleResponse,
    UpdateGroup: UpdateGroupResponse
}

#[async_trait]
impl Settles<rpc::LeaveConversation> for Groups {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<LeaveConversationResponse>, Unknown> {
        Ok(match settled(seen, asked, command).await? {
            Verdict::Lost(failure) => Verdict::Lost(failure),
            Verdict::Won(_, token) => Verdict::Won(LeaveConversationResponse::default(), token),
        })
    }
}
