use kith_fold::{State, Token};
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::{
    ConversationCreated, ConversationKind, GetOrCreateDirectRequest, GetOrCreateDirectResponse,
    ListConversationsRequest, ListConversationsResponse,
};
use kith_proto::time;
use kith_relations::account;
use kith_relations::block::{BLOCKED_BY, BLOCKS, BlockRow};
use kith_service::Failure;
use kith_service::ids::{self, RequestId};
use kith_service::page_token::page_size;
use kith_tables::{Key, StoreError, Table, Timestamp};
use tonic::{Request, Response, Status};

use super::{Call, MessagingService, append};
use crate::conversation::{self, Command, Conversation, Conversations};
use crate::inbox::{self, InboxRow, Place};

const GET_OR_CREATE_DIRECT: &str = "kith.messaging.v1.ConversationService/GetOrCreateDirect";
const LIST_CONVERSATIONS: &str = "kith.messaging.v1.ConversationService/ListConversations";

#[tonic::async_trait]
impl ConversationService for MessagingService {
    async fn get_or_create_direct(
        &self,
        request: Request<GetOrCreateDirectRequest>,
    ) -> Result<Response<GetOrCreateDirectResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.direct(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |_| {}).await?))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.list_inbox(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }
}

impl MessagingService {
    async fn direct(
        &self,
        call: Call,
        request: GetOrCreateDirectRequest,
    ) -> Result<GetOrCreateDirectResponse, Failure> {
        let other = ids::parse_id("account_id", &request.account_id)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, GET_OR_CREATE_DIRECT, &request_id);
        if other == call.caller {
            return Err(Failure::new(Reason::SelfNotAllowed, "nobody has a conversation with oneself"));
        }
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        may_meet(&seen.state, call.caller, other).await?;

        let conversation_id = conversation::direct_id(call.caller, other);
        let at = Timestamp(self.kit.runtime.tick());
        let created = ConversationCreated {
            conversation_id: conversation_id.to_string(),
            kind: ConversationKind::Direct.into(),
            member_ids: vec![call.caller.min(other).to_string(), call.caller.max(other).to_string()],
            creator_id: call.caller.to_string(),
            create_time: Some(time::of_us(at.0)),
        };
        // One that is there stays: tables that are behind can only say too little.
        let found = conversation::summary(&seen.state, conversation_id).await?;
        let mut state = Conversation { summary: found.row, message: None };
        let event = Conversations::decide(&state, &Command::GetOrCreate(created))?;
        seen.remember(id, ids::payload_digest(&[&other.0]))?;
        let position = match event {
            None => conversation::position(&seen.state, conversation_id, found.position),
            Some(event) => {
                Conversations::evolve(&mut state, &event, at);
                append(&seen, conversation_id, id, event, call.deadline).await?
            }
        };
        let me = state.summary.members.get(&call.caller.to_string()).ok_or_else(Failure::internal)?;
        let conversation = InboxRow::of(&state.summary, me).present(&conversation_id.to_string());
        let consistency_token = Token::from(position).encode();
        Ok(GetOrCreateDirectResponse { conversation: Some(conversation), consistency_token })
    }

    async fn list_inbox(
        &self,
        call: Call,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Failure> {
        let size = page_size("page_size", request.page_size)?;
        let filter: [&[u8]; 1] = [&call.caller.0];
        let after = self.kit.page_tokens.open(LIST_CONVERSATIONS, &filter, &request.page_token)?;
        let after = after.map(|cursor| Place::decode(&cursor)).transpose()?;
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let inbox = inbox::inbox(&seen.state, call.caller).await?;
        let (page, next) = inbox::page(inbox.conversations, after.as_ref(), size);
        let seal = |place: Place| self.kit.page_tokens.seal(LIST_CONVERSATIONS, &filter, &place.encode());
        let next_page_token = next.map(seal).transpose()?.unwrap_or_default();
        let present = |found: kith_fold::Found<InboxRow>| {
            let conversation_id = found.text(0).to_owned();
            found.row.present(&conversation_id)
        };
        let conversations = page.into_iter().map(present).collect();
        Ok(ListConversationsResponse { conversations, next_page_token, incomplete: inbox.incomplete, as_of })
    }
}

/// Whether the caller may look for a conversation with `other`. One's own block is named first: it tells nothing
/// that the caller does not know. Whoever blocks the caller looks like nobody.
async fn may_meet(state: &State, caller: RecordId, other: RecordId) -> Result<(), Failure> {
    let (me, them) = (caller.to_string(), other.to_string());
    let blocks = async |table: &'static Table| {
        let found = state.row::<BlockRow>(table, &Key::text(&me), [them.as_str().into()]).await?;
        Ok::<_, StoreError>(found.is_some_and(|found| found.row.blocking))
    };
    let is_there = account::account(state, &them).await?.is_some();
    if is_there && blocks(&BLOCKS).await? {
        return Err(Failure::new(Reason::Blocked, "the caller blocks the account"));
    }
    if !is_there || blocks(&BLOCKED_BY).await? {
        return Err(Failure::not_found(Reason::AccountNotFound, "account"));
    }
    Ok(())
}
