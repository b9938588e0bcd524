//! Records as operators see them: headers by name, the event as JSON, without secrets.

use std::sync::OnceLock;

use kith_log::{Header, Record, Topic, headers};
use kith_proto::Event;
use kith_proto::ops::v1::LoggedEvent;
use kith_proto::ops::v1::get_dead_letter_response::LetterHeader;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, ReflectMessage, Value,
};

/// What people say and are called: of this the JSON says only that it is there.
const CONTENT: &str = "kith.content.v1.Content";
/// The option of fields that are never shown.
const SECRET: &str = "kith.options.v1.secret";

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
            principal: header(headers::PRINCIPAL),
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
        let secret = pool.get_extension_by_name(SECRET).ok_or_else(|| format!("{SECRET} is not known"))?;
        hide(&mut message, &secret);
        // A time outside the calendar has no JSON.
        serde_json::to_string(&message).map_err(|error| format!("no JSON can say it: {error}"))
    }
}

/// Clears all content and all secret fields of the message: operators find an event by its ids, and need not read what
/// people say.
fn hide(message: &mut DynamicMessage, secret: &ExtensionDescriptor) {
    let shape = message.descriptor();
    if shape.full_name() == CONTENT {
        *message = DynamicMessage::new(shape);
        return;
    }
    let is_secret = |field: &FieldDescriptor| field.options().get_extension(secret).as_bool() == Some(true);
    shape.fields().filter(is_secret).for_each(|field| message.clear_field(&field));
    let within = |value: &mut Value| value.as_message_mut().into_iter().for_each(|inner| hide(inner, secret));
    for (_, value) in message.fields_mut() {
        match value {
            Value::List(items) => items.iter_mut().for_each(within),
            Value::Map(entries) => entries.values_mut().for_each(within),
            value => within(value),
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
