//! What `kith.options.v1` says of messages and fields.

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value,
};

use super::Fallible;

/// The options, found in the descriptors.
pub struct Options {
    topic: ExtensionDescriptor,
    event: ExtensionDescriptor,
    secret: ExtensionDescriptor,
    cost: ExtensionDescriptor,
    cost_each: ExtensionDescriptor,
}

/// `kith.options.v1.EventOptions` of an event.
pub struct EventOptions {
    pub subject: String,
    /// `None`: no field of the event is its record's key.
    pub key: Option<String>,
    pub time: String,
    /// `None`: it is no intent that a contest judges.
    pub rules: Option<String>,
}

impl Options {
    pub fn find(pool: &DescriptorPool) -> Fallible<Self> {
        let option = |name: &str| {
            let name = format!("{}.{name}", super::OPTIONS);
            pool.get_extension_by_name(&name).ok_or_else(|| format!("there is no option {name}"))
        };
        let [topic, event, secret, cost, each] = ["topic", "event", "secret", "cost", "cost_each"].map(option);
        Ok(Self { topic: topic?, event: event?, secret: secret?, cost: cost?, cost_each: each? })
    }

    /// The topic whose values are all this message.
    pub fn topic(&self, message: &MessageDescriptor) -> Option<String> {
        let options = message.options();
        options.has_extension(&self.topic).then(|| text(&options.get_extension(&self.topic)))
    }

    pub fn event(&self, message: &MessageDescriptor) -> Option<EventOptions> {
        let options = message.options();
        let event = options.has_extension(&self.event).then(|| options.get_extension(&self.event))?;
        let event = event.as_message()?;
        let of = |name: &str| event.get_field_by_name(name).map(|value| text(&value)).unwrap_or_default();
        let key = if of("key").is_empty() { of("subject") } else { of("key") };
        let key = if is_set(event, "key_is_no_field") { None } else { Some(key) };
        let rules = Some(of("rules")).filter(|rules| !rules.is_empty());
        Some(EventOptions { subject: of("subject"), key, time: of("time"), rules })
    }

    /// What a command costs; 0: it is none.
    pub fn cost(&self, method: &MethodDescriptor) -> u32 {
        method.options().get_extension(&self.cost).as_u32().unwrap_or_default()
    }

    /// Whether that is the cost of each item.
    pub fn costs_each(&self, method: &MethodDescriptor) -> bool {
        method.options().get_extension(&self.cost_each).as_bool() == Some(true)
    }

    pub fn is_secret(&self, field: &FieldDescriptor) -> bool {
        field.options().get_extension(&self.secret).as_bool() == Some(true)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_set(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()) == Some(true)
}
