use prost::Message;

// `Event`, its methods, and its conversions from the events of a topic and from each single one.
include!(concat!(env!("OUT_DIR"), "/event.rs"));

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

fn wire<M: Message + Default>(value: &[u8]) -> Result<M, DecodeError> {
    if value.is_empty() {
        return Err(DecodeError::Malformed("empty value".to_owned()));
    }
    M::decode(value).map_err(|error| DecodeError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engagement::v1::{Reacted, Subject, engagement_event};
    use crate::identity::private::v1::AccountRequested;
    use crate::posts::v1::PostEdited;
    use prost_types::Timestamp;

    #[test]
    fn one_event_and_its_topics_are_the_same_event() {
        let reacted = Reacted { actor_id: "a".into(), ..Reacted::default() };
        let of_topic = engagement_event::Event::Reacted(reacted.clone());
        assert_eq!(Event::from(reacted), Event::from(of_topic));
    }

    #[test]
    fn key_and_time_are_those_that_the_proto_names() {
        let subject = Some(Subject { post_id: "p".into(), comment_id: "c".into() });
        let reacted = Event::from(Reacted { subject, ..Reacted::default() });
        assert_eq!((reacted.subject(), reacted.key(), reacted.time()), ("p", Some("p"), None));
        assert_eq!(Event::from(Reacted::default()).key(), Some(""));

        let asked = Event::from(AccountRequested { account_id: "a".into(), ..AccountRequested::default() });
        assert_eq!((asked.subject(), asked.key()), ("a", None));

        let (created, edited) = (Timestamp { seconds: 1, nanos: 0 }, Timestamp { seconds: 2, nanos: 0 });
        let edit = PostEdited { post_create_time: Some(created), edit_time: Some(edited), ..PostEdited::default() };
        assert_eq!(Event::from(edit).time(), Some(&edited));
    }
}
