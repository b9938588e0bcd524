//! The one conversation of two accounts.
//!
//! Both may ask at once, and the first record stands. So a `ConversationCreated` is run as an intent is: the answer is read
//! when the record is folded, and who came second is told what the first one made.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::Record;
use kith_log::{LogPartition, Position, RecordId, Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    ConversationCreated, ConversationKind, GetOrCreateDirectRequest, GetOrCreateDirectResponse, rpc,
};
use kith_proto::time;
use kith_relations::account;
use kith_relations::sight::{Sight, Viewer};
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_tables::StoreError;

use crate::inbox::InboxRow;
use crate::summary::Summary;
use crate::{MessagingService, Rejection, conversation};

/// Asks for the conversation with another account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub other_id: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub summary: Summary,
    /// How the caller sees the other account; `None`: there is none.
    pub other: Option<Sight>,
}

fn created(asked: &Asked, command: &Command) -> MessagingEvent {
    let mut member_ids = vec![asked.actor.clone(), command.other_id.clone()];
    member_ids.sort_unstable();
    MessagingEvent::ConversationCreated(ConversationCreated {
        conversation_id: command.conversation_id.clone(),
        kind: ConversationKind::Direct.into(),
        member_ids,
        creator_id: asked.actor.clone(),
        create_time: Some(time::of_us(asked.at.0)),
    })
}

/// The id of the conversation of two, whoever of them asks.
pub fn direct_id(one: RecordId, other: RecordId) -> RecordId {
    let (low, high) = (one.min(other), one.max(other));
    let digest = ids::payload_digest(&[b"kith.conversation.direct.v1", &low.0, &high.0]);
    let mut id = RecordId::default();
    id.0.copy_from_slice(&digest[..16]);
    id
}

/// Conversations of two.
pub struct Directs;

#[async_trait]
impl Noun for Directs {
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
        let (state, other_id) = (&seen.state, command.other_id.as_str());
        let viewer = Viewer::new(state, &asked.actor);
        let (found, account, sight) = try_join!(
            conversation::summary(state, &command.conversation_id),
            account::account(state, other_id),
            viewer.sight(other_id),
        )?;
        let rests_on = found.row.exists().then_some(found.position);
        let account_time = account.as_ref().map(|account| account.create_time).unwrap_or_default();
        let newest = found.row.activity_time().max(account_time);
        let before = Before { summary: found.row, other: account.map(|_| sight) };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// `None`: there is the conversation. Whoever made it and asks again is answered, as with every command that was applied.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        match before.other {
            _ if before.summary.creation_id == asked.id.to_string() => Ok(None),
            None | Some(Sight::BlockedBy) => Err(Rejection::AccountNotFound),
            Some(Sight::Blocks) => Err(Rejection::AccountBlocked),
            Some(Sight::Clear) if before.summary.exists() => Ok(None),
            Some(Sight::Clear) => Ok(Some(created(asked, command))),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(MessagingEvent::ConversationCreated(event)) = conversation::fact(record) {
            before.summary.create(event, record.time, record.id);
        }
    }
}

impl Contests<rpc::GetOrCreateDirect> for Directs {
    fn parse(_: &MessagingService, asked: &Asked, request: GetOrCreateDirectRequest) -> Result<Command, Failure> {
        let other = parse_id("account_id", &request.account_id)?;
        let caller = RecordId::parse(&asked.actor).ok_or_else(Failure::internal)?;
        if other == caller {
            return Err(Rejection::WithOneself.into());
        }
        Ok(Command { conversation_id: direct_id(caller, other).to_string(), other_id: request.account_id })
    }
}

#[async_trait]
impl Settles<rpc::GetOrCreateDirect> for Directs {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<GetOrCreateDirectResponse>, Unknown> {
        let conversation_id = &command.conversation_id;
        let found = conversation::summary(&seen.state, conversation_id).await?;
        let Some(me) = found.row.members.get(&asked.actor) else {
            return Err(Unknown::defect("a conversation of two is folded and not there"));
        };
        let conversation = Some(InboxRow::of(&found.row, me).present(conversation_id));
        let response = GetOrCreateDirectResponse { conversation, ..GetOrCreateDirectResponse::default() };
        let partition = LogPartition::of_key(topics::MESSAGING, conversation_id, seen.state.partition_count());
        Ok(Verdict::Won(response, Position { partition, offset: found.position }.into()))
    }
}

#[cfg(test)]
mod tests {
    use kith_tables::Timestamp;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const EVE: RecordId = RecordId([3; 16]);

    fn asked(by: RecordId, at: i64) -> Asked {
        Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(at) }
    }

    fn with(other: RecordId) -> Command {
        Command { conversation_id: direct_id(ADA, BOB).to_string(), other_id: other.to_string() }
    }

    #[test]
    fn a_direct_conversation_is_the_same_whoever_asks() {
        assert_eq!(direct_id(ADA, BOB), direct_id(BOB, ADA));
        assert_ne!(direct_id(ADA, BOB), direct_id(ADA, EVE));
        assert_eq!(direct_id(ADA, BOB).to_string(), "cfd34b05d3e954715c2079113246fbb4", "part of the log's contract");
    }

    #[test]
    fn it_is_created_once_and_only_between_those_who_see_each_other() {
        let mut before = Before { summary: Summary::default(), other: Some(Sight::Clear) };
        let Ok(Some(MessagingEvent::ConversationCreated(event))) = Directs::decide(&before, &asked(BOB, 7), &with(ADA))
        else {
            panic!("not created")
        };
        assert_eq!(event.member_ids, [ADA.to_string(), BOB.to_string()]);
        assert_eq!((event.creator_id.clone(), event.create_time), (BOB.to_string(), Some(time::of_us(7))));
        before.summary.create(&event, Timestamp(7), asked(BOB, 7).id);
        let other_command = |by| Asked { id: RecordId([8; 16]), ..asked(by, 8) };
        assert_eq!(Directs::decide(&before, &other_command(ADA), &with(BOB)), Ok(None));
        for summary in [Summary::default(), before.summary] {
            for (other, refused) in [
                (None, Rejection::AccountNotFound),
                (Some(Sight::BlockedBy), Rejection::AccountNotFound),
                (Some(Sight::Blocks), Rejection::AccountBlocked),
            ] {
                let before = Before { summary: summary.clone(), other };
                assert_eq!(Directs::decide(&before, &other_command(ADA), &with(BOB)), Err(refused));
                let again = Directs::decide(&before, &asked(BOB, 9), &with(ADA));
                assert_eq!(again.is_ok(), before.summary.exists(), "whoever made it is answered again");
            }
        }
    }
}
