//! Records as operators see them: headers by name, the event as JSON, without secrets.

use std::sync::OnceLock;

use kith_log::{Header, Record, Topic, headers};
use kith_proto::Event;
use kith_proto::ops::v1::LoggedEvent;
use kith_proto::ops::v1::get_dead_letter_response::LetterHeader;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, ReflectMessage, Value};

/// What people say and are called: of this the JSON says only that it is there.
const CONTENT: &str = "kith.content.v1.Content";
/// What stands beside content for the folds, and tells of it: left out.
const BESIDE_CONTENT: [&str; 3] = ["tags", "payload_digest", "handle_key"];

/// The descriptors of all messages, for JSON: 3 MiB, loaded at an operator's first request.
#[derive(Default)]
pub struct Shapes {
    pool: OnceLock<Result<DescriptorPool, DescriptorError>>,
}

impl Shapes {
    pub fn logged(&self, record: &Record) -> LoggedEvent {
        let position = record.position;
        let (event_json, undecoded_reason) = match self.json(position.partition.topic, &record.value) {
            Ok(json) => (json, String::new()),
            Err(reason) => (String::new(), reason),
        };
        let header = |name| record.header(name).unwrap_or_default().to_owned();
        LoggedEvent {
            topic: position.partition.topic.name.to_owned(),
            partition: u32::from(position.partition.index),
            offset: position.offset,
            key: String::from_utf8_lossy(&record.key).into_owned(),
            record_id: record.id().map(|id| id.to_string()).unwrap_or_default(),
            r#type: header(headers::TYPE),
            record_time: header(headers::TIME),
            causation_id: header(headers::CAUSATION_ID),
            correlation_id: header(headers::CORRELATION_ID),
            trace_parent: header(headers::TRACE_PARENT),
            event_json,
            undecoded_reason,
        }
    }

    /// The value in protobuf's JSON mapping, or why there is none. It uses the folds' decoder, so what they cannot
    /// decode is not shown either.
    fn json(&self, topic: Topic, value: &[u8]) -> Result<String, String> {
        if topic.is_private() {
            return Err("values of private topics are not shown".to_owned());
        }
        if topic.is_confidential() {
            return Err("what people say to each other alone is not shown".to_owned());
        }
        Event::decode(topic.name, value).map_err(|error| error.to_string())?;
        let pool = self.pool.get_or_init(|| DescriptorPool::decode(kith_proto::FILE_DESCRIPTOR_SET));
        let pool = pool.as_ref().map_err(|error| format!("this build's own protos do not read: {error}"))?;
        let shape = Event::wire_name(topic.name).and_then(|name| pool.get_message_by_name(name));
        let shape = shape.ok_or_else(|| format!("events of {} are not known", topic.name))?;
        let mut message = DynamicMessage::decode(shape, value).map_err(|error| error.to_string())?;
        leave_closed(&mut message);
        // A time outside the calendar has no JSON.
        serde_json::to_string(&message).map_err(|error| format!("no JSON can say it: {error}"))
    }
}

/// Empties all content in the message: operators find an event by its ids, and need not read what people say.
fn leave_closed(message: &mut DynamicMessage) {
    if message.descriptor().full_name() == CONTENT {
        *message = DynamicMessage::new(message.descriptor());
        return;
    }
    BESIDE_CONTENT.iter().for_each(|name| message.clear_field_by_name(name));
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => leave_closed(inner),
            Value::List(items) => items.iter_mut().filter_map(Value::as_message_mut).for_each(leave_closed),
            Value::Map(entries) => entries.values_mut().filter_map(Value::as_message_mut).for_each(leave_closed),
            _ => {}
        }
    }
}

pub fn letter_header(header: Header) -> LetterHeader {
    LetterHeader { name: header.name.to_string(), value: header.value }
}

/// The time in a record's headers, milliseconds since 1970.
pub fn record_ms(record: &Record) -> Option<i64> {
    let time: jiff::Timestamp = record.header(headers::TIME)?.parse().ok()?;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use kith_content::Content;
    use kith_log::topics;
    use kith_proto::posts::v1::{PostAttributes, PostCreated, post_event};

    use super::*;

    #[test]
    fn personal_content_is_not_shown() {
        let content = Some(Content::close(&"a secret between us".to_owned()));
        let attributes = Some(PostAttributes { tags: vec!["secret".to_owned()], ..PostAttributes::default() });
        let payload_digest = vec![1; 32].into();
        let created =
            PostCreated { post_id: "p".to_owned(), content, attributes, payload_digest, ..PostCreated::default() };
        let value = Event::from(post_event::Event::PostCreated(created)).encode();
        let json = Shapes::default().json(topics::POSTS, &value);
        assert_eq!(json.as_deref(), Ok(r#"{"postCreated":{"postId":"p","content":{},"attributes":{}}}"#));
    }
}
