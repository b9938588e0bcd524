//! Unsending: the sender takes a message back, for all and for ever.

use async_trait::async_trait;
use kith_fold::Record;
use kith_log::{Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{MessageUnsent, UnsendMessageRequest, UnsendMessageResponse, rpc};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::StoreError;

use crate::addressed::{Addressed, Settled, settled};
use crate::{MessagingService, Rejection};

/// Asks to take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub message_id: String,
}

/// What senders take back.
pub struct Unsends;

#[async_trait]
impl Noun for Unsends {
    type Service = MessagingService;
    type Command = Command;
    type State = Addressed;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Addressed>, StoreError> {
        Addressed::load(seen, asked, (&command.conversation_id, &command.message_id)).await
    }

    /// `None`: it was unsent before. No block and no policy keeps anybody from taking back what is one's own.
    fn decide(before: &Addressed, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let (_, number, row) = before.by(asked)?;
        match () {
            () if row.sender_id != asked.actor => Err(Rejection::NotTheAuthor),
            () if row.is_unsent() => Ok(None),
            () if !before.is_open => Err(Rejection::EventsNotOpen),
            () => Ok(Some(MessagingEvent::MessageUnsent(MessageUnsent {
                conversation_id: command.conversation_id.clone(),
                message_id: command.message_id.clone(),
                number: number.unsigned_abs(),
                sender_id: asked.actor.clone(),
                unsend_time: Some(time::of_us(asked.at.0)),
            }))),
        }
    }

    /// The answer reads what the fold made of it.
    fn evolve(_: &mut Addressed, _: &Record) {}
}

impl Contests<rpc::UnsendMessage> for Unsends {
    fn parse(_: &MessagingService, _: &Asked, request: UnsendMessageRequest) -> Result<Command, Failure> {
        let UnsendMessageRequest { conversation_id, message_id, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        parse_id("message_id", &message_id)?;
        Ok(Command { conversation_id, message_id })
    }
}

#[async_trait]
impl Settles<rpc::UnsendMessage> for Unsends {
    async fn settle(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Verdict<UnsendMessageResponse>, Unknown> {
        let Settled { row, place, .. } = settled(&seen.state, &command.conversation_id, &command.message_id).await?;
        if !row.is_unsent() {
            return Err(Unknown::defect("a message is unsent in the log and stands"));
        }
        let (message_id, unsend_time) = (command.message_id.clone(), Some(time::of_us(row.unsend_time.0)));
        Ok(Verdict::Won(
            UnsendMessageResponse { message_id, unsend_time, ..UnsendMessageResponse::default() },
            place.into(),
        ))
    }
}
