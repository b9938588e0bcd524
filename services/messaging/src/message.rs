//! Messages: written once each, listed newest first.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Found, Record, State};
use kith_log::{Offset, Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    MessageContent, MessageSent, SendMessageRequest, SendMessageResponse, SentMessage, rpc,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing, Unknown};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_tables::{Key, StoreError};

use crate::addressed::{is_blocked, is_shut, stored_or_none};
use crate::conversation::{self, CONVERSATIONS, MessageIdRow, under_id};
use crate::kept::MessageRow;
use crate::said::{Said, preview};
use crate::summary::Summary;
use crate::{MessagingService, Rejection, visible};

/// Asks to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    /// Of the message that it makes.
    pub message_id: String,
    pub said: Said,
    /// The message that it replies to; empty: none.
    pub reply_to_id: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub summary: Summary,
    /// The command's own message, if it was written before.
    pub written: Option<Written>,
    /// One of the two in a direct conversation blocks the other.
    pub blocked: bool,
    /// Whether one who has not accepted does not let the caller write.
    pub shut: bool,
    /// What the message is to say.
    pub content: MessageContent,
    /// What it is to reply to; `None`: nothing.
    pub replied: Option<Replied>,
}

/// A message that another one is to reply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replied {
    Missing,
    Unsent,
    /// It has that number.
    Stands(i64),
}

impl Replied {
    fn of(number: i64, row: &MessageRow, sees: bool) -> Self {
        match () {
            () if !sees => Self::Missing,
            () if row.is_unsent() => Self::Unsent,
            () => Self::Stands(number),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    Stands(MessageRow),
    /// It came when no more could wait for the others' acceptance.
    Void,
}

fn sent(asked: &Asked, command: &Command, before: &Before) -> MessagingEvent {
    let number = match before.replied {
        Some(Replied::Stands(number)) => number.unsigned_abs(),
        Some(Replied::Missing | Replied::Unsent) | None => 0,
    };
    MessagingEvent::MessageSent(MessageSent {
        conversation_id: command.conversation_id.clone(),
        message_id: command.message_id.clone(),
        sender_id: asked.actor.clone(),
        content: Some(asked.close(&before.content)),
        create_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
        reply_to_message_id: command.reply_to_id.clone(),
        reply_to_number: number,
        preview: Some(asked.close(&preview(&before.content))),
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

    /// Where only so many may wait, a message stands or not by those before it.
    fn about<'c>(command: &'c Command, before: &Before) -> &'c str {
        if before.summary.waits() { &command.conversation_id } else { &command.message_id }
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, conversation_id) = (&seen.state, command.conversation_id.as_str());
        let (found, written, content, replied) = try_join!(
            conversation::summary(state, conversation_id),
            by_id(state, conversation_id, &command.message_id),
            command.said.compose(state, &asked.actor),
            stored_or_none(state, conversation_id, &command.reply_to_id),
        )?;
        let summary = found.row;
        let (blocked, shut) =
            try_join!(is_blocked(state, &asked.actor, &summary), is_shut(state, &asked.actor, &summary))?;
        let replied = match (command.reply_to_id.as_str(), replied) {
            ("", _) => None,
            (_, None) => Some(Replied::Missing),
            (_, Some((number, found))) => {
                let sees = visible::sees(state, &asked.actor, &summary, (number, &found.row.sender_id)).await?;
                Some(Replied::of(number, &found.row, sees))
            }
        };
        let rests_on = written.as_ref().map(|(position, _)| *position);
        let written = written.map(|(_, written)| written);
        let newest = match &written {
            Some(Written::Stands(row)) => row.create_time,
            Some(Written::Void) | None => summary.activity_time(),
        };
        Ok(Standing::new(Before { summary, written, blocked, shut, content, replied }, rests_on).after(newest))
    }

    /// `None`: the message was written before. Of one that was unsent nothing is left that another content could be told from.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        match &before.written {
            Some(Written::Stands(row)) if row.is_unsent() => Ok(None),
            // Also of one who has left the group since.
            Some(Written::Stands(row)) if row.payload_digest[..] != asked.digest[..] => Err(Rejection::RequestIdReused),
            Some(Written::Stands(_)) => Ok(None),
            _ if before.summary.members.get(&asked.actor).is_none() => Err(Rejection::NotFound),
            Some(Written::Void) => Err(void(&before.summary)),
            None if before.blocked => Err(Rejection::Blocked),
            None if before.shut => Err(Rejection::NotAllowed),
            None if before.summary.is_full_for(&asked.actor) => Err(Rejection::NotAccepted),
            None => match before.replied {
                Some(Replied::Missing) => Err(Rejection::MessageNotFound),
                Some(Replied::Unsent) => Err(Rejection::Unsent),
                Some(Replied::Stands(_)) | None => Ok(Some(sent(asked, command, before))),
            },
        }
    }

    /// A message that is there already is none.
    fn evolve(before: &mut Before, record: &Record) {
        let Some(MessagingEvent::MessageSent(event)) = conversation::fact(record) else { return };
        if before.written.is_some() {
            return;
        }
        let (summary, sender) = (&before.summary, &event.sender_id);
        let is_void = summary.is_full_for(sender) || summary.is_left_by(sender);
        if before.summary.send(event, record.time, record.position.offset).is_some() {
            before.written = Some(Written::Stands(MessageRow::of(event, before.summary.last_message_time)));
        } else if is_void {
            before.written = Some(Written::Void);
        }
    }
}

impl Answers<rpc::SendMessage> for Messages {
    fn parse(_: &MessagingService, asked: &Asked, request: SendMessageRequest) -> Result<Command, Failure> {
        let SendMessageRequest { conversation_id, text, media_ids, reply_to_message_id: reply_to_id, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        if !reply_to_id.is_empty() {
            parse_id("reply_to_message_id", &reply_to_id)?;
        }
        let said = Said::parse(&text, media_ids)?;
        let message_id = ids::made_in(asked.id, &conversation_id).to_string();
        Ok(Command { conversation_id, message_id, said, reply_to_id })
    }

    fn answer(opener: &Opener, _: &Asked, command: Command, before: Before) -> Result<SendMessageResponse, Failure> {
        let Command { conversation_id, message_id, .. } = command;
        let row = match before.written {
            Some(Written::Stands(row)) => row,
            // Others of the caller came before it, or its removal did.
            Some(Written::Void) => return Err(void(&before.summary).into()),
            None => return Err(Unknown::defect("a message is in the log and not there").into()),
        };
        let MessageRow { sender_id, content, create_time, reply_to_id: reply_to_message_id, .. } = row;
        let MessageContent { text, facets, media_ids } = opener.open(&content);
        let create_time = Some(time::of_us(create_time.0));
        let message = SentMessage {
            conversation_id,
            message_id,
            sender_id,
            text,
            create_time,
            facets,
            media_ids,
            reply_to_message_id,
        };
        Ok(SendMessageResponse { message: Some(message), ..SendMessageResponse::default() })
    }
}

/// What became of the message, and the offset of its record.
async fn by_id(
    state: &State,
    conversation_id: &str,
    message_id: &str,
) -> Result<Option<(Offset, Written)>, StoreError> {
    let key = Key::text(conversation_id);
    let Some(place) = state.row::<MessageIdRow>(&CONVERSATIONS, &key, under_id(message_id)).await? else {
        return Ok(None);
    };
    if place.row.message_number == 0 {
        return Ok(Some((place.position, Written::Void)));
    }
    let found = state.row(&CONVERSATIONS, &key, [place.row.message_number.into(), message_id.into()]).await?;
    Ok(found.map(|found: Found<MessageRow>| (found.position, Written::Stands(found.row))))
}

/// Why a message is none.
fn void(summary: &Summary) -> Rejection {
    if summary.is_group() { Rejection::NotFound } else { Rejection::NotAccepted }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId};
    use kith_proto::messaging::v1::ConversationCreated;
    use kith_tables::Timestamp;

    use super::*;
    use crate::consent::Consent;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    fn asked(by: RecordId) -> Asked {
        Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) }
    }

    fn command() -> Command {
        let (conversation_id, message_id) = (RecordId([5; 16]).to_string(), RecordId([6; 16]).to_string());
        let said = Said { text: "hello".to_owned(), media_ids: Vec::new() };
        Command { conversation_id, message_id, said, reply_to_id: String::new() }
    }

    fn between_two() -> Before {
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        let content = MessageContent { text: "hello".to_owned(), ..MessageContent::default() };
        let mut before = Before { content, ..Before::default() };
        before.summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        before
    }

    fn text_of(row: &MessageRow) -> String {
        Opener::new().open::<MessageContent>(&row.content).text
    }

    fn written(digest: u8) -> Option<Written> {
        Some(Written::Stands(MessageRow { payload_digest: vec![digest; 32].into(), ..MessageRow::default() }))
    }

    fn row(before: &Before) -> Option<&MessageRow> {
        match &before.written {
            Some(Written::Stands(row)) => Some(row),
            Some(Written::Void) | None => None,
        }
    }

    #[test]
    fn so_many_messages_wait_for_acceptance_and_no_copy_of_a_further_one_counts_later() {
        let mut before = between_two();
        before.summary.members.get_mut(&BOB.to_string()).unwrap().consent = Consent::Asked;
        let send = |before: &mut Before, by: RecordId, message: u8| {
            let command = Command { message_id: RecordId([message; 16]).to_string(), ..command() };
            before.written = None;
            let event = sent(&asked(by), &command, before);
            let position = Position { partition: LogPartition { topic: topics::MESSAGING, index: 0 }, offset: 9 };
            Messages::evolve(before, &Record::new(position, RecordId([message; 16]), event));
        };
        for message in 1..=3 {
            send(&mut before, ADA, message);
            assert!(row(&before).is_some());
        }
        before.written = None;
        assert_eq!(Messages::decide(&before, &asked(ADA), &command()), Err(Rejection::NotAccepted));
        send(&mut before, ADA, 4);
        assert_eq!((&before.written, before.summary.last_number), (&Some(Written::Void), 3));
        before.summary.decline(&BOB.to_string(), 0);
        assert_eq!(Messages::decide(&before, &asked(ADA), &command()), Err(Rejection::NotAccepted), "nothing is told");
        send(&mut before, BOB, 5);
        assert_eq!(before.summary.last_number, 4, "writing back accepts");
        let void = Before { written: Some(Written::Void), ..before.clone() };
        assert_eq!(Messages::decide(&void, &asked(ADA), &command()), Err(Rejection::NotAccepted), "for ever");
        send(&mut before, ADA, 6);
        assert_eq!(before.summary.last_number, 5);
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
        let shut = Before { shut: true, ..between_two() };
        assert_eq!(Messages::decide(&shut, &asked(BOB), &command()), Err(Rejection::NotAllowed));
        let before_the_block = Before { written: written(1), ..blocked };
        assert_eq!(Messages::decide(&before_the_block, &asked(BOB), &command()), Ok(None));
    }

    #[test]
    fn a_reply_names_a_message_that_stands() {
        let replying = |replied| {
            let before = Before { replied: Some(replied), ..between_two() };
            let command = Command { reply_to_id: RecordId([7; 16]).to_string(), ..command() };
            Messages::decide(&before, &asked(ADA), &command)
        };
        assert_eq!(replying(Replied::Missing), Err(Rejection::MessageNotFound));
        assert_eq!(replying(Replied::Unsent), Err(Rejection::Unsent));
        let Ok(Some(MessagingEvent::MessageSent(event))) = replying(Replied::Stands(4)) else { panic!("not sent") };
        assert_eq!((event.reply_to_number, event.reply_to_message_id), (4, RecordId([7; 16]).to_string()));
    }

    #[test]
    fn a_message_is_written_once_and_its_id_is_good_for_no_other_text() {
        let Ok(Some(event)) = Messages::decide(&between_two(), &asked(ADA), &command()) else { panic!("not written") };
        let position = Position { partition: LogPartition { topic: topics::MESSAGING, index: 0 }, offset: 1 };
        let record = Record::new(position, asked(ADA).id, event);
        let mut before = between_two();
        Messages::evolve(&mut before, &record);
        assert_eq!(before.summary.last_number, 1);
        assert_eq!(row(&before).map(|row| (text_of(row), row.create_time)), Some(("hello".to_owned(), Timestamp(7))));
        assert_eq!(Messages::decide(&before, &asked(ADA), &command()), Ok(None));
        let once = before.clone();
        Messages::evolve(&mut before, &record);
        assert_eq!(before, once);
        let mut unsent = before.clone();
        if let Some(Written::Stands(row)) = &mut unsent.written {
            assert!(row.unsend(&ADA.to_string(), Timestamp(8)));
        }
        assert_eq!(Messages::decide(&unsent, &Asked { digest: [2; 32], ..asked(ADA) }, &command()), Ok(None));
        let reused = Before { written: written(2), ..between_two() };
        assert_eq!(Messages::decide(&reused, &asked(ADA), &command()), Err(Rejection::RequestIdReused));
    }
}
