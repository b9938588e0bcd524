//! What changes in an account's conversations, told as it happens: by the tail of messaging's topic
//! ([`kith_service::tail`]), as the tables have it when it is told.

mod beginning;
mod left_out;
mod shown;
mod telling;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::try_join;
use kith_fold::State;
use kith_log::{RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    MessageSent, ReadVisibility, StreamUpdatesRequest, StreamUpdatesResponse, rpc, update_service_server,
};
use kith_service::call::{Call, Handlers};
use kith_service::tail::{Says, Told};
use kith_service::unread;
use kith_tables::{Key, StoreError};
use tonic::{Request, Response, Status};

use crate::conversation::{self, CONVERSATIONS, MessageIdRow, under_id};
use crate::kept::MessageRow;
use crate::summary::Summary;
use crate::{MessagingService, amend};
use telling::Telling;

/// Something changed in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub conversation_id: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// This message was written, or is otherwise now.
    Message { message_id: String, number: i64 },
    /// This account says to have read, for all; to itself it is as the next one.
    Marker { account_id: String },
    /// The conversation as all members see it.
    Conversation,
    /// What one account has read or made of it, which it alone hears.
    Own,
    /// This account is not in it any more; to the others it is as the one before.
    Gone { account_id: String },
}

/// What messaging's records say to members.
pub struct Changes;

#[async_trait]
impl Says for Changes {
    type Item = Change;

    const TOPIC: Topic = topics::MESSAGING;

    async fn says(&self, state: &State, told: Told<'_>) -> Result<Option<(Change, Vec<RecordId>)>, StoreError> {
        let Event::Messaging(event) = told.event else { return Ok(None) };
        let Some(conversation_id) = conversation::of(event).filter(|id| RecordId::parse(id).is_some()) else {
            return Ok(None);
        };
        let changed = |what| Change { conversation_id: conversation_id.to_owned(), what };
        let (summary, number) = match event {
            MessagingEvent::MessageSent(sent) => {
                let numbered = number_of(state, told, sent);
                try_join!(conversation::summary(state, conversation_id), numbered)?
            }
            _ => {
                let number = amended(state, told, conversation_id, event);
                try_join!(conversation::summary(state, conversation_id), number)?
            }
        };
        let what = match (event, number) {
            (MessagingEvent::MessageSent(sent), Some(number)) => {
                What::Message { message_id: sent.message_id.clone(), number }
            }
            // It is none, or a copy.
            (MessagingEvent::MessageSent(_), None) => return Ok(None),
            (MessagingEvent::ReadMarkerMoved(moved), _) if moved.visibility() == ReadVisibility::Public => {
                What::Marker { account_id: moved.account_id.clone() }
            }
            (event, number) => match (amend::message_of(event), number) {
                (Some((message_id, _)), Some(number)) => What::Message { message_id: message_id.to_owned(), number },
                (Some(_), None) => return Ok(None),
                (None, _) => match gone(event) {
                    Some(account_id) => What::Gone { account_id: account_id.to_owned() },
                    None if is_own(event) => What::Own,
                    None => What::Conversation,
                },
            },
        };
        Ok(Some((changed(what), hearers(&summary.row, told.id, event))))
    }
}

/// The number of the message that this record made; `None`: it made none.
async fn number_of(state: &State, told: Told<'_>, sent: &MessageSent) -> Result<Option<i64>, StoreError> {
    if RecordId::parse(&sent.message_id).is_none() {
        return Ok(None);
    }
    let key = Key::text(&sent.conversation_id);
    let found = state.row::<MessageIdRow>(&CONVERSATIONS, &key, under_id(&sent.message_id)).await?;
    let made = found.filter(|found| found.position == told.position.offset).map(|found| found.row.message_number);
    Ok(made.filter(|&number| number > 0))
}

/// The number of the message that this record changed; `None`: it changed none, or a later record has changed it too and tells it.
async fn amended(
    state: &State,
    told: Told<'_>,
    conversation_id: &str,
    event: &MessagingEvent,
) -> Result<Option<i64>, StoreError> {
    let Some((message_id, number)) = amend::message_of(event) else { return Ok(None) };
    let key = Key::text(conversation_id);
    let found = state.row::<MessageRow>(&CONVERSATIONS, &key, [number.into(), message_id.into()]).await?;
    Ok(found.filter(|found| found.position == told.position.offset).map(|_| number))
}

/// Who hears of the record: of what one makes of a conversation for itself, or is made of it, that one alone; of all else the members,
/// and who has just gone.
fn hearers(summary: &Summary, id: RecordId, event: &MessagingEvent) -> Vec<RecordId> {
    let hears = |account_id: &str| match event {
        MessagingEvent::ConversationCreated(_) => summary.creation_id == id.to_string(),
        MessagingEvent::MessageSent(_)
        | MessagingEvent::GroupCreated(_)
        | MessagingEvent::MembersAdded(_)
        | MessagingEvent::MemberRemoved(_)
        | MessagingEvent::MemberLeft(_)
        | MessagingEvent::GroupUpdated(_)
        | MessagingEvent::MessageEdited(_)
        | MessagingEvent::MessageUnsent(_)
        | MessagingEvent::MessageReactionAdded(_)
        | MessagingEvent::MessageReactionRemoved(_) => true,
        MessagingEvent::MemberRoleSet(set) => set.account_id == account_id,
        MessagingEvent::ReadMarkerMoved(moved) => {
            moved.visibility() == ReadVisibility::Public || moved.account_id == account_id
        }
        MessagingEvent::ConversationMuted(_)
        | MessagingEvent::ConversationUnmuted(_)
        | MessagingEvent::ConversationArchived(_)
        | MessagingEvent::ConversationUnarchived(_)
        | MessagingEvent::ConversationMarkedUnread(_) => conversation::viewer_id(event) == Some(account_id),
        MessagingEvent::ConversationAccepted(accepted) => accepted.account_id == account_id,
        MessagingEvent::ConversationDeclined(declined) => declined.account_id == account_id,
        MessagingEvent::MessagingPolicySet(_) => false,
    };
    let members = summary.members.account_ids().filter(|id| hears(id));
    members.chain(gone(event)).filter_map(RecordId::parse).collect()
}

/// Whether an account has done it for itself. Its role is given to it.
fn is_own(event: &MessagingEvent) -> bool {
    conversation::own(event).is_some() && !matches!(event, MessagingEvent::MemberRoleSet(_))
}

/// Who is not in a conversation any more by the event.
fn gone(event: &MessagingEvent) -> Option<&str> {
    match event {
        MessagingEvent::MemberRemoved(removed) => Some(&removed.account_id),
        MessagingEvent::MemberLeft(left) => Some(&left.account_id),
        _ => None,
    }
}

#[tonic::async_trait]
impl update_service_server::UpdateService for MessagingService {
    type StreamUpdatesStream = BoxStream<'static, Result<StreamUpdatesResponse, Status>>;

    async fn stream_updates(
        &self,
        request: Request<StreamUpdatesRequest>,
    ) -> Result<Response<Self::StreamUpdatesStream>, Status> {
        let call = Call::<rpc::StreamUpdates>::of(request)?;
        let telling = self.kit().candid(Telling::begin(self, call), |_| {}).await?;
        let updates = stream::try_unfold(telling, |mut telling| async move {
            let update = telling.next().await?;
            Ok(Some((update, telling)))
        });
        Ok(Response::new(unread::bounded(&self.kit().runtime, updates)))
    }
}
