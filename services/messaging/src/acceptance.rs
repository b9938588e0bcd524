//! Accepting a conversation that waits among one's requests, and declining it.
//!
//! The answer shows the conversation, which others write in meanwhile: so it is read once the record is folded.

use async_trait::async_trait;
use kith_fold::Record;
use kith_log::{Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    AcceptConversationRequest, AcceptConversationResponse, ConversationAccepted, ConversationDeclined,
    DeclineConversationRequest, DeclineConversationResponse, rpc,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::StoreError;

use crate::consent::Consent;
use crate::summary::Summary;
use crate::viewing::{shown, verdict};
use crate::{MessagingService, Rejection, conversation};

/// Accepts, or declines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub accepts: bool,
}

/// `seat`: the number of the caller's seat in a group, or 0.
fn event(asked: &Asked, command: &Command, seat: u64) -> MessagingEvent {
    let (conversation_id, account_id) = (command.conversation_id.clone(), asked.actor.clone());
    let create_time = Some(time::of_us(asked.at.0));
    match command.accepts {
        true => MessagingEvent::ConversationAccepted(ConversationAccepted {
            conversation_id,
            account_id,
            create_time,
            seat,
        }),
        false => MessagingEvent::ConversationDeclined(ConversationDeclined {
            conversation_id,
            account_id,
            create_time,
            seat,
        }),
    }
}

/// What members make of what waits for them.
pub struct Acceptances;

#[async_trait]
impl Noun for Acceptances {
    type Service = MessagingService;
    type Command = Command;
    type State = Summary;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.conversation_id
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Summary>, StoreError> {
        conversation::standing(&seen.state, &command.conversation_id).await
    }

    /// `None`: it is so, or, of a refusal, the conversation is in the inbox for good.
    fn decide(summary: &Summary, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let member = summary.members.get(&asked.actor).ok_or(Rejection::NotFound)?;
        let changes = match member.consent {
            Consent::Asked => true,
            Consent::Declined => command.accepts,
            Consent::Given | Consent::Accepted(_) => false,
        };
        Ok(changes.then(|| event(asked, command, member.seat_number())))
    }

    fn evolve(summary: &mut Summary, record: &Record) {
        match conversation::fact(record) {
            Some(MessagingEvent::ConversationAccepted(event)) => {
                summary.accept(&event.account_id, event.seat, record.position.offset);
            }
            Some(MessagingEvent::ConversationDeclined(event)) => summary.decline(&event.account_id, event.seat),
            _ => {}
        }
    }
}

impl Command {
    fn parse(conversation_id: String, accepts: bool) -> Result<Self, Failure> {
        parse_id("conversation_id", &conversation_id)?;
        Ok(Self { conversation_id, accepts })
    }
}

impl Contests<rpc::AcceptConversation> for Acceptances {
    fn parse(_: &MessagingService, _: &Asked, request: AcceptConversationRequest) -> Result<Command, Failure> {
        Command::parse(request.conversation_id, true)
    }
}

#[async_trait]
impl Settles<rpc::AcceptConversation> for Acceptances {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<AcceptConversationResponse>, Unknown> {
        let shown = shown(seen, asked, &command.conversation_id).await?;
        Ok(verdict(shown, |conversation| AcceptConversationResponse {
            conversation,
            ..AcceptConversationResponse::default()
        }))
    }
}

impl Contests<rpc::DeclineConversation> for Acceptances {
    fn parse(_: &MessagingService, _: &Asked, request: DeclineConversationRequest) -> Result<Command, Failure> {
        Command::parse(request.conversation_id, false)
    }
}

#[async_trait]
impl Settles<rpc::DeclineConversation> for Acceptances {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<DeclineConversationResponse>, Unknown> {
        let shown = shown(seen, asked, &command.conversation_id).await?;
        Ok(verdict(shown, |conversation| DeclineConversationResponse {
            conversation,
            ..DeclineConversationResponse::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use kith_log::RecordId;
    use kith_proto::messaging::v1::ConversationCreated;
    use kith_tables::Timestamp;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    #[test]
    fn what_is_so_needs_no_record_and_who_is_not_in_it_finds_nothing() {
        let mut summary = Summary::default();
        let event = ConversationCreated {
            member_ids: vec![ADA.to_string(), BOB.to_string()],
            creator_id: ADA.to_string(),
            asked_member_ids: vec![BOB.to_string()],
            ..ConversationCreated::default()
        };
        summary.create(&event, Timestamp(1), ADA);
        let decide = |summary: &Summary, by: RecordId, accepts| {
            let asked = Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) };
            Acceptances::decide(summary, &asked, &Command { conversation_id: String::new(), accepts })
        };
        assert!(matches!(decide(&summary, BOB, true), Ok(Some(MessagingEvent::ConversationAccepted(_)))));
        assert!(matches!(decide(&summary, BOB, false), Ok(Some(MessagingEvent::ConversationDeclined(_)))));
        assert_eq!([true, false].map(|accepts| decide(&summary, ADA, accepts)), [Ok(None), Ok(None)], "it is hers");
        assert_eq!(
            [true, false].map(|accepts| decide(&summary, EVE, accepts)),
            [const { Err(Rejection::NotFound) }; 2]
        );
        summary.decline(&BOB.to_string(), 0);
        assert_eq!(decide(&summary, BOB, false), Ok(None));
        assert!(matches!(decide(&summary, BOB, true), Ok(Some(_))), "he may change his mind");
        summary.accept(&BOB.to_string(), 0, 5);
        assert_eq!([true, false].map(|accepts| decide(&summary, BOB, accepts)), [Ok(None), Ok(None)], "for good");
    }
}
