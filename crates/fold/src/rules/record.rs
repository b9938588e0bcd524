use std::sync::Arc;

use kith_log::{Position, RecordId, headers};
use kith_proto::identity::private::v1::identity_private_event::Event as IdentityPrivate;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::{DecodeError, Event, time};
use kith_runtime::{CLOCK_AHEAD_MAX_US, UnixMillis};
use kith_tables::Timestamp;

/// A decoded record of the log, as folds see it.
#[derive(Debug, Clone)]
pub struct Record {
    pub position: Position,
    pub id: RecordId,
    pub event: Event,
    /// The event's time, but no later than [`CLOCK_AHEAD_MAX_US`] after the log took it, so that a writer with a wrong
    /// clock does not stay on top of every list for ever. A function of the record alone.
    pub time: Timestamp,
    /// The first record of the chain of causes: a command's own record.
    pub correlation: RecordId,
    /// W3C trace context of what made the record, when that was traced.
    pub trace_parent: Option<String>,
}

impl Record {
    /// A record without cause and trace.
    pub fn new(position: Position, id: RecordId, event: impl Into<Event>) -> Self {
        let event = event.into();
        let time = time_of(&event, UnixMillis::MAX);
        Self { position, id, event, time, correlation: id, trace_parent: None }
    }

    /// This record as the cause of another.
    pub fn cause(&self) -> Cause {
        let (causation, correlation) = (Some(self.id), Some(self.correlation));
        Cause { causation, correlation, trace_parent: self.trace_parent.clone(), principal: None }
    }
}

fn time_of(event: &Event, logged_ms: UnixMillis) -> Timestamp {
    let latest = logged_ms.saturating_mul(1_000).saturating_add(CLOCK_AHEAD_MAX_US);
    Timestamp(time::unix_us(event.time()).min(latest))
}

/// Why a record exists.
#[derive(Debug, Clone, Default)]
pub struct Cause {
    /// The record that caused it, if one did.
    pub causation: Option<RecordId>,
    /// The first record of the chain; `None`: this one.
    pub correlation: Option<RecordId>,
    /// W3C trace context of what caused it, if that was traced; `None`: the current span, if there is one.
    pub trace_parent: Option<String>,
    /// The calling service that asked for it, if one did: an id that is no secret.
    pub principal: Option<Arc<str>>,
}

/// The result of decoding a record.
pub(crate) enum Decoded {
    Event(Box<Record>),
    /// Not decodable by any build: set aside, and the fold continues.
    Poison(String),
    /// Well formed, and newer than this build: the partition stops until a newer build takes it. Says why.
    Newer(String),
}

/// The version of the events of this release: with consent in messaging, updates of profiles and accounts that
/// leave. A release raises it when an event gets
/// a type, a field or a value that an older build would fold wrongly, or a contest gets other rules. Records that need more than the
/// first version name it in a header, and processes append them only once operators opened it.
pub const EVENTS: u32 = CONSENT_EVENTS;

/// The version that needs no opening.
pub const FIRST_EVENTS: u32 = 1;

/// The version with requests, their acceptance and policies in messaging: who reads less would put requests into inboxes.
pub const CONSENT_EVENTS: u32 = 2;

/// The version with edits, unsending and reactions in messaging, and one's own view of a conversation.
pub const MESSAGE_EVENTS: u32 = 2;

/// The version with updates of profiles, which no older reader knows.
pub const PROFILE_EVENTS: u32 = 2;

/// The version with mutes and removed followers, which no older reader knows.
pub const GRAPH_EVENTS: u32 = 2;

/// The version with private accounts, whose followers asked, which no older reader knows.
pub const PRIVACY_EVENTS: u32 = 2;

/// The version with groups in messaging, which no older reader knows.
pub const GROUP_EVENTS: u32 = 2;

/// The version with accounts that are away: who reads less would show them.
pub const AWAY_EVENTS: u32 = 2;

/// The version with changes of handles, which no older reader knows.
pub const HANDLE_EVENTS: u32 = 2;

/// The version with followed hashtags, which no older reader knows.
pub const TAG_EVENTS: u32 = 2;

/// The version with declined suggestions, which no older reader knows.
pub const SUGGESTION_EVENTS: u32 = 2;

/// The least version of the events that a reader must know to fold the event rightly.
pub(crate) fn needs(event: &Event) -> u32 {
    let of_type = match event {
        Event::Messaging(event) => of_messaging(event),
        Event::MessagingPrivate(_) => GROUP_EVENTS,
        Event::Identity(Identity::ProfileUpdated(_)) => PROFILE_EVENTS,
        Event::Identity(Identity::Muted(_) | Identity::Unmuted(_) | Identity::FollowerRemoved(_)) => GRAPH_EVENTS,
        Event::IdentityPrivate(IdentityPrivate::ProfileRequested(_)) => PROFILE_EVENTS,
        Event::Identity(identity) if is_of_privacy(identity) => PRIVACY_EVENTS,
        Event::IdentityPrivate(IdentityPrivate::AccountRequested(event)) if event.private => PRIVACY_EVENTS,
        Event::Identity(Identity::AccountDeactivated(_) | Identity::AccountReactivated(_)) => AWAY_EVENTS,
        Event::IdentityPrivate(IdentityPrivate::AccountStateRequested(_)) => AWAY_EVENTS,
        Event::Identity(Identity::HandleChanged(_) | Identity::HandleLeft(_)) => HANDLE_EVENTS,
        Event::IdentityPrivate(event) if is_of_handles(event) => HANDLE_EVENTS,
        Event::Identity(Identity::TagFollowed(_) | Identity::TagUnfollowed(_)) => TAG_EVENTS,
        Event::Identity(Identity::SuggestionDismissed(_)) => SUGGESTION_EVENTS,
        _ => FIRST_EVENTS,
    };
    event.rules().unwrap_or_default().max(of_type)
}

fn is_of_privacy(event: &Identity) -> bool {
    match event {
        Identity::AccountCreated(event) => event.private,
        Identity::Followed(event) => event.request_offset.is_some(),
        Identity::FollowRequested(_) | Identity::FollowRequestAnswered(_) | Identity::FollowRequestEnded(_) => true,
        _ => false,
    }
}

fn of_messaging(event: &Messaging) -> u32 {
    match event {
        Messaging::ConversationCreated(event) if event.asked_member_ids.is_empty() => FIRST_EVENTS,
        Messaging::MessageSent(_) | Messaging::ReadMarkerMoved(_) => FIRST_EVENTS,
        Messaging::ConversationCreated(_)
        | Messaging::ConversationAccepted(_)
        | Messaging::ConversationDeclined(_)
        | Messaging::MessagingPolicySet(_) => CONSENT_EVENTS,
        Messaging::MessageEdited(_)
        | Messaging::MessageUnsent(_)
        | Messaging::MessageReactionAdded(_)
        | Messaging::MessageReactionRemoved(_)
        | Messaging::ConversationMuted(_)
        | Messaging::ConversationUnmuted(_)
        | Messaging::ConversationArchived(_)
        | Messaging::ConversationUnarchived(_)
        | Messaging::ConversationMarkedUnread(_) => MESSAGE_EVENTS,
        Messaging::GroupCreated(_)
        | Messaging::MembersAdded(_)
        | Messaging::MemberRemoved(_)
        | Messaging::MemberLeft(_)
        | Messaging::MemberRoleSet(_)
        | Messaging::GroupUpdated(_) => GROUP_EVENTS,
    }
}

fn is_of_handles(event: &IdentityPrivate) -> bool {
    matches!(
        event,
        IdentityPrivate::HandleChangeRequested(_)
            | IdentityPrivate::HandleClaimRequested(_)
            | IdentityPrivate::HandleChangeSettled(_)
            | IdentityPrivate::HandleReleased(_)
    )
}

impl Decoded {
    /// As a build that knows the events up to that version reads it.
    pub(crate) fn of(raw: &kith_log::Record, reads: u32) -> Self {
        let Some(id) = raw.id() else {
            return Self::Poison("header ce_id is missing or malformed".to_owned());
        };
        match raw.header(headers::READER).map(str::parse::<u32>) {
            Some(Ok(needed)) if needed > reads => {
                return Self::Newer(format!("needs version {needed} of the events, and this release reads {reads}"));
            }
            None | Some(Ok(_)) => {}
            Some(Err(_)) => return Self::Poison("header kith_reader is malformed".to_owned()),
        }
        match Event::decode(raw.position.partition.topic.name, &raw.value) {
            // The header was lost.
            Ok(event) if needs(&event) > reads => Self::Newer(format!(
                "is judged by version {} of the events, and this release reads {reads}",
                needs(&event)
            )),
            Ok(event) => Self::Event(Box::new(Record {
                position: raw.position,
                id,
                time: time_of(&event, raw.logged_ms),
                event,
                correlation: raw.header(headers::CORRELATION_ID).and_then(RecordId::parse).unwrap_or(id),
                trace_parent: raw.header(headers::TRACE_PARENT).map(str::to_owned),
            })),
            Err(DecodeError::Malformed(reason)) => Self::Poison(reason),
            Err(DecodeError::UnknownType) => Self::Newer("is of a type that this build does not know".to_owned()),
        }
    }
}

/// The `ce_time` of a record.
pub(crate) fn made_at(record: &kith_log::Record) -> Option<UnixMillis> {
    let time = record.header(headers::TIME)?;
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kith_log::{Header, LogPartition, topics};
    use kith_proto::messaging::private::v1::GroupChangeRequested;
    use kith_proto::messaging::private::v1::messaging_private_event::Event as MessagingPrivate;
    use kith_proto::messaging::v1::{
        ConversationAccepted, ConversationCreated, ConversationDeclined, ConversationMuted, GroupCreated, GroupUpdated,
        MemberLeft, MemberRemoved, MemberRoleSet, MembersAdded, MessageEdited, MessageReactionRemoved, MessageSent,
        MessagingPolicySet,
    };
    use kith_proto::posts::private::v1::EditRequested;
    use kith_proto::posts::v1::PostDeleted;

    use super::*;

    /// As a build that reads version 3.
    fn decoded(event: impl Into<Event>, needed: Option<&str>) -> Decoded {
        let id = Header::new(headers::ID, RecordId([1; 16]).to_string());
        let needed = needed.map(|needed| Header::new(headers::READER, needed.to_owned()));
        let event = event.into();
        let topic = topics::ALL.into_iter().find(|topic| topic.name == event.topic_name()).unwrap();
        let record = kith_log::Record {
            position: Position { partition: LogPartition { topic, index: 0 }, offset: 0 },
            key: Bytes::from_static(b"p"),
            headers: [id].into_iter().chain(needed).collect(),
            value: event.encode().into(),
            logged_ms: 0,
        };
        Decoded::of(&record, 3)
    }

    #[test]
    fn a_record_is_read_by_those_who_understand_it() {
        let decoded = |needed| decoded(PostDeleted { post_id: "p".into(), ..PostDeleted::default() }, needed);
        for known in [None, Some("1"), Some("3")] {
            assert!(matches!(decoded(known), Decoded::Event(_)), "{known:?}");
        }
        assert!(matches!(decoded(Some("4")), Decoded::Newer(why) if why.contains("needs version 4")));
        for malformed in ["", "x", "-1", "99999999999"] {
            assert!(matches!(decoded(Some(malformed)), Decoded::Poison(_)), "{malformed}");
        }
    }

    #[test]
    fn requests_and_what_becomes_of_them_need_the_version_of_consent() {
        let created = |asked: &[&str]| ConversationCreated {
            asked_member_ids: asked.iter().map(|&id| id.to_owned()).collect(),
            ..ConversationCreated::default()
        };
        let later: [Event; 4] = [
            Messaging::ConversationCreated(created(&["a"])).into(),
            Messaging::ConversationAccepted(ConversationAccepted::default()).into(),
            Messaging::ConversationDeclined(ConversationDeclined::default()).into(),
            Messaging::MessagingPolicySet(MessagingPolicySet::default()).into(),
        ];
        assert_eq!(later.map(|event| needs(&event)), [CONSENT_EVENTS; 4]);
        let of_messages: [Event; 3] = [
            Messaging::MessageEdited(MessageEdited::default()).into(),
            Messaging::MessageReactionRemoved(MessageReactionRemoved::default()).into(),
            Messaging::ConversationMuted(ConversationMuted::default()).into(),
        ];
        assert_eq!(of_messages.map(|event| needs(&event)), [MESSAGE_EVENTS; 3]);
        let first: [Event; 2] = [
            Messaging::ConversationCreated(created(&[])).into(),
            Messaging::MessageSent(MessageSent::default()).into(),
        ];
        assert_eq!(first.map(|event| needs(&event)), [FIRST_EVENTS; 2]);
    }

    #[test]
    fn groups_need_the_version_of_groups() {
        let of_groups: [Event; 7] = [
            Messaging::GroupCreated(GroupCreated::default()).into(),
            Messaging::MembersAdded(MembersAdded::default()).into(),
            Messaging::MemberRemoved(MemberRemoved::default()).into(),
            Messaging::MemberLeft(MemberLeft::default()).into(),
            Messaging::MemberRoleSet(MemberRoleSet::default()).into(),
            Messaging::GroupUpdated(GroupUpdated::default()).into(),
            MessagingPrivate::GroupChangeRequested(GroupChangeRequested::default()).into(),
        ];
        assert_eq!(of_groups.map(|event| needs(&event)), [GROUP_EVENTS; 7]);
    }

    #[test]
    fn an_intent_under_rules_that_are_not_known_is_not_judged_though_its_header_was_lost() {
        let decoded = |rules| decoded(EditRequested { post_id: "p".into(), rules, ..EditRequested::default() }, None);
        for known in [0, 1, 3] {
            assert!(matches!(decoded(known), Decoded::Event(_)), "{known}");
        }
        assert!(matches!(decoded(4), Decoded::Newer(why) if why.contains("version 4")));
    }
}
