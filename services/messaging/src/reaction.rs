//! Reactions to messages: a few graphemes a member and message. Whether one more fits is decided by log order, so a record is answered
//! once it is folded.

use async_trait::async_trait;
use kith_fold::{Record, State};
use kith_log::{Topic, topics};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    MessageReactionAdded, MessageReactionRemoved, ReactToMessageRequest, ReactToMessageResponse,
    RemoveMessageReactionRequest, RemoveMessageReactionResponse, rpc,
};
use kith_proto::time;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::text::parse_text;
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError};

use crate::addressed::{Addressed, Settled, settled};
use crate::amend::{ReactionRow, reaction_of};
use crate::conversation::CONVERSATIONS;
use crate::{MessagingService, Rejection};

/// Reacts, or takes that back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub conversation_id: String,
    pub message_id: String,
    pub grapheme: String,
    pub adds: bool,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub to: Addressed,
    /// The caller's.
    pub own: ReactionRow,
}

fn event(asked: &Asked, command: &Command, number: i64) -> MessagingEvent {
    let Command { conversation_id, message_id, grapheme, adds } = command.clone();
    let (number, account_id) = (number.unsigned_abs(), asked.actor.clone());
    let create_time = Some(time::of_us(asked.at.0));
    match adds {
        true => MessagingEvent::MessageReactionAdded(MessageReactionAdded {
            conversation_id,
            message_id,
            number,
            account_id,
            grapheme,
            create_time,
        }),
        false => MessagingEvent::MessageReactionRemoved(MessageReactionRemoved {
            conversation_id,
            message_id,
            number,
            account_id,
            grapheme,
            create_time,
        }),
    }
}

/// What members make of messages in a grapheme.
pub struct Reactions;

#[async_trait]
impl Noun for Reactions {
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
        let Command { conversation_id, message_id, .. } = command;
        let Standing { state: to, rests_on, newest } =
            Addressed::load(seen, asked, (conversation_id, message_id)).await?;
        let own = match &to.message {
            Some((number, _)) => own(&seen.state, &asked.actor, (conversation_id, *number, message_id)).await?,
            None => ReactionRow::default(),
        };
        Ok(Standing { state: Before { to, own }, rests_on, newest })
    }

    /// `None`: it is so, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let Before { to, own } = before;
        let (member, number, row) = to.by(asked)?;
        match command.adds {
            _ if own.applied.contains(asked.id) => Ok(None),
            _ if row.is_unsent() => Err(Rejection::Unsent),
            adds if own.has(&command.grapheme) == adds => Ok(None),
            _ if !to.is_open => Err(Rejection::EventsNotOpen),
            true if to.blocked => Err(Rejection::Blocked),
            // It would tell a stranger that the message was seen.
            true if !member.consent.stands() => Err(Rejection::NotAccepted),
            true if !own.takes(&row.reactions, &command.grapheme) => Err(Rejection::ReactionsTooMany),
            true | false => Ok(Some(event(asked, command, number))),
        }
    }

    /// The answer reads what the fold made of it.
    fn evolve(_: &mut Before, _: &Record) {}
}

/// The account's reactions to a message.
async fn own(
    state: &State,
    account_id: &str,
    (conversation_id, number, message_id): (&str, i64, &str),
) -> Result<ReactionRow, StoreError> {
    let clustering = reaction_of(account_id, number, message_id);
    let found = state.row::<ReactionRow>(&CONVERSATIONS, &Key::text(conversation_id), clustering).await?;
    Ok(found.map(|found| found.row).unwrap_or_default())
}

impl Command {
    fn parse(conversation_id: String, message_id: String, grapheme: &str, adds: bool) -> Result<Self, Failure> {
        parse_id("conversation_id", &conversation_id)?;
        parse_id("message_id", &message_id)?;
        if grapheme.trim().is_empty() {
            // However much of it there is.
            return Err(Failure::text_empty("grapheme"));
        }
        let grapheme = parse_text("grapheme", grapheme, limits::MESSAGE_REACTION)?;
        Ok(Self { conversation_id, message_id, grapheme, adds })
    }
}

/// What the account's reactions are, and where the log has that; or why the record counts for nothing.
async fn verdict(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Verdict<Vec<String>>, Unknown> {
    let Command { conversation_id, message_id, .. } = command;
    let Settled { summary, number, row, place } = settled(&seen.state, conversation_id, message_id).await?;
    if summary.is_left_by(&asked.actor) {
        // Before the record, or after it: it sees nothing of the group any more.
        return Ok(Verdict::Lost(Rejection::NotFound.into()));
    }
    if row.is_unsent() {
        return Ok(Verdict::Lost(Rejection::Unsent.into()));
    }
    let own = own(&seen.state, &asked.actor, (conversation_id, number, message_id)).await?;
    if own.refused.contains(asked.id) {
        return Ok(Verdict::Lost(Rejection::ReactionsTooMany.into()));
    }
    Ok(Verdict::Won(own.graphemes().map(str::to_owned).collect(), place.into()))
}

impl Contests<rpc::ReactToMessage> for Reactions {
    fn parse(_: &MessagingService, _: &Asked, request: ReactToMessageRequest) -> Result<Command, Failure> {
        Command::parse(request.conversation_id, request.message_id, &request.grapheme, true)
    }
}

#[async_trait]
impl Settles<rpc::ReactToMessage> for Reactions {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<ReactToMessageResponse>, Unknown> {
        let message_id = command.message_id.clone();
        Ok(match verdict(seen, asked, command).await? {
            Verdict::Lost(why) => Verdict::Lost(why),
            Verdict::Won(graphemes, token) => {
                let answer = ReactToMessageResponse { message_id, graphemes, ..ReactToMessageResponse::default() };
                Verdict::Won(answer, token)
            }
        })
    }
}

impl Contests<rpc::RemoveMessageReaction> for Reactions {
    fn parse(_: &MessagingService, _: &Asked, request: RemoveMessageReactionRequest) -> Result<Command, Failure> {
        Command::parse(request.conversation_id, request.message_id, &request.grapheme, false)
    }
}

#[async_trait]
impl Settles<rpc::RemoveMessageReaction> for Reactions {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<RemoveMessageReactionResponse>, Unknown> {
        let message_id = command.message_id.clone();
        Ok(match verdict(seen, asked, command).await? {
            Verdict::Lost(why) => Verdict::Lost(why),
            Verdict::Won(graphemes, token) => {
                let answer =
                    RemoveMessageReactionResponse { message_id, graphemes, ..RemoveMessageReactionResponse::default() };
                Verdict::Won(answer, token)
            }
        })
    }
}
