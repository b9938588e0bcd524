use bytes::Bytes;
use kith_fold::{State, Token};
use kith_log::{RecordId, topics};
use kith_proto::messaging::v1::message_service_server::MessageService;
use kith_proto::messaging::v1::{
    GetUnreadCountsRequest, GetUnreadCountsResponse, ListMessagesRequest, ListMessagesResponse, MarkReadRequest,
    MarkReadResponse, Message, MessageContent, MessageSent, ReadMarkerMoved, SendMessageRequest, SendMessageResponse,
    UnreadCount,
};
use kith_proto::time;
use kith_relations::block;
use kith_service::ids::{self, RequestId};
use kith_service::kit::Asked;
use kith_service::page_token::page_size;
use kith_service::{Failure, limits, text};
use kith_tables::StoreError;
use tonic::{Request, Response, Status};

use super::{Call, MessagingService, append};
use crate::conversation::{self, Command, Conversation, Conversations, Rejection, Summary};
use crate::{inbox, message};

const SEND_MESSAGE: &str = "kith.messaging.v1.MessageService/SendMessage";
const LIST_MESSAGES: &str = "kith.messaging.v1.MessageService/ListMessages";
const MARK_READ: &str = "kith.messaging.v1.MessageService/MarkRead";

#[tonic::async_trait]
impl MessageService for MessagingService {
    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.send(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |_| {}).await?))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.list(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn mark_read(&self, request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.mark(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |_| {}).await?))
    }

    async fn get_unread_counts(
        &self,
        request: Request<GetUnreadCountsRequest>,
    ) -> Result<Response<GetUnreadCountsResponse>, Status> {
        let call = Call::of(&request)?;
        let handle = self.unread(call, request.into_inner());
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }
}

impl MessagingService {
    async fn send(&self, call: Call, request: SendMessageRequest) -> Result<SendMessageResponse, Failure> {
        let conversation_id = ids::parse_id("conversation_id", &request.conversation_id)?;
        let text = text::parse_text("text", &request.text, limits::MESSAGE)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, SEND_MESSAGE, &request_id);
        let digest = ids::payload_digest(&[&conversation_id.0, text.as_bytes()]);
        let seen = self.kit.see(&request.at_least, call.deadline).await?;

        let message_id = ids::made_in(id, &request.conversation_id);
        let sent = MessageSent {
            conversation_id: request.conversation_id.clone(),
            message_id: message_id.to_string(),
            sender_id: call.caller.to_string(),
            content: Some(MessageContent { text: text.clone() }),
            create_time: Some(time::of_us(self.kit.runtime.tick())),
            payload_digest: Bytes::copy_from_slice(&digest),
        };
        let create_time = sent.create_time;
        let look = || async {
            let summary = conversation::summary(&seen.state, conversation_id).await?.row;
            let known = message::by_id(&seen.state, conversation_id, message_id).await?;
            let blocked = is_blocked(&seen.state, call.caller, &summary).await?;
            let known_digest = known.as_ref().map(|(known, _)| (known.number, known.row.payload_digest.clone()));
            let state = Conversation { summary, message: known_digest };
            Ok((Conversations::decide(&state, &Command::Send { message: sent.clone(), blocked })?, known))
        };
        let asked = Asked { topic: topics::MESSAGING, key: &request.conversation_id, id, digest };
        let (event, known) = seen.decide(asked, call.deadline, look).await?;
        let (message, position) = match (event, known) {
            (None, Some((known, offset))) => {
                let position = conversation::position(&seen.state, conversation_id, offset);
                (known.present(&request.conversation_id), position)
            }
            (None, None) => return Err(Failure::internal()),
            (Some(event), _) => {
                let position = append(&seen, conversation_id, id, event, call.deadline).await?;
                // Its number is its place among the conversation's messages: the fold counts.
                let message = Message {
                    conversation_id: request.conversation_id,
                    message_id: message_id.to_string(),
                    number: 0,
                    sender_id: call.caller.to_string(),
                    text,
                    create_time,
                };
                (message, position)
            }
        };
        Ok(SendMessageResponse { message: Some(message), consistency_token: Token::from(position).encode() })
    }

    async fn list(&self, call: Call, request: ListMessagesRequest) -> Result<ListMessagesResponse, Failure> {
        let conversation_id = ids::parse_id("conversation_id", &request.conversation_id)?;
        let size = page_size("page_size", request.page_size)?;
        let filter: [&[u8]; 2] = [&call.caller.0, &conversation_id.0];
        let before = self.kit.page_tokens.open(LIST_MESSAGES, &filter, &request.page_token)?;
        let before = before.map(|cursor| message::decode_cursor(&cursor)).transpose()?;
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        conversation_of(&seen.state, call.caller, conversation_id).await?;
        let messages = message::newest(&seen.state, conversation_id, before, size).await?;
        // Numbers have no gaps: behind any but the first message there is another.
        let next = messages.last().map(|last| last.number).filter(|&number| number > 1);
        let seal = |number| self.kit.page_tokens.seal(LIST_MESSAGES, &filter, &message::encode_cursor(number));
        let next_page_token = next.map(seal).transpose()?.unwrap_or_default();
        let messages = messages.into_iter().map(|message| message.present(&request.conversation_id)).collect();
        Ok(ListMessagesResponse { messages, next_page_token, incomplete: false, as_of })
    }

    async fn mark(&self, call: Call, request: MarkReadRequest) -> Result<MarkReadResponse, Failure> {
        let conversation_id = ids::parse_id("conversation_id", &request.conversation_id)?;
        let request_id = RequestId::parse("request_id", &request.request_id, &self.kit.runtime)?;
        let id = ids::record_id(call.caller, MARK_READ, &request_id);
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let moved = ReadMarkerMoved {
            conversation_id: request.conversation_id.clone(),
            account_id: call.caller.to_string(),
            up_to_number: request.up_to_number,
            create_time: Some(time::of_us(self.kit.runtime.tick())),
        };
        // A marker never goes back: tables that are behind can only say too little.
        let found = conversation::summary(&seen.state, conversation_id).await?;
        let state = Conversation { summary: found.row, message: None };
        let event = Conversations::decide(&state, &Command::MarkRead(moved))?;
        seen.remember(id, ids::payload_digest(&[&conversation_id.0, &request.up_to_number.to_be_bytes()]))?;
        let (read_number, position) = match event {
            Some(event) => (request.up_to_number, append(&seen, conversation_id, id, event, call.deadline).await?),
            None => {
                let member = state.summary.members.get(&call.caller.to_string());
                let position = conversation::position(&seen.state, conversation_id, found.position);
                (member.map_or(0, |member| member.read_number.unsigned_abs()), position)
            }
        };
        let consistency_token = Token::from(position).encode();
        Ok(MarkReadResponse { conversation_id: request.conversation_id, read_number, consistency_token })
    }

    async fn unread(&self, call: Call, request: GetUnreadCountsRequest) -> Result<GetUnreadCountsResponse, Failure> {
        if request.conversation_ids.len() > limits::BATCH_ITEMS {
            return Err(Failure::batch_too_long("conversation_ids", request.conversation_ids.len()));
        }
        let parse = |(at, id): (usize, &String)| ids::parse_id(&format!("conversation_ids[{at}]"), id);
        let asked: Vec<RecordId> = request.conversation_ids.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let seen = self.kit.see(&request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let rows = inbox::rows(&seen.state, call.caller, &asked).await?;
        let counts = request.conversation_ids.into_iter().zip(rows).map(|(conversation_id, found)| {
            let unread_count = found.map_or(0, |found| found.row.unread_count.unsigned_abs());
            UnreadCount { conversation_id, unread_count }
        });
        let inbox = inbox::inbox(&seen.state, call.caller).await?;
        let unread = || inbox.conversations.iter().map(|found| found.row.unread_count.unsigned_abs());
        Ok(GetUnreadCountsResponse {
            counts: counts.collect(),
            total_unread_count: unread().sum(),
            unread_conversation_count: unread().filter(|&count| count > 0).count() as u64,
            incomplete: inbox.incomplete,
            as_of,
        })
    }
}

/// The conversation, if the caller is in it.
async fn conversation_of(state: &State, caller: RecordId, conversation_id: RecordId) -> Result<Summary, Failure> {
    let summary = conversation::summary(state, conversation_id).await?.row;
    match summary.members.get(&caller.to_string()) {
        Some(_) => Ok(summary),
        None => Err(Rejection::NotFound.into()),
    }
}

/// Whether a block stands between the two of a direct conversation.
async fn is_blocked(state: &State, caller: RecordId, summary: &Summary) -> Result<bool, StoreError> {
    let me = caller.to_string();
    if !summary.is_direct() || summary.members.get(&me).is_none() {
        return Ok(false);
    }
    let others: Vec<&str> = summary.members.iter().map(|m| m.account_id.as_str()).filter(|id| *id != me).collect();
    Ok(block::between(state, &me, &others).await?.contains(&true))
}
