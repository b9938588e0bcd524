//! The one conversation of two accounts.
//!
//! Both may ask at once, and the first record stands. So a `ConversationCreated` is run as an intent is: the answer is read
//! when the record is folded, and who came second is told what the first one made.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::{CONSENT_EVENTS, Record};
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

use crate::policy::Door;
use crate::summary::Summary;
use crate::{MessagingService, Rejection, conversation, inbox};

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
    /// How the other stands to the caller, who would open it.
    pub door: Door,
    /// Whether operators opened the events by which it can wait for the other.
    pub may_wait: bool,
}

/// It waits for one who does not follow the caller, as the decision had seen it.
fn created(before: &Before, asked: &Asked, command: &Command) -> MessagingEvent {
    let mut member_ids = vec![asked.actor.clone(), command.other_id.clone()];
    member_ids.sort_unstable();
    let is_stranger = before.may_wait && !before.door.follows.stands;
    let asked_member_ids = is_stranger.then(|| command.other_id.clone()).into_iter().collect();
    let seen_identity_offset = if before.may_wait { before.door.follows.seen_offset } else { 0 };
    MessagingEvent::ConversationCreated(ConversationCreated {
        conversation_id: command.conversation_id.clone(),
        kind: ConversationKind::Direct.into(),
        member_ids,
        creator_id: asked.actor.clone(),
        create_time: Some(time::of_us(asked.at.0)),
        asked_member_ids,
        seen_identity_offset,
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
        let (found, account, sight, door) = try_join!(
            conversation::summary(state, &command.conversation_id),
            account::account(state, other_id),
            viewer.meeting(other_id),
            Door::of(state, other_id, &asked.actor),
        )?;
        let rests_on = found.row.exists().then_some(found.position);
        let account_time = account.as_ref().map(|account| account.create_time).unwrap_or_default();
        let newest = found.row.activity_time().max(account_time);
        let may_wait = seen.events_open() >= CONSENT_EVENTS;
        let before = Before { summary: found.row, other: account.map(|_| sight), door, may_wait };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// `None`: there is the conversation. Whoever made it and asks again is answered, as with every command that was applied.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        match before.other {
            _ if before.summary.creation_id == asked.id.to_string() => Ok(None),
            None | Some(Sight::BlockedBy | Sight::Away) => Err(Rejection::AccountNotFound),
            Some(Sight::Blocks) => Err(Rejection::AccountBlocked),
            Some(Sight::Clear | Sight::Private) if before.summary.exists() => Ok(None),
            Some(Sight::Clear | Sight::Private) if !before.door.admits() => Err(Rejection::NotAllowed),
            Some(Sight::Clear | Sight::Private) => Ok(Some(created(before, asked, command))),
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
        let viewer = (asked.actor.as_str(), asked.at);
        let conversation = inbox::seen_by(&seen.state, &seen.opener(), viewer, (conversation_id, &found.row)).await?;
        if conversation.is_none() {
            return Err(Unknown::defect("a conversation of two is folded and not there"));
        }
        let response = GetOrCreateDirectResponse { conversation, ..GetOrCreateDirectResponse::default() };
        let partition = LogPartition::of_key(topics::MESSAGING, conversation_id, seen.state.partition_count());
        Ok(Verdict::Won(response, Position { partition, offset: found.position }.into()))
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::messaging::v1::MessagingPolicy;
    use kith_relations::follow::Following;
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
    fn it_waits_for_one_who_does_not_follow_the_caller_and_is_closed_by_a_policy() {
        let opened = |policy, stands, may_wait| {
            let door = Door { policy, follows: Following { stands, seen_offset: 9 } };
            let before = Before { other: Some(Sight::Clear), door, may_wait, ..Before::default() };
            match Directs::decide(&before, &asked(ADA, 7), &with(BOB))? {
                Some(MessagingEvent::ConversationCreated(event)) => {
                    Ok((event.asked_member_ids, event.seen_identity_offset))
                }
                other => panic!("{other:?}"),
            }
        };
        let bob = vec![BOB.to_string()];
        assert_eq!(opened(MessagingPolicy::Everyone, false, true), Ok((bob, 9)));
        assert_eq!(opened(MessagingPolicy::Everyone, true, true), Ok((Vec::new(), 9)));
        assert_eq!(opened(MessagingPolicy::Everyone, false, false), Ok((Vec::new(), 0)), "as a release before would");
        assert_eq!(opened(MessagingPolicy::Followed, true, true), Ok((Vec::new(), 9)));
        for (policy, stands) in [(MessagingPolicy::Followed, false), (MessagingPolicy::Nobody, true)] {
            assert_eq!(opened(policy, stands, true), Err(Rejection::NotAllowed));
        }
    }

    #[test]
    fn it_is_created_once_and_only_between_those_who_see_each_other() {
        let mut before = Before { other: Some(Sight::Clear), ..Before::default() };
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
                (Some(Sight::Away), Rejection::AccountNotFound),
                (Some(Sight::Blocks), Rejection::AccountBlocked),
            ] {
                let before = Before { summary: summary.clone(), other, ..Before::default() };
                assert_eq!(Directs::decide(&before, &other_command(ADA), &with(BOB)), Err(refused));
                let again = Directs::decide(&before, &asked(BOB, 9), &with(ADA));
                assert_eq!(again.is_ok(), before.summary.exists(), "whoever made it is answered again");
            }
        }
    }
}
