//! What an account makes of a conversation for itself: mutes it, puts it away, marks it as unread. Nobody else learns of it.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::{AppliedIds, MESSAGE_EVENTS, Record};
use kith_log::{LogPartition, Position, Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    Conversation, ConversationArchived, ConversationMarkedUnread, ConversationMuted, ConversationUnarchived,
    ConversationUnmuted, rpc,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::{Key, StoreError};

use crate::conversation::{self, CONVERSATIONS, ViewIdsRow, under_id};
use crate::members::Member;
use crate::summary::Summary;
use crate::view::{FOR_EVER, View};
use crate::{MessagingService, Rejection, inbox};

/// What is to become of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Until then, microseconds since 1970, or [`FOR_EVER`].
    Mute(i64),
    Unmute,
    Archive,
    Unarchive,
    MarkUnread,
}

/// Changes the caller's view of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub change: Change,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub summary: Summary,
    /// The last changes of the caller's.
    pub applied: AppliedIds,
    /// Whether operators opened the events that it makes.
    pub is_open: bool,
}

impl Change {
    fn is_so(self, view: &View, last_number: i64) -> bool {
        match self {
            Self::Mute(until_us) => view.muted_until_us == until_us,
            Self::Unmute => view.muted_until_us == 0,
            Self::Archive => view.archived_at == Some(last_number),
            Self::Unarchive => view.archived_at.is_none(),
            Self::MarkUnread => view.is_marked(),
        }
    }
}

fn event(asked: &Asked, command: &Command, member: &Member) -> MessagingEvent {
    let (conversation_id, account_id) = (command.conversation_id.clone(), asked.actor.clone());
    let create_time = Some(time::of_us(asked.at.0));
    match command.change {
        Change::Mute(until_us) => {
            let until = (until_us != FOR_EVER).then(|| time::of_us(until_us));
            MessagingEvent::ConversationMuted(ConversationMuted { conversation_id, account_id, until, create_time })
        }
        Change::Unmute => {
            MessagingEvent::ConversationUnmuted(ConversationUnmuted { conversation_id, account_id, create_time })
        }
        Change::Archive => {
            MessagingEvent::ConversationArchived(ConversationArchived { conversation_id, account_id, create_time })
        }
        Change::Unarchive => {
            MessagingEvent::ConversationUnarchived(ConversationUnarchived { conversation_id, account_id, create_time })
        }
        Change::MarkUnread => MessagingEvent::ConversationMarkedUnread(ConversationMarkedUnread {
            conversation_id,
            account_id,
            mark: member.marks_from().saturating_add(member.view.marks).saturating_add(1).unsigned_abs(),
            create_time,
        }),
    }
}

/// Accounts' own views of conversations.
pub struct Views;

#[async_trait]
impl Noun for Views {
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
        let (state, conversation_id) = (&seen.state, command.conversation_id.as_str());
        let key = Key::text(conversation_id);
        let (found, ids) = try_join!(
            conversation::standing(state, conversation_id),
            state.row::<ViewIdsRow>(&CONVERSATIONS, &key, under_id(&asked.actor)),
        )?;
        let Standing { state: summary, rests_on, newest } = found;
        let applied = ids.map(|found| found.row.applied).unwrap_or_default();
        let is_open = seen.events_open() >= MESSAGE_EVENTS;
        Ok(Standing { state: Before { summary, applied, is_open }, rests_on, newest })
    }

    /// `None`: it is so, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let member = before.summary.members.get(&asked.actor).ok_or(Rejection::NotFound)?;
        let is_so = command.change.is_so(&member.view, before.summary.last_number);
        if is_so || before.applied.contains(asked.id) {
            return Ok(None);
        }
        if !before.is_open {
            return Err(Rejection::EventsNotOpen);
        }
        Ok(Some(event(asked, command, member)))
    }

    /// The answer reads what the fold made of it.
    fn evolve(_: &mut Before, _: &Record) {}
}

impl Command {
    fn parse(conversation_id: String, change: Change) -> Result<Self, Failure> {
        parse_id("conversation_id", &conversation_id)?;
        Ok(Self { conversation_id, change })
    }
}

/// The conversation as the caller sees it now, and where the log has that. Who was removed from a group before the record finds
/// none.
pub async fn shown(
    seen: &Seen<'_>,
    asked: &Asked,
    conversation_id: &str,
) -> Result<Result<(Conversation, Position), Failure>, Unknown> {
    let found = conversation::summary(&seen.state, conversation_id).await?;
    if found.row.is_left_by(&asked.actor) {
        return Ok(Err(Rejection::NotFound.into()));
    }
    let viewer = (asked.actor.as_str(), asked.at);
    let shown = inbox::seen_by(&seen.state, &seen.opener(), viewer, (conversation_id, &found.row)).await?;
    let shown = shown.ok_or_else(|| Unknown::defect("something is done to a conversation that is not there"))?;
    let partition = LogPartition::of_key(topics::MESSAGING, conversation_id, seen.state.partition_count());
    Ok(Ok((shown, Position { partition, offset: found.position })))
}

/// The answer with that conversation.
pub fn verdict<T>(
    shown: Result<(Conversation, Position), Failure>,
    answer: impl FnOnce(Option<Conversation>) -> T,
) -> Verdict<T> {
    match shown {
        Ok((conversation, place)) => Verdict::Won(answer(Some(conversation)), place.into()),
        Err(why) => Verdict::Lost(why),
    }
}

/// Declares the RPCs that change the view: each answers with the conversation.
macro_rules! changes {
    ($($rpc:ident => $response:ident, |$request:ident| $change:expr;)*) => {$(
        impl Contests<rpc::$rpc> for Views {
            fn parse(
                _: &MessagingService,
                _: &Asked,
                $request: <rpc::$rpc as kith_proto::rpc::Rpc>::Request,
            ) -> Result<Command, Failure> {
                let change = $change;
                Command::parse($request.conversation_id, change)
            }
        }

        #[async_trait]
        impl Settles<rpc::$rpc> for Views {
            async fn settle(
                seen: &Seen<'_>,
                asked: &Asked,
                command: &Command,
            ) -> Result<Verdict<kith_proto::messaging::v1::$response>, Unknown> {
                let shown = shown(seen, asked, &command.conversation_id).await?;
                Ok(verdict(shown, |conversation| kith_proto::messaging::v1::$response {
                    conversation,
                    ..Default::default()
                }))
            }
        }
    )*};
}

changes! {
    MuteConversation => MuteConversationResponse, |request| Change::Mute(until(request.until.as_ref())?);
    UnmuteConversation => UnmuteConversationResponse, |request| Change::Unmute;
    ArchiveConversation => ArchiveConversationResponse, |request| Change::Archive;
    UnarchiveConversation => UnarchiveConversationResponse, |request| Change::Unarchive;
    MarkUnread => MarkUnreadResponse, |request| Change::MarkUnread;
}

/// When a mute ends, in whole milliseconds.
fn until(asked: Option<&prost_types::Timestamp>) -> Result<i64, Failure> {
    let Some(until) = asked else { return Ok(FOR_EVER) };
    let ms = time::parse_unix_ms(until).map_err(|error| Failure::field_invalid("until", &format!("is {error}")))?;
    Ok(ms.max(0).saturating_mul(1_000))
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
    fn what_is_so_needs_no_record_and_nobody_views_what_one_is_not_in() {
        let mut before = Before { is_open: true, ..Before::default() };
        let member_ids = vec![ADA.to_string(), BOB.to_string()];
        before.summary.create(&ConversationCreated { member_ids, ..ConversationCreated::default() }, Timestamp(1), ADA);
        let decide = |before: &Before, by: RecordId, change| {
            let asked = Asked { id: RecordId([9; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) };
            Views::decide(before, &asked, &Command { conversation_id: String::new(), change })
        };
        let all = [Change::Mute(99), Change::Unmute, Change::Archive, Change::Unarchive, Change::MarkUnread];
        let changes = |before: &Before| all.map(|change| decide(before, ADA, change).unwrap().is_some());
        assert_eq!(changes(&before), [true, false, true, false, true]);
        let member = before.summary.members.get_mut(&ADA.to_string()).unwrap();
        for change in [Change::Mute(99), Change::Archive, Change::MarkUnread] {
            let asked = Asked { id: RecordId([9; 16]), actor: ADA.to_string(), digest: [1; 32], at: Timestamp(7) };
            let command = Command { conversation_id: String::new(), change };
            let event = event(&asked, &command, member);
            member.view.change(&event, 0, 0);
        }
        assert_eq!(changes(&before), [false, true, false, true, false]);
        assert_eq!(decide(&before, EVE, Change::Archive), Err(Rejection::NotFound));
        let shut = Before { is_open: false, ..before.clone() };
        assert_eq!(decide(&shut, ADA, Change::Unmute), Err(Rejection::EventsNotOpen));
        assert!(before.applied.insert(RecordId([9; 16])));
        assert_eq!(changes(&before), [false; 5], "a copy");
    }

    #[test]
    fn a_mute_ends_at_a_moment_or_never() {
        let at = |seconds| until(Some(&prost_types::Timestamp { seconds, nanos: 1_999_999 })).unwrap();
        assert_eq!((until(None).unwrap(), at(7), at(-7)), (FOR_EVER, 7_001_000, 0));
        let none = prost_types::Timestamp { seconds: 0, nanos: -1 };
        assert_eq!(until(Some(&none)).unwrap_err().field_violations()[0].field, "until");
    }
}
