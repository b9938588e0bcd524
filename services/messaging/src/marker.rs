//! Read markers: how far a member says to have read; forward only.

use async_trait::async_trait;
use kith_content::Opener;
use kith_fold::Record;
use kith_log::{RecordId, Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{MarkReadRequest, MarkReadResponse, ReadMarkerMoved, ReadVisibility, rpc};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_tables::StoreError;

use crate::members::Member;
use crate::summary::{Summary, signed};
use crate::{MessagingService, Rejection, conversation};

/// Says that the caller has read so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub up_to_number: u64,
    /// Whether the others are told.
    pub visibility: ReadVisibility,
}

impl Command {
    /// Whether the member has read so far, has told the others if they are to be told, and has no mark as unread.
    fn is_so(&self, member: &Member) -> bool {
        let up_to = signed(self.up_to_number);
        let shown = member.progress.shown_number().max(member.from());
        let is_told = self.visibility != ReadVisibility::Public || up_to <= shown;
        up_to <= member.progress.read_number() && is_told && !member.view.is_marked()
    }
}

fn moved(asked: &Asked, command: &Command, member: &Member) -> MessagingEvent {
    let marks = member.marks_from().saturating_add(member.view.marks);
    MessagingEvent::ReadMarkerMoved(ReadMarkerMoved {
        conversation_id: command.conversation_id.clone(),
        account_id: asked.actor.clone(),
        up_to_number: command.up_to_number,
        create_time: Some(time::of_us(asked.at.0)),
        visibility: command.visibility.into(),
        clears_mark: if member.view.is_marked() { marks.unsigned_abs() } else { 0 },
    })
}

/// Read markers of the members of conversations.
pub struct Markers;

#[async_trait]
impl Noun for Markers {
    type Service = MessagingService;
    type Command = Command;
    type State = Summary;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    /// A repeat that has seen a mark as unread, which the first one had not, clears it, and is another record.
    fn record_id(asked: &Asked, event: &MessagingEvent) -> RecordId {
        match event {
            MessagingEvent::ReadMarkerMoved(moved) if moved.clears_mark > 0 => {
                ids::made_in(asked.id, &format!("mark {}", moved.clears_mark))
            }
            _ => asked.id,
        }
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Summary>, StoreError> {
        conversation::standing(&seen.state, &command.conversation_id).await
    }

    /// `None`: the marker is there, or further, and all that goes with it.
    fn decide(summary: &Summary, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let up_to = signed(command.up_to_number);
        match summary.members.get(&asked.actor) {
            None => Err(Rejection::NotFound),
            Some(_) if up_to > summary.last_number => Err(Rejection::NoSuchMessage),
            Some(member) if command.is_so(member) => Ok(None),
            Some(member) => Ok(Some(moved(asked, command, member))),
        }
    }

    fn evolve(summary: &mut Summary, record: &Record) {
        if let Some(MessagingEvent::ReadMarkerMoved(event)) = conversation::fact(record) {
            summary.read(event, (record.id, record.position.offset));
        }
    }
}

impl Answers<rpc::MarkRead> for Markers {
    fn parse(_: &MessagingService, _: &Asked, request: MarkReadRequest) -> Result<Command, Failure> {
        let visibility = ReadVisibility::try_from(request.visibility)
            .map_err(|_| Failure::field_invalid("visibility", "is no visibility"))?;
        let MarkReadRequest { conversation_id, up_to_number, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        Ok(Command { conversation_id, up_to_number, visibility })
    }

    /// Another record may have moved the marker further before this one; it never is behind the number here. Who was removed
    /// from a group before it has none.
    fn answer(_: &Opener, asked: &Asked, command: Command, summary: Summary) -> Result<MarkReadResponse, Failure> {
        if summary.is_left_by(&asked.actor) {
            return Err(Rejection::NotFound.into());
        }
        let member = summary.members.get(&asked.actor);
        let read_number = member.map_or(0, |member| member.progress.read_number().unsigned_abs());
        let conversation_id = command.conversation_id;
        Ok(MarkReadResponse { conversation_id, read_number, ..MarkReadResponse::default() })
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::messaging::v1::{ConversationCreated, MessageSent};
    use kith_tables::Timestamp;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    #[test]
    fn a_marker_is_moved_forward_by_members_to_messages_that_are_there() {
        let mut summary = Summary::default();
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        let sent = MessageSent { sender_id: ADA.to_string(), ..MessageSent::default() };
        for at in [2, 3] {
            summary.send(&sent, Timestamp(at), 1);
        }
        let decide = |summary: &Summary, by: RecordId, up_to_number| {
            let asked = Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) };
            let (conversation_id, visibility) = (String::new(), ReadVisibility::Private);
            Markers::decide(summary, &asked, &Command { conversation_id, up_to_number, visibility })
        };
        assert!(matches!(decide(&summary, BOB, 2), Ok(Some(MessagingEvent::ReadMarkerMoved(_)))));
        assert_eq!(decide(&summary, BOB, 0), Ok(None));
        assert_eq!(decide(&summary, ADA, 2), Ok(None), "her own");
        assert_eq!(decide(&summary, BOB, 3), Err(Rejection::NoSuchMessage));
        assert_eq!(decide(&summary, BOB, u64::MAX), Err(Rejection::NoSuchMessage));
        assert_eq!(decide(&summary, EVE, 0), Err(Rejection::NotFound));
        assert_eq!(decide(&Summary::default(), ADA, 0), Err(Rejection::NotFound));
    }

    #[test]
    fn a_marker_that_is_there_is_told_to_others_and_clears_the_marks_that_it_saw() {
        let mut summary = Summary::default();
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        summary.send(&MessageSent { sender_id: ADA.to_string(), ..MessageSent::default() }, Timestamp(2), 1);
        let decide = |summary: &Summary, visibility| {
            let asked = Asked { id: RecordId([9; 16]), actor: ADA.to_string(), digest: [1; 32], at: Timestamp(7) };
            let command = Command { conversation_id: String::new(), up_to_number: 1, visibility };
            Markers::decide(summary, &asked, &command).unwrap()
        };
        assert_eq!(decide(&summary, ReadVisibility::Private), None, "her own message");
        let Some(MessagingEvent::ReadMarkerMoved(event)) = decide(&summary, ReadVisibility::Public) else {
            panic!("nobody is told")
        };
        summary.read(&event, (RecordId([9; 16]), 1));
        assert_eq!(summary.members.get(&ADA.to_string()).unwrap().progress.shown_number(), 1);
        assert_eq!(decide(&summary, ReadVisibility::Public), None);
        summary.members.get_mut(&ADA.to_string()).unwrap().view.marks = 3;
        let Some(MessagingEvent::ReadMarkerMoved(event)) = decide(&summary, ReadVisibility::Private) else {
            panic!("the mark stays")
        };
        summary.read(&event, (RecordId([8; 16]), 2));
        assert_eq!(event.clears_mark, 3);
        assert!(!summary.members.get(&ADA.to_string()).unwrap().view.is_marked());
    }
}
