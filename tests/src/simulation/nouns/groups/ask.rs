//! What people ask of groups.

use async_trait::async_trait;
use kith_proto::messaging::v1::{
    AddMembersRequest, CreateGroupRequest, LeaveConversationRequest, MemberRole, RemoveMemberRequest, SetRoleRequest,
    UpdateGroupRequest,
};
use tonic::{Code, Status};

use super::{GROUPS, won};
use crate::simulation::board::{Board, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding};
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::nouns::conversations::{CONVERSATIONS, SERVICE, SeenTalk, client};
use crate::simulation::nouns::talk;
use crate::simulation::operation::{Ask, Operation, Reply, record_id};

#[derive(Debug)]
pub enum Asked {
    Create { title: String, members: Vec<String>, limit: i32 },
    Add { who: Vec<String> },
    Remove { who: String },
    SetRole { who: String, role: MemberRole },
    SetTitle { title: String, expected: u32 },
    Leave { successor: String },
}

/// One change of a group.
#[derive(Debug)]
pub struct Regroup {
    /// Empty: one that is to be created.
    pub talk: String,
    pub asks: Asked,
}

impl Asked {
    fn method(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CreateGroup",
            Self::Add { .. } => "AddMembers",
            Self::Remove { .. } => "RemoveMember",
            Self::SetRole { .. } => "SetRole",
            Self::SetTitle { .. } => "UpdateGroup",
            Self::Leave { .. } => "LeaveConversation",
        }
    }
}

/// Calls a method whose answer is the group.
macro_rules! changed {
    ($to:ident, $ask:ident, $method:ident, $request:ident { $($field:ident: $value:expr),* }) => {{
        let Ask { actor, request_id, at_least, .. } = $ask;
        let request = $request { $($field: $value,)* request_id, at_least };
        let done = client($to).$method($to.from(&actor, request)).await?.into_inner();
        (done.conversation, done.consistency_token)
    }};
}

impl Regroup {
    /// Whether the group ever was as it is asked to be: then nothing need be changed.
    fn was_so(&self, model: &Model) -> bool {
        match &self.asks {
            Asked::Add { who } => {
                talk::ever(model, &self.talk, |now| who.iter().all(|who| now.members.contains_key(who)))
            }
            Asked::SetRole { who, role } => {
                talk::ever(model, &self.talk, |now| now.roles.get(who) == Some(&(*role).into()))
            }
            Asked::Create { .. } | Asked::Remove { .. } | Asked::SetTitle { .. } | Asked::Leave { .. } => false,
        }
    }
}

#[async_trait]
impl Operation for Regroup {
    /// None: the actor is not in it any more.
    type Answer = Option<SeenTalk>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Option<SeenTalk>>, Status> {
        let conversation_id = self.talk.clone();
        let (seen, token) = match &self.asks {
            Asked::Create { title, members, limit } => changed!(
                to,
                ask,
                create_group,
                CreateGroupRequest { title: title.clone(), member_ids: members.clone(), member_limit: *limit }
            ),
            Asked::Add { who } => changed!(
                to,
                ask,
                add_members,
                AddMembersRequest { conversation_id: conversation_id, account_ids: who.clone() }
            ),
            Asked::Remove { who } => changed!(
                to,
                ask,
                remove_member,
                RemoveMemberRequest { conversation_id: conversation_id, account_id: who.clone() }
            ),
            Asked::SetRole { who, role } => changed!(
                to,
                ask,
                set_role,
                SetRoleRequest { conversation_id: conversation_id, account_id: who.clone(), role: (*role).into() }
            ),
            Asked::SetTitle { title, expected } => changed!(
                to,
                ask,
                update_group,
                UpdateGroupRequest {
                    conversation_id: conversation_id,
                    title: title.clone(),
                    expected_revision: *expected
                }
            ),
            Asked::Leave { successor } => {
                let Ask { actor, request_id, at_least, .. } = ask;
                let successor_id = successor.clone();
                let request = LeaveConversationRequest { conversation_id, successor_id, request_id, at_least };
                let left = client(to).leave_conversation(to.from(&actor, request)).await?.into_inner();
                (None, left.consistency_token)
            }
        };
        Ok(Reply::new(seen.map(SeenTalk::of), token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Option<SeenTalk>, Code>) -> Vec<Finding> {
        let rpc = format!("kith.messaging.v1.ConversationService/{}", self.asks.method());
        let has_won = record_id(&call.actor, &rpc, &call.request_id).is_some_and(|id| won(model, id));
        let what = match told {
            Ok(_) if !has_won && !call.shaken && !self.was_so(model) => "has not won",
            // The title was at another revision, it was told.
            Err(Code::Aborted) if has_won && call.attempts == 1 && !call.is_copy => "has won, and was refused",
            _ => return Vec::new(),
        };
        vec![Finding::new(EFFECTIVE_ONCE, format!("a change of a group {what}: {} by {}", call.op, call.actor))]
    }

    fn made(&self, told: &Option<SeenTalk>) -> Option<String> {
        let made = told.as_ref().filter(|_| matches!(self.asks, Asked::Create { .. }));
        made.map(|told| told.id().to_owned())
    }

    fn stands(&self, model: &Model, call: &Call, told: &Option<SeenTalk>) -> bool {
        told.as_ref().is_none_or(|told| talk::ever(model, told.id(), |now| told.is(&call.actor, now)))
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &Option<SeenTalk>) {
        let Some(told) = told else { return };
        let known = |number| {
            let by = match &self.asks {
                Asked::Create { members, .. } => [&[actor.to_owned()][..], members].concat(),
                _ => vec![actor.to_owned()],
            };
            Thing { id: told.id().to_owned(), by, number, ..Thing::default() }
        };
        board.add(CONVERSATIONS, known(0));
        board.add(GROUPS, known(told.revision()));
        if let Asked::Add { who } = &self.asks {
            let joins = |thing: &mut Thing| thing.by.extend(who.iter().cloned());
            [CONVERSATIONS, GROUPS].into_iter().for_each(|noun| board.change(noun, told.id(), joins));
        }
        board.change(GROUPS, told.id(), |group| group.number = told.revision());
    }
}
