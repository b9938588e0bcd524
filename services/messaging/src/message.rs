//! Messages: written once each, listed newest first.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Found, Record, State};
use kith_log::{Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    ListMessagesRequest, ListMessagesResponse, Message, MessageContent, MessageSent, SendMessageRequest,
    SendMessageResponse, SentMessage, rpc,
};
use kith_proto::time;
use kith_relations::sight::Viewer;
use kith_service::command::{Answers, Asked, Noun, Standing, Unknown};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk};
use kith_service::text::parse_text;
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError, Value};

use crate::conversation::{self, CONVERSATIONS, MessageIdRow, MessageRow, under_id};
use crate::summary::Summary;
use crate::{MessagingService, Rejection};

/// Asks to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    /// Of the message that it makes.
    pub message_id: String,
    /// Parsed.
    pub text: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub summary: Summary,
    /// The command's own message, if it was written before.
    pub written: Option<MessageRow>,
    /// One of the two in a direct conversation blocks the other.
    pub blocked: bool,
}

fn sent(asked: &Asked, command: &Command) -> MessagingEvent {
    MessagingEvent::MessageSent(MessageSent {
        conversation_id: command.conversation_id.clone(),
        message_id: command.message_id.clone(),
        sender_id: asked.actor.clone(),
        content: Some(asked.close(&MessageContent { text: command.text.clone() })),
        create_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
    })
}

/// Messages in conversations.
pub struct Messages;

#[async_trait]
impl Noun for Messages {
    type Service = MessagingService;
    type Command = Command;
    type State = Before;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    const TIMES_RISE: bool = true;

    fn about(command: &Command) -> &str {
        &command.message_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, conversation_id) = (&seen.state, command.conversation_id.as_str());
        let (found, written) = try_join!(
            conversation::summary(state, conversation_id),
            by_id(state, conversation_id, &command.message_id),
        )?;
        let summary = found.row;
        let blocked = is_blocked(state, &asked.actor, &summary).await?;
        let rests_on = written.as_ref().map(|written| written.position);
        let written = written.map(|written| written.row);
        let newest = written.as_ref().map_or(summary.activity_time(), |written| written.create_time);
        Ok(Standing::new(Before { summary, written, blocked }, rests_on).after(newest))
    }

    /// `None`: the message was written before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        match &before.written {
            _ if before.summary.members.get(&asked.actor).is_none() => Err(Rejection::NotFound),
            Some(written) if written.payload_digest[..] != asked.digest[..] => Err(Rejection::RequestIdReused),
            Some(_) => Ok(None),
            None if before.blocked => Err(Rejection::Blocked),
            None => Ok(Some(sent(asked, command))),
        }
    }

    /// A message that is there already is none.
    fn evolve(before: &mut Before, record: &Record) {
        let Some(MessagingEvent::MessageSent(event)) = conversation::fact(record) else { return };
        if before.written.is_none() && before.summary.send(event, record.time).is_some() {
            before.written = Some(MessageRow::of(event, before.summary.last_message_time));
        }
    }
}

impl Answers<rpc::SendMessage> for Messages {
    fn parse(_: &MessagingService, asked: &Asked, request: SendMessageRequest) -> Result<Command, Failure> {
        let SendMessageRequest { conversation_id, text, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        let text = parse_text("text", &text, limits::MESSAGE)?;
        let message_id = ids::made_in(asked.id, &conversation_id).to_string();
        Ok(Command { conversation_id, message_id, text })
    }

    fn answer(opener: &Opener, _: &Asked, command: Command, before: Before) -> Result<SendMessageResponse, Failure> {
        let Command { conversation_id, message_id, .. } = command;
        let written = before.written.ok_or_else(|| Unknown::defect("a message is in the log and not there"))?;
        let MessageRow { sender_id, content, create_time, .. } = written;
        let MessageContent { text } = opener.open(&content);
        let create_time = Some(time::of_us(create_time.0));
        let message = SentMessage { conversation_id, message_id, sender_id, text, create_time };
        Ok(SendMessageResponse { message: Some(message), ..SendMessageResponse::default() })
    }
}

#[async_trait]
impl Lists<rpc::ListMessages> for Messages {
    type Service = MessagingService;
    type Wanted = String;

    fn parse(request: ListMessagesRequest) -> Result<String, Failure> {
        parse_id("conversation_id", &request.conversation_id)?;
        Ok(request.conversation_id)
    }

    async fn page(
        _: &MessagingService,
        seen: &Seen<'_>,
        conversation_id: String,
        page: &PageAsk,
    ) -> Result<(ListMessagesResponse, Option<Vec<Value>>), Failure> {
        let key = Key::text(&conversation_id);
        let (found, (rows, next)) = try_join!(
            conversation::summary(&seen.state, &conversation_id),
            page.rows::<MessageRow>(seen, &CONVERSATIONS, &key, Vec::new()),
        )?;
        found.row.members.get(&seen.viewer).ok_or(Rejection::NotFound)?;
        let opener = seen.opener();
        let messages = rows.into_iter().map(|row| present(&opener, row, &conversation_id)).collect();
        Ok((ListMessagesResponse { messages, ..ListMessagesResponse::default() }, next))
    }
}

fn present(opener: &Opener, found: Found<MessageRow>, conversation_id: &str) -> Message {
    let number = match found.clustering.first() {
        Some(Value::BigInt(number)) => number.unsigned_abs(),
        _ => 0,
    };
    let (message_id, conversation_id) = (found.text(1).to_owned(), conversation_id.to_owned());
    let MessageRow { sender_id, content, create_time, .. } = found.row;
    let MessageContent { text } = opener.open(&content);
    let create_time = Some(time::of_us(create_time.0));
    Message { conversation_id, message_id, number, sender_id, text, create_time }
}

async fn by_id(
    state: &State,
    conversation_id: &str,
    message_id: &str,
) -> Result<Option<Found<MessageRow>>, StoreError> {
    let key = Key::text(conversation_id);
    let Some(place) = state.row::<MessageIdRow>(&CONVERSATIONS, &key, under_id(message_id)).await? else {
        return Ok(None);
    };
    state.row(&CONVERSATIONS, &key, [place.row.message_number.into(), message_id.into()]).await
}

/// Whether a block stands between the caller and the other one of a direct conversation.
async fn is_blocked(state: &State, caller: &str, summary: &Summary) -> Result<bool, StoreError> {
    if !summary.is_direct() {
        return Ok(false);
    }
    let sights = Viewer::new(state, caller).sights(summary.members.account_ids()).await?;
    Ok(summary.members.account_ids().any(|id| !sights.of(id).is_clear()))
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId};
    use kith_proto::messaging::v1::ConversationCreated;
    use kith_tables::Timestamp;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    fn asked(by: RecordId) -> Asked {
        Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) }
    }

    fn command() -> Command {
        let (conversation_id, message_id) = (RecordId([5; 16]).to_string(), RecordId([6; 16]).to_string());
        Command { conversation_id, message_id, text: "hello".to_owned() }
    }

    fn between_two() -> Before {
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        let mut before = Before::default();
        before.summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        before
    }

    fn text_of(row: &MessageRow) -> String {
        Opener::new().open::<MessageContent>(&row.content).text
    }

    fn written(digest: u8) -> Option<MessageRow> {
        Some(MessageRow { payload_digest: vec![digest; 32].into(), ..MessageRow::default() })
    }

    #[test]
    fn only_members_write_and_a_block_ends_it() {
        assert!(matches!(
            Messages::decide(&between_two(), &asked(BOB), &command()),
            Ok(Some(MessagingEvent::MessageSent(_)))
        ));
        assert_eq!(Messages::decide(&between_two(), &asked(EVE), &command()), Err(Rejection::NotFound));
        assert_eq!(Messages::decide(&Before::default(), &asked(ADA), &command()), Err(Rejection::NotFound));
        let blocked = Before { blocked: true, ..between_two() };
        assert_eq!(Messages::decide(&blocked, &asked(BOB), &command()), Err(Rejection::Blocked));
        let before_the_block = Before { written: written(1), ..blocked };
        assert_eq!(Messages::decide(&before_the_block, &asked(BOB), &command()), Ok(None));
    }

    #[test]
    fn a_message_is_written_once_and_its_id_is_good_for_no_other_text() {
        let Ok(Some(event)) = Messages::decide(&between_two(), &asked(ADA), &command()) else { panic!("not written") };
        let position = Position { partition: LogPartition { topic: topics::MESSAGING, index: 0 }, offset: 1 };
        let record = Record::new(position, asked(ADA).id, event);
        let mut before = between_two();
        Messages::evolve(&mut before, &record);
        assert_eq!(before.summary.last_number, 1);
        assert_eq!(
            before.written.as_ref().map(|row| (text_of(row), row.create_time)),
            Some(("hello".to_owned(), Timestamp(7)))
        );
        assert_eq!(Messages::decide(&before, &asked(ADA), &command()), Ok(None));
        let once = before.clone();
        Messages::evolve(&mut before, &record);
        assert_eq!(before, once);
        let reused = Before { written: written(2), ..between_two() };
        assert_eq!(Messages::decide(&reused, &asked(ADA), &command()), Err(Rejection::RequestIdReused));
    }
}
