//! Answers as JSON, in protobuf's own mapping.

use anyhow::Context;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

/// The message of that full name.
pub fn of(name: &str, message: &impl Message) -> anyhow::Result<Value> {
    let pool = DescriptorPool::decode(kith_proto::FILE_DESCRIPTOR_SET)?;
    let shape = pool.get_message_by_name(name).with_context(|| format!("{name} is not known"))?;
    let message = DynamicMessage::decode(shape, &*message.encode_to_vec())?;
    Ok(serde_json::to_value(&message)?)
}

/// The one document of a command.
pub fn print(document: &Value) {
    println!("{document:#}");
}
