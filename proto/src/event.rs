use prost::Message;

use crate::deadletters::v1::DeadLetter;
use crate::engagement::v1::{EngagementEvent, Subject, engagement_event};
use crate::identity::private::v1::{IdentityPrivateEvent, identity_private_event};
use crate::identity::v1::{IdentityEvent, identity_event};
use crate::messaging::v1::{MessagingEvent, messaging_event};
use crate::ops::v1::{OpsEvent, ops_event};
use crate::posts::private::v1::{PostPrivateEvent, post_private_event};
use crate::posts::v1::{PostEvent, post_event};

const IDENTITY: &str = "kith.identity.v1";
const IDENTITY_PRIVATE: &str = "kith.identity.private.v1";
const POSTS: &str = "kith.posts.v1";
const POSTS_PRIVATE: &str = "kith.posts.private.v1";
const ENGAGEMENT: &str = "kith.engagement.v1";
const MESSAGING: &str = "kith.messaging.v1";
const DEAD_LETTERS: &str = "kith.dead-letters.v1";
const OPS: &str = "kith.ops.v1";

/// Any event that this release knows, of any topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Identity(identity_event::Event),
    IdentityPrivate(identity_private_event::Event),
    Posts(post_event::Event),
    PostsPrivate(post_private_event::Event),
    Engagement(engagement_event::Event),
    Messaging(messaging_event::Event),
    DeadLetter(DeadLetter),
    Ops(ops_event::Event),
}

/// Why a record's value is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No release can read it: it is for the dead letters. Says where it broke, nothing of its content.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Well-formed, and of a type or topic newer than this release: its partition has to wait for an upgrade.
    #[error("an event newer than this release")]
    UnknownType,
}

impl Event {
    /// Reads the value of a record of `topic_name`. Ids and times inside are as they were written, and may be missing.
    pub fn decode(topic_name: &str, value: &[u8]) -> Result<Self, DecodeError> {
        match topic_name {
            IDENTITY => wire::<IdentityEvent>(value)?.event.map(Self::Identity),
            IDENTITY_PRIVATE => wire::<IdentityPrivateEvent>(value)?.event.map(Self::IdentityPrivate),
            POSTS => wire::<PostEvent>(value)?.event.map(Self::Posts),
            POSTS_PRIVATE => wire::<PostPrivateEvent>(value)?.event.map(Self::PostsPrivate),
            ENGAGEMENT => wire::<EngagementEvent>(value)?.event.map(Self::Engagement),
            MESSAGING => wire::<MessagingEvent>(value)?.event.map(Self::Messaging),
            DEAD_LETTERS => Some(Self::DeadLetter(wire(value)?)),
            OPS => wire::<OpsEvent>(value)?.event.map(Self::Ops),
            _ => None,
        }
        .ok_or(DecodeError::UnknownType)
    }

    /// The value of a record of [`Event::topic_name`]: that topic's wire message. Only for new records: what is forwarded
    /// is forwarded byte for byte, since fields that this release does not know are lost here.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        // A wire message has nothing but its oneof, so the oneof's bytes are the message's.
        match self {
            Self::Identity(event) => event.encode(&mut value),
            Self::IdentityPrivate(event) => event.encode(&mut value),
            Self::Posts(event) => event.encode(&mut value),
            Self::PostsPrivate(event) => event.encode(&mut value),
            Self::Engagement(event) => event.encode(&mut value),
            Self::Messaging(event) => event.encode(&mut value),
            Self::DeadLetter(letter) => value = letter.encode_to_vec(),
            Self::Ops(event) => event.encode(&mut value),
        }
        value
    }

    /// The full name of the message that every value of a topic is; `None`: this release knows no events of it.
    pub fn wire_name(topic_name: &str) -> Option<&'static str> {
        Some(match topic_name {
            IDENTITY => "kith.identity.v1.IdentityEvent",
            IDENTITY_PRIVATE => "kith.identity.private.v1.IdentityPrivateEvent",
            POSTS => "kith.posts.v1.PostEvent",
            POSTS_PRIVATE => "kith.posts.private.v1.PostPrivateEvent",
            ENGAGEMENT => "kith.engagement.v1.EngagementEvent",
            MESSAGING => "kith.messaging.v1.MessagingEvent",
            DEAD_LETTERS => "kith.deadletters.v1.DeadLetter",
            OPS => "kith.ops.v1.OpsEvent",
            _ => return None,
        })
    }

    /// The topic it belongs in.
    pub fn topic_name(&self) -> &'static str {
        match self {
            Self::Identity(_) => IDENTITY,
            Self::IdentityPrivate(_) => IDENTITY_PRIVATE,
            Self::Posts(_) => POSTS,
            Self::PostsPrivate(_) => POSTS_PRIVATE,
            Self::Engagement(_) => ENGAGEMENT,
            Self::Messaging(_) => MESSAGING,
            Self::DeadLetter(_) => DEAD_LETTERS,
            Self::Ops(_) => OPS,
        }
    }

    /// The full name of its message (`ce_type`): `kith.posts.v1.PostCreated`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Identity(event) => identity_type(event),
            Self::IdentityPrivate(identity_private_event::Event::AccountRequested(_)) => {
                "kith.identity.private.v1.AccountRequested"
            }
            Self::Posts(event) => post_type(event),
            Self::PostsPrivate(post_private_event::Event::EditRequested(_)) => "kith.posts.private.v1.EditRequested",
            Self::Engagement(event) => engagement_type(event),
            Self::Messaging(event) => messaging_type(event),
            Self::DeadLetter(_) => "kith.deadletters.v1.DeadLetter",
            Self::Ops(event) => ops_type(event),
        }
    }

    /// The id of what it is about (`ce_subject`). It is the record's key too, but for three: an `AccountRequested` is about an
    /// account and keyed by a handle's hash; a `DeadLetter` is about the topic it was found in; what operators decide is about
    /// a service or a dead letter, and has one key.
    /// Empty only if the event was written without it.
    pub fn subject(&self) -> &str {
        match self {
            Self::Identity(event) => identity_subject(event),
            Self::IdentityPrivate(identity_private_event::Event::AccountRequested(event)) => &event.account_id,
            Self::Posts(event) => post_subject(event),
            Self::PostsPrivate(post_private_event::Event::EditRequested(event)) => &event.post_id,
            Self::Engagement(event) => engagement_subject(event),
            Self::Messaging(event) => messaging_subject(event),
            Self::DeadLetter(letter) => &letter.origin_topic,
            Self::Ops(event) => ops_subject(event),
        }
    }
}

fn wire<M: Message + Default>(value: &[u8]) -> Result<M, DecodeError> {
    if value.is_empty() {
        return Err(DecodeError::Malformed("empty value".to_owned()));
    }
    M::decode(value).map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn identity_type(event: &identity_event::Event) -> &'static str {
    use identity_event::Event::*;
    match event {
        AccountCreated(_) => "kith.identity.v1.AccountCreated",
        Followed(_) => "kith.identity.v1.Followed",
        Unfollowed(_) => "kith.identity.v1.Unfollowed",
        FollowCut(_) => "kith.identity.v1.FollowCut",
        Blocked(_) => "kith.identity.v1.Blocked",
        Unblocked(_) => "kith.identity.v1.Unblocked",
    }
}

fn identity_subject(event: &identity_event::Event) -> &str {
    use identity_event::Event::*;
    match event {
        AccountCreated(event) => &event.account_id,
        Followed(event) => &event.follower_id,
        Unfollowed(event) => &event.follower_id,
        FollowCut(event) => &event.follower_id,
        Blocked(event) => &event.actor_id,
        Unblocked(event) => &event.actor_id,
    }
}

fn post_type(event: &post_event::Event) -> &'static str {
    use post_event::Event::*;
    match event {
        PostCreated(_) => "kith.posts.v1.PostCreated",
        PostEdited(_) => "kith.posts.v1.PostEdited",
        PostDeleted(_) => "kith.posts.v1.PostDeleted",
    }
}

fn post_subject(event: &post_event::Event) -> &str {
    use post_event::Event::*;
    match event {
        PostCreated(event) => &event.post_id,
        PostEdited(event) => &event.post_id,
        PostDeleted(event) => &event.post_id,
    }
}

fn engagement_type(event: &engagement_event::Event) -> &'static str {
    use engagement_event::Event::*;
    match event {
        Reacted(_) => "kith.engagement.v1.Reacted",
        Unreacted(_) => "kith.engagement.v1.Unreacted",
        CommentCreated(_) => "kith.engagement.v1.CommentCreated",
        Shared(_) => "kith.engagement.v1.Shared",
        Unshared(_) => "kith.engagement.v1.Unshared",
    }
}

/// The post, also of what concerns a comment: all of one discussion is in one order.
fn engagement_subject(event: &engagement_event::Event) -> &str {
    use engagement_event::Event::*;
    match event {
        Reacted(event) => post_of(event.subject.as_ref()),
        Unreacted(event) => post_of(event.subject.as_ref()),
        CommentCreated(event) => &event.post_id,
        Shared(event) => &event.post_id,
        Unshared(event) => &event.post_id,
    }
}

fn post_of(subject: Option<&Subject>) -> &str {
    subject.map_or("", |subject| &subject.post_id)
}

fn messaging_type(event: &messaging_event::Event) -> &'static str {
    use messaging_event::Event::*;
    match event {
        ConversationCreated(_) => "kith.messaging.v1.ConversationCreated",
        MessageSent(_) => "kith.messaging.v1.MessageSent",
        ReadMarkerMoved(_) => "kith.messaging.v1.ReadMarkerMoved",
    }
}

fn messaging_subject(event: &messaging_event::Event) -> &str {
    use messaging_event::Event::*;
    match event {
        ConversationCreated(event) => &event.conversation_id,
        MessageSent(event) => &event.conversation_id,
        ReadMarkerMoved(event) => &event.conversation_id,
    }
}

fn ops_type(event: &ops_event::Event) -> &'static str {
    use ops_event::Event::*;
    match event {
        RebuildStarted(_) => "kith.ops.v1.RebuildStarted",
        GenerationPromoted(_) => "kith.ops.v1.GenerationPromoted",
        GenerationDropped(_) => "kith.ops.v1.GenerationDropped",
        ProjectionPaused(_) => "kith.ops.v1.ProjectionPaused",
        ProjectionResumed(_) => "kith.ops.v1.ProjectionResumed",
        DeadLetterRetried(_) => "kith.ops.v1.DeadLetterRetried",
        DeadLetterDiscarded(_) => "kith.ops.v1.DeadLetterDiscarded",
    }
}

fn ops_subject(event: &ops_event::Event) -> &str {
    use ops_event::Event::*;
    match event {
        RebuildStarted(event) => &event.service,
        GenerationPromoted(event) => &event.service,
        GenerationDropped(event) => &event.service,
        ProjectionPaused(event) => &event.service,
        ProjectionResumed(event) => &event.service,
        DeadLetterRetried(event) => &event.letter_id,
        DeadLetterDiscarded(event) => &event.letter_id,
    }
}

impl From<identity_event::Event> for Event {
    fn from(event: identity_event::Event) -> Self {
        Self::Identity(event)
    }
}

impl From<identity_private_event::Event> for Event {
    fn from(event: identity_private_event::Event) -> Self {
        Self::IdentityPrivate(event)
    }
}

impl From<post_event::Event> for Event {
    fn from(event: post_event::Event) -> Self {
        Self::Posts(event)
    }
}

impl From<post_private_event::Event> for Event {
    fn from(event: post_private_event::Event) -> Self {
        Self::PostsPrivate(event)
    }
}

impl From<engagement_event::Event> for Event {
    fn from(event: engagement_event::Event) -> Self {
        Self::Engagement(event)
    }
}

impl From<messaging_event::Event> for Event {
    fn from(event: messaging_event::Event) -> Self {
        Self::Messaging(event)
    }
}

impl From<DeadLetter> for Event {
    fn from(letter: DeadLetter) -> Self {
        Self::DeadLetter(letter)
    }
}

impl From<ops_event::Event> for Event {
    fn from(event: ops_event::Event) -> Self {
        Self::Ops(event)
    }
}
