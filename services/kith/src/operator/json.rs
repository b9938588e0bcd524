//! Answers as JSON, in protobuf's own mapping; default values too, so that programs find offset 0.

use anyhow::Context;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// The message with that full name.
pub fn of(name: &str, message: &impl Message) -> anyhow::Result<Value> {
    let pool = DescriptorPool::decode(kith_proto::FILE_DESCRIPTOR_SET)?;
    let shape = pool.get_message_by_name(name).with_context(|| format!("{name} is not known"))?;
    let message = DynamicMessage::decode(shape, &*message.encode_to_vec())?;
    let options = SerializeOptions::new().skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// The same with the JSON in its field `from` as JSON under `to`, not as text; null where it is empty.
pub fn unfolded(name: &str, message: &impl Message, (from, to): (&str, &str)) -> anyhow::Result<Value> {
    let mut document = of(name, message)?;
    let text = document.as_object_mut().and_then(|fields| fields.remove(from));
    document[to] = match text.as_ref().and_then(Value::as_str).unwrap_or_default() {
        "" => Value::Null,
        json => serde_json::from_str(json)?,
    };
    Ok(document)
}

/// The one document of a command.
pub fn print(document: &Value) {
    say!("{document:#}");
}
