//! Edits: the sender gives a message other content, within a time that the records' times decide.
//!
//! Two edits at once are of one sender, who can see both: so the later one in the log stands, and none is refused for the other.
//! Whether an edit came in time is decided by its fold alone, so its record is answered once it is folded.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::Record;
use kith_log::{Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{EditMessageRequest, EditMessageResponse, MessageContent, MessageEdited, rpc};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::limits::MESSAGE_EDIT_SECONDS;
use kith_tables::StoreError;

use crate::addressed::{Addressed, Settled, settled};
use crate::said::{Said, preview};
use crate::{MessagingService, Rejection};

/// For how long a message may be edited; microseconds.
#[allow(clippy::cast_possible_wrap, reason = "a small constant")]
const EDIT_WINDOW_US: i64 = MESSAGE_EDIT_SECONDS as i64 * 1_000_000;

/// Asks for other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub message_id: String,
    pub said: Said,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub to: Addressed,
    /// What the message is to say.
    pub content: MessageContent,
}

/// Edits of messages.
pub struct Edits;

#[async_trait]
impl Noun for Edits {
    type Service = MessagingService;
    type Command = Command;
    type State = Before;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (to, content) = try_join!(
            Addressed::load(seen, asked, (&command.conversation_id, &command.message_id)),
            command.said.compose(&seen.state, &asked.actor),
        )?;
        let Standing { state: to, rests_on, newest } = to;
        Ok(Standing { state: Before { to, content }, rests_on, newest })
    }

    /// `None`: this very edit counted before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let (_, number, row) = before.to.by(asked)?;
        if row.edits.contains(asked.id) {
            return Ok(None);
        }
        match () {
            () if row.sender_id != asked.actor => Err(Rejection::NotTheAuthor),
            () if row.is_unsent() => Err(Rejection::Unsent),
            () if !before.to.is_open => Err(Rejection::EventsNotOpen),
            () if before.to.blocked => Err(Rejection::Blocked),
            () if before.to.shut => Err(Rejection::NotAllowed),
            () if !row.takes_edit(asked.at, EDIT_WINDOW_US) => Err(Rejection::EditTooLate),
            () => Ok(Some(MessagingEvent::MessageEdited(MessageEdited {
                conversation_id: command.conversation_id.clone(),
                message_id: command.message_id.clone(),
                number: number.unsigned_abs(),
                sender_id: asked.actor.clone(),
                content: Some(asked.close(&before.content)),
                preview: Some(asked.close(&preview(&before.content))),
                edit_time: Some(time::of_us(asked.at.0)),
            }))),
        }
    }

    /// The answer reads what the fold made of it.
    fn evolve(_: &mut Before, _: &Record) {}
}

impl Contests<rpc::EditMessage> for Edits {
    fn parse(_: &MessagingService, _: &Asked, request: EditMessageRequest) -> Result<Command, Failure> {
        let EditMessageRequest { conversation_id, message_id, text, media_ids, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        parse_id("message_id", &message_id)?;
        Ok(Command { conversation_id, message_id, said: Said::parse(&text, media_ids)? })
    }
}

#[async_trait]
impl Settles<rpc::EditMessage> for Edits {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<EditMessageResponse>, Unknown> {
        let Settled { summary, row, place, .. } =
            settled(&seen.state, &command.conversation_id, &command.message_id).await?;
        if !row.edits.contains(asked.id) {
            let why = match () {
                () if summary.is_left_by(&asked.actor) => Rejection::NotFound,
                () if row.is_unsent() => Rejection::Unsent,
                () => Rejection::EditTooLate,
            };
            return Ok(Verdict::Lost(why.into()));
        }
        let MessageContent { text, facets, media_ids } = seen.opener().open(&row.content);
        let (message_id, edit_time) = (command.message_id.clone(), Some(time::of_us(row.edit_time.0)));
        let response =
            EditMessageResponse { message_id, text, facets, media_ids, edit_time, ..EditMessageResponse::default() };
        Ok(Verdict::Won(response, place.into()))
    }
}

#[cfg(test)]
mod tests {
    use kith_log::RecordId;
    use kith_proto::messaging::v1::ConversationCreated;
    use kith_tables::Timestamp;

    use super::*;
    use crate::kept::MessageRow;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    #[test]
    fn only_the_sender_edits_in_time_and_what_stands() {
        let mut to = Addressed { is_open: true, ..Addressed::default() };
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        to.summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        let row = MessageRow { sender_id: ADA.to_string(), create_time: Timestamp(5), ..MessageRow::default() };
        to.message = Some((1, row.clone()));
        let decide = |to: &Addressed, by: RecordId, at: i64| {
            let asked = Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(at) };
            let (conversation_id, message_id) = (String::new(), String::new());
            let command = Command { conversation_id, message_id, said: Said::default() };
            let decided = Edits::decide(&Before { to: to.clone(), ..Before::default() }, &asked, &command);
            decided.map(|event| event.is_some())
        };
        assert_eq!(decide(&to, ADA, 5 + EDIT_WINDOW_US), Ok(true));
        assert_eq!(decide(&to, ADA, 6 + EDIT_WINDOW_US), Err(Rejection::EditTooLate));
        assert_eq!(decide(&to, BOB, 7), Err(Rejection::NotTheAuthor));
        assert_eq!(decide(&to, EVE, 7), Err(Rejection::NotFound));
        assert_eq!(decide(&Addressed { message: None, ..to.clone() }, ADA, 7), Err(Rejection::MessageNotFound));
        assert_eq!(decide(&Addressed { is_open: false, ..to.clone() }, ADA, 7), Err(Rejection::EventsNotOpen));
        assert_eq!(decide(&Addressed { blocked: true, ..to.clone() }, ADA, 7), Err(Rejection::Blocked));
        assert_eq!(decide(&Addressed { shut: true, ..to.clone() }, ADA, 7), Err(Rejection::NotAllowed));
        let mut unsent = row.clone();
        unsent.unsend(&ADA.to_string(), Timestamp(6));
        assert_eq!(decide(&Addressed { message: Some((1, unsent)), ..to.clone() }, ADA, 7), Err(Rejection::Unsent));
        let mut edited = row;
        assert!(edited.edits.insert(RecordId([9; 16])));
        assert_eq!(decide(&Addressed { message: Some((1, edited)), ..to }, ADA, i64::MAX), Ok(false), "it counted");
    }
}
