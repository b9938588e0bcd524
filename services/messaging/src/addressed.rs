//! The message that a command is about, and the conversation around it.

use futures::future::try_join_all;
use futures::try_join;
use kith_fold::{Found, MESSAGE_EVENTS, State};
use kith_log::{LogPartition, Position, topics};
use kith_relations::sight::Viewer;
use kith_service::command::{Asked, Standing, Unknown};
use kith_service::kit::Seen;
use kith_tables::{Key, StoreError};

use crate::conversation::{self, CONVERSATIONS, MessageIdRow, under_id};
use crate::kept::MessageRow;
use crate::members::Member;
use crate::policy::Door;
use crate::summary::Summary;
use crate::{Rejection, visible};

/// What a command about a message is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Addressed {
    pub summary: Summary,
    /// With its number; `None`: there is no such message, it came when no more could wait, or the caller does not see it.
    pub message: Option<(i64, MessageRow)>,
    /// One of the two in a direct conversation blocks the other.
    pub blocked: bool,
    /// Whether one who has not accepted does not let the caller write.
    pub shut: bool,
    /// Whether operators opened the events that the command makes.
    pub is_open: bool,
}

impl Addressed {
    pub async fn load(
        seen: &Seen<'_>,
        asked: &Asked,
        (conversation_id, message_id): (&str, &str),
    ) -> Result<Standing<Self>, StoreError> {
        let state = &seen.state;
        let (found, message) =
            try_join!(conversation::summary(state, conversation_id), stored(state, conversation_id, message_id))?;
        let summary = found.row;
        let (blocked, shut) =
            try_join!(is_blocked(state, &asked.actor, &summary), is_shut(state, &asked.actor, &summary))?;
        let rests_on = message.as_ref().map(|(_, found)| found.position);
        let message = match message {
            Some((number, found)) => {
                let sees = visible::sees(state, &asked.actor, &summary, (number, &found.row.sender_id)).await?;
                Some((number, found.row)).filter(|_| sees)
            }
            None => None,
        };
        let row = message.as_ref().map(|(_, row)| row.create_time.max(row.edit_time).max(row.unsend_time));
        let newest = row.unwrap_or_default().max(summary.activity_time());
        let is_open = seen.events_open() >= MESSAGE_EVENTS;
        Ok(Standing::new(Self { summary, message, blocked, shut, is_open }, rests_on).after(newest))
    }

    /// The caller, and the message with its number.
    pub fn by(&self, asked: &Asked) -> Result<(&Member, i64, &MessageRow), Rejection> {
        let member = self.summary.members.get(&asked.actor).ok_or(Rejection::NotFound)?;
        let (number, row) = self.message.as_ref().ok_or(Rejection::MessageNotFound)?;
        Ok((member, *number, row))
    }
}

/// A message, and its number; `None`: there is none of that id that counts.
pub async fn stored(
    state: &State,
    conversation_id: &str,
    message_id: &str,
) -> Result<Option<(i64, Found<MessageRow>)>, StoreError> {
    let key = Key::text(conversation_id);
    let Some(place) = state.row::<MessageIdRow>(&CONVERSATIONS, &key, under_id(message_id)).await? else {
        return Ok(None);
    };
    let number = place.row.message_number;
    let found = state.row::<MessageRow>(&CONVERSATIONS, &key, [number.into(), message_id.into()]).await?;
    Ok(found.map(|found| (number, found)))
}

/// The same; no read if the id is empty.
pub async fn stored_or_none(
    state: &State,
    conversation_id: &str,
    message_id: &str,
) -> Result<Option<(i64, Found<MessageRow>)>, StoreError> {
    if message_id.is_empty() { Ok(None) } else { stored(state, conversation_id, message_id).await }
}

/// A message once a record about it is folded, and its conversation.
pub struct Settled {
    pub summary: Summary,
    pub number: i64,
    pub row: MessageRow,
    /// What its row says.
    pub place: Position,
}

pub async fn settled(state: &State, conversation_id: &str, message_id: &str) -> Result<Settled, Unknown> {
    let (conversation, found) =
        try_join!(conversation::summary(state, conversation_id), stored(state, conversation_id, message_id))?;
    let (number, found) = found.ok_or_else(|| Unknown::defect("a message that something was done to is not there"))?;
    let partition = LogPartition::of_key(topics::MESSAGING, conversation_id, state.partition_count());
    let place = Position { partition, offset: found.position };
    Ok(Settled { summary: conversation.row, number, row: found.row, place })
}

/// Whether the policy of one who has not accepted keeps the caller out.
pub async fn is_shut(state: &State, caller: &str, summary: &Summary) -> Result<bool, StoreError> {
    let doors = summary.waiting_for(caller).map(|other| Door::of(state, &other.account_id, caller));
    Ok(try_join_all(doors).await?.iter().any(|door| !door.admits()))
}

/// Whether a block stands between the caller and the other one of a direct conversation.
pub async fn is_blocked(state: &State, caller: &str, summary: &Summary) -> Result<bool, StoreError> {
    if !summary.is_direct() {
        return Ok(false);
    }
    let sights = Viewer::new(state, caller).meetings(summary.members.account_ids()).await?;
    Ok(summary.members.account_ids().any(|id| !sights.of(id).is_clear()))
}
