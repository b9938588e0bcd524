//! A conversation: its members, its messages in their order, how far each member has read.

use bytes::Bytes;
use kith_fold::{AppliedIds, Effect, Fold, Found, Record, Rows, Scope, State};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::errors::v1::Reason;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{ConversationCreated, ConversationKind, MessageSent, ReadMarkerMoved};
use kith_service::{Failure, ids};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, Value, row};

use crate::inbox;
use crate::members::Members;

/// Newest first. Section 0 is kept for members, should they one day be more than a summary row can hold.
pub static CONVERSATIONS: Table = Table {
    name: "conversations",
    partition: &[Column::text("conversation_id")],
    clustering: &[Column::bigint("number"), Column::text("id")],
    order: Order::Descending,
    sections: &[Section::of::<MessageRow>("message"), Section::of::<MessageIdRow>("message_id")],
    summary: Summary::COLUMNS,
};

row! {
    /// The conversation itself; without members there is none.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct Summary in 0 {
        /// A `ConversationKind`.
        pub kind: i64,
        pub members: Members,
        pub creator_id: String,
        pub create_time: Timestamp,
        /// Messages are numbered from 1, without gaps; 0: there is none.
        pub last_number: i64,
        pub last_message_id: String,
        pub last_message_time: Timestamp,
        /// Records that asked for a marker past the last message: a copy of one, later, must not get further.
        pub cut_markers: AppliedIds,
    }
}
row! {
    /// Message `number`, of this `id`.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MessageRow in 1 {
        pub sender_id: String,
        pub text: String,
        pub create_time: Timestamp,
        pub payload_digest: Bytes,
    }
}
row! {
    /// Which number the message of this `id` has; under number 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MessageIdRow in 2 { pub message_number: i64 }
}

/// A conversation, and what is known of the one message that a command or an event is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    pub summary: Summary,
    /// The number of that message and the digest of what asked for it, if it is there already.
    pub message: Option<(i64, Bytes)>,
}

/// What is asked of a conversation: the event that is to follow.
#[derive(Debug, Clone)]
pub enum Command {
    GetOrCreate(ConversationCreated),
    /// `blocked`: one of the two in a direct conversation blocks the other.
    Send {
        message: MessageSent,
        blocked: bool,
    },
    MarkRead(ReadMarkerMoved),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such conversation, or the caller is not in it")]
    NotFound,
    #[error("a block stands between the two")]
    Blocked,
    #[error("the request id was used for another message")]
    RequestIdReused,
    #[error("there is no message of this number")]
    NoSuchMessage,
}

/// The rules of a conversation, and their fold.
pub struct Conversations;

impl Conversations {
    /// What a command makes of a conversation. `None`: it is so already.
    pub fn decide(state: &Conversation, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        let summary = &state.summary;
        match command {
            Command::GetOrCreate(_) if summary.exists() => Ok(None),
            Command::GetOrCreate(created) => Ok(Some(MessagingEvent::ConversationCreated(created.clone()))),
            Command::Send { message, .. } if summary.members.get(&message.sender_id).is_none() => {
                Err(Rejection::NotFound)
            }
            Command::Send { message, blocked } => match &state.message {
                Some((_, digest)) if *digest == message.payload_digest => Ok(None),
                Some(_) => Err(Rejection::RequestIdReused),
                None if *blocked => Err(Rejection::Blocked),
                None => Ok(Some(MessagingEvent::MessageSent(message.clone()))),
            },
            Command::MarkRead(moved) => match summary.members.get(&moved.account_id) {
                None => Err(Rejection::NotFound),
                Some(_) if signed(moved.up_to_number) > summary.last_number => Err(Rejection::NoSuchMessage),
                Some(member) if signed(moved.up_to_number) <= member.read_number => Ok(None),
                Some(_) => Ok(Some(MessagingEvent::ReadMarkerMoved(moved.clone()))),
            },
        }
    }

    /// What an event dated `at` makes of a conversation. A repeat changes nothing.
    pub fn evolve(state: &mut Conversation, event: &MessagingEvent, at: Timestamp) {
        let summary = &mut state.summary;
        match event {
            MessagingEvent::ConversationCreated(event) if !summary.exists() => summary.create(event, at),
            MessagingEvent::ConversationCreated(_) => {}
            MessagingEvent::MessageSent(event) => {
                if state.message.is_none() && summary.members.get(&event.sender_id).is_some() {
                    summary.send(event, at);
                    state.message = Some((summary.last_number, event.payload_digest.clone()));
                }
            }
            MessagingEvent::ReadMarkerMoved(event) => {
                let up_to = signed(event.up_to_number).min(summary.last_number);
                summary.members.read_up_to(&event.account_id, up_to);
            }
        }
    }
}

impl Summary {
    pub fn exists(&self) -> bool {
        !self.members.is_empty()
    }

    /// When it was last written in; one without messages: when it was created.
    pub fn activity_time(&self) -> Timestamp {
        if self.last_number > 0 { self.last_message_time } else { self.create_time }
    }

    pub fn is_direct(&self) -> bool {
        self.kind == ConversationKind::Direct as i64
    }

    fn create(&mut self, event: &ConversationCreated, at: Timestamp) {
        let Some(members) = Members::new(&event.member_ids) else { return };
        self.kind = event.kind.into();
        self.members = members;
        self.creator_id = event.creator_id.clone();
        self.create_time = at;
    }

    /// The next message. Whoever writes has read what is there.
    fn send(&mut self, event: &MessageSent, at: Timestamp) {
        self.last_number = self.last_number.saturating_add(1);
        self.last_message_id = event.message_id.clone();
        self.last_message_time = at;
        self.members.read_up_to(&event.sender_id, self.last_number);
    }
}

impl Fold for Conversations {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CONVERSATIONS, &inbox::INBOX]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = fact(record)?;
        let conversation_id = conversation_id(event);
        // Ids that are none cannot be keys: such an event concerns no conversation.
        RecordId::parse(conversation_id)?;
        let scope = Scope::new(&CONVERSATIONS, Key::text(conversation_id));
        match event {
            MessagingEvent::MessageSent(event) => {
                RecordId::parse(&event.message_id)?;
                Some(scope.with::<MessageIdRow>(under_id(&event.message_id)))
            }
            MessagingEvent::ConversationCreated(_) | MessagingEvent::ReadMarkerMoved(_) => Some(scope),
        }
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        match fact(record) {
            Some(event @ MessagingEvent::MessageSent(message)) => apply_message(rows, record, event, message),
            Some(event @ MessagingEvent::ReadMarkerMoved(moved)) => apply_marker(rows, record, event, moved),
            Some(event @ MessagingEvent::ConversationCreated(_)) => {
                let mut state = Conversation { summary: rows.summary(), message: None };
                Self::evolve(&mut state, event, record.time);
                rows.set_summary(state.summary);
            }
            None => {}
        }
    }

    /// The inbox rows of those whom the record concerns: functions of the conversation as it stands at its mark.
    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let (Some(event), Some(mark)) = (fact(record), rows.mark()) else { return Vec::new() };
        let summary = rows.summary::<Summary>();
        let concerns = |account_id: &str| match event {
            MessagingEvent::ReadMarkerMoved(moved) => moved.account_id == account_id,
            MessagingEvent::ConversationCreated(_) | MessagingEvent::MessageSent(_) => true,
        };
        let concerned = summary.members.iter().filter(|member| concerns(&member.account_id));
        concerned.map(|member| inbox::put(conversation_id(event), &summary, member, mark)).collect()
    }
}

fn apply_message(rows: &mut Rows, record: &Record, event: &MessagingEvent, message: &MessageSent) {
    if rows.get::<MessageIdRow>(under_id(&message.message_id)).is_some() {
        return;
    }
    let mut state = Conversation { summary: rows.summary(), message: None };
    Conversations::evolve(&mut state, event, record.time);
    let Some((number, payload_digest)) = state.message else { return };
    let row = MessageRow {
        sender_id: message.sender_id.clone(),
        text: message.content.clone().unwrap_or_default().text,
        create_time: state.summary.last_message_time,
        payload_digest,
    };
    rows.put([number.into(), message.message_id.as_str().into()], row);
    rows.put(under_id(&message.message_id), MessageIdRow { message_number: number });
    rows.set_summary(state.summary);
}

fn apply_marker(rows: &mut Rows, record: &Record, event: &MessagingEvent, moved: &ReadMarkerMoved) {
    let mut state = Conversation { summary: rows.summary(), message: None };
    if state.summary.cut_markers.contains(record.id) {
        return;
    }
    let is_member = state.summary.members.get(&moved.account_id).is_some();
    if is_member && signed(moved.up_to_number) > state.summary.last_number {
        // Its effect depends on its place, so the place of its first copy must be the only one.
        let _ = state.summary.cut_markers.insert(record.id);
    }
    Conversations::evolve(&mut state, event, record.time);
    rows.set_summary(state.summary);
}

/// The clustering of a message's `MessageIdRow`.
pub fn under_id(message_id: &str) -> [Value; 2] {
    [0.into(), message_id.into()]
}

/// The one conversation of two accounts, whoever of them asks.
pub fn direct_id(one: RecordId, other: RecordId) -> RecordId {
    let (low, high) = (one.min(other), one.max(other));
    let digest = ids::payload_digest(&[b"kith.conversation.direct.v1", &low.0, &high.0]);
    let mut id = RecordId::default();
    id.0.copy_from_slice(&digest[..16]);
    id
}

/// A conversation as the tables have it; one that is not there has no members.
pub async fn summary(state: &State, conversation_id: RecordId) -> Result<Found<Summary>, StoreError> {
    let key = conversation_id.to_string();
    let found = state.summary::<Summary>(&CONVERSATIONS, &Key::text(&key), (topics::MESSAGING, &key)).await?;
    Ok(found.unwrap_or(Found { clustering: Vec::new(), position: 0, row: Summary::default() }))
}

/// A place in the log partition of the conversation.
pub fn position(state: &State, conversation_id: RecordId, offset: u64) -> Position {
    let key = conversation_id.to_string();
    Position { partition: LogPartition::of_key(topics::MESSAGING, &key, state.partition_count()), offset }
}

fn fact(record: &Record) -> Option<&MessagingEvent> {
    match &record.event {
        Event::Messaging(event) => Some(event),
        _ => None,
    }
}

fn conversation_id(event: &MessagingEvent) -> &str {
    match event {
        MessagingEvent::ConversationCreated(event) => &event.conversation_id,
        MessagingEvent::MessageSent(event) => &event.conversation_id,
        MessagingEvent::ReadMarkerMoved(event) => &event.conversation_id,
    }
}

/// A number too large for a column is larger than any message's.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::not_found(Reason::ConversationNotFound, "conversation"),
            Rejection::Blocked => Self::new(Reason::Blocked, "a block stands between the two accounts"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::NoSuchMessage => Self::field_invalid("up_to_number", "is above the last message's number"),
        }
    }
}

#[cfg(test)]
mod tests;
