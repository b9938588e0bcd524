//! The enum `Event`: everything about events that follows from their protos.

use std::collections::BTreeSet;

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, TokenStream};
use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use quote::quote;

use super::options::Options;
use super::{Fallible, SUITE, names};

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// A topic, by the one message that all its values are.
struct Topic {
    name: String,
    /// The variant of `Event` that its events are in.
    variant: Ident,
    wire: MessageDescriptor,
    /// Of the wire message's events; none: the wire message is itself the event.
    oneof: Option<OneofDescriptor>,
}

/// One event, and how its `event: &Message` is asked for what its options name.
struct Known {
    message: MessageDescriptor,
    variant: Ident,
    /// The member of the topic's oneof; none where the message is the topic's own.
    member: Option<TokenStream>,
    subject: TokenStream,
    key: Option<TokenStream>,
    time: TokenStream,
    rules: Option<Ident>,
}

impl Known {
    /// The `Event` that is, or matches, this message.
    fn wrap(&self, message: TokenStream) -> TokenStream {
        let (variant, member) = (&self.variant, &self.member);
        match member {
            None => quote!(Event::#variant(#message)),
            Some(member) => quote!(Event::#variant(#member(#message))),
        }
    }
}

/// The enum, its methods, and its conversions.
pub fn all(pool: &DescriptorPool, options: &Options) -> Fallible<TokenStream> {
    let mut topics = Vec::new();
    for wire in super::messages(pool) {
        if let Some(name) = options.topic(&wire) {
            topics.push(topic(name, wire)?);
        }
    }
    let mut events = Vec::new();
    for topic in &topics {
        events.extend(known(topic, options)?);
    }
    each_once(topics.iter().map(|topic| topic.name.as_str()))?;
    each_once(events.iter().map(|event| event.message.full_name()))?;
    let (of_topics, of_events) = (methods_by_topic(&topics), methods_by_event(&events));
    let conversions = conversions(&topics, &events);
    let variants = topics.iter().map(|topic| {
        let (variant, payload) = (&topic.variant, payload(topic));
        quote!(#variant(#payload))
    });
    Ok(quote! {
        /// Any event that this release knows, of any topic.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            #(#variants,)*
        }

        impl Event {
            #of_topics
            #of_events
        }

        #conversions
    })
}

fn topic(name: String, wire: MessageDescriptor) -> Fallible<Topic> {
    let oneof = wire.oneofs().find(|oneof| !oneof.is_synthetic());
    // A wire message has nothing but its oneof, so the oneof's bytes are the message's.
    if let Some(oneof) = &oneof
        && oneof.fields().len() != wire.fields().len()
    {
        return Err(format!("{}: a topic's message has fields beside its events", wire.full_name()).into());
    }
    let variant = match &oneof {
        None => names::camel(wire.name()),
        Some(_) => variant_of(wire.package_name()),
    };
    Ok(Topic { name, variant, wire, oneof })
}

/// `PostsPrivate` for `kith.posts.private.v1`; later versions keep theirs.
fn variant_of(package: &str) -> Ident {
    let name = package.strip_prefix(SUITE).unwrap_or(package);
    names::ident(&name.strip_suffix(".v1").unwrap_or(name).to_upper_camel_case())
}

fn payload(topic: &Topic) -> TokenStream {
    topic.oneof.as_ref().map_or_else(|| names::message(&topic.wire), names::oneof)
}

fn known(topic: &Topic, options: &Options) -> Fallible<Vec<Known>> {
    let Some(oneof) = &topic.oneof else {
        return Ok(vec![one(topic, topic.wire.clone(), None, options)?]);
    };
    let members = oneof.fields().map(|field| {
        let (of, name) = (names::oneof(oneof), names::camel(field.name()));
        one(topic, message_of(&field)?, Some(quote!(#of::#name)), options)
    });
    members.collect()
}

fn one(topic: &Topic, message: MessageDescriptor, member: Option<TokenStream>, options: &Options) -> Fallible<Known> {
    let Some(says) = options.event(&message) else {
        return Err(format!("{}: an event without the option {}.event", message.full_name(), super::OPTIONS).into());
    };
    let event = quote!(event);
    let subject = text(&event, &message, &says.subject)?;
    let key = says.key.map(|path| text(&event, &message, &path)).transpose()?;
    let time = moment(&event, &message, &says.time)?;
    let rules = says.rules.map(|name| number(&message, &name)).transpose()?;
    Ok(Known { message, variant: topic.variant.clone(), member, subject, key, time, rules })
}

/// The `&str` at a path; empty where a message on the way is unset.
fn text(holder: &TokenStream, message: &MessageDescriptor, path: &str) -> Fallible<TokenStream> {
    if let Some((first, rest)) = path.split_once('.') {
        let field = field(message, first)?;
        let name = names::ident(first);
        let rest = text(&quote!(#name), &message_of(&field)?, rest)?;
        return Ok(quote!(#holder.#name.as_ref().map_or("", |#name| #rest)));
    }
    let field = field(message, path)?;
    if field.kind() != Kind::String || field.is_list() || field.supports_presence() {
        return Err(format!("{}: not a plain string", field.full_name()).into());
    }
    let name = names::ident(path);
    Ok(quote!(#holder.#name.as_str()))
}

/// The `Option<&Timestamp>` of a field of an event.
fn moment(holder: &TokenStream, message: &MessageDescriptor, name: &str) -> Fallible<TokenStream> {
    let field = field(message, name)?;
    if message_of(&field)?.full_name() != TIMESTAMP {
        return Err(format!("{}: not a timestamp", field.full_name()).into());
    }
    let name = names::ident(name);
    Ok(quote!(#holder.#name.as_ref()))
}

/// A `u32` field of an event.
fn number(message: &MessageDescriptor, name: &str) -> Fallible<Ident> {
    let field = field(message, name)?;
    if field.kind() != Kind::Uint32 || field.is_list() || field.supports_presence() {
        return Err(format!("{}: not a plain uint32", field.full_name()).into());
    }
    Ok(names::ident(name))
}

fn field(message: &MessageDescriptor, name: &str) -> Fallible<FieldDescriptor> {
    let missing = || format!("{}: there is no field `{name}`, which its options name", message.full_name());
    Ok(message.get_field_by_name(name).ok_or_else(missing)?)
}

/// What a field holds one of.
fn message_of(field: &FieldDescriptor) -> Fallible<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_list() => Ok(message),
        _ => Err(format!("{}: not a message", field.full_name()).into()),
    }
}

fn each_once<'a>(names: impl IntoIterator<Item = &'a str>) -> Fallible<()> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name}: more than one message says that it is this").into()),
    }
}

fn methods_by_topic(topics: &[Topic]) -> TokenStream {
    let decode = topics.iter().map(|topic| {
        let (name, variant, wire) = (&topic.name, &topic.variant, names::message(&topic.wire));
        match topic.oneof.as_ref().map(|oneof| names::ident(oneof.name())) {
            None => quote!(#name => Some(Self::#variant(wire::<#wire>(value)?))),
            Some(oneof) => quote!(#name => wire::<#wire>(value)?.#oneof.map(Self::#variant)),
        }
    });
    let encode = topics.iter().map(|topic| {
        let variant = &topic.variant;
        match topic.oneof {
            None => quote!(Self::#variant(event) => value = event.encode_to_vec()),
            Some(_) => quote!(Self::#variant(event) => event.encode(&mut value)),
        }
    });
    let wires = topics.iter().map(|topic| {
        let (name, wire) = (&topic.name, topic.wire.full_name());
        quote!(#name => #wire)
    });
    let names = topics.iter().map(|topic| {
        let (name, variant) = (&topic.name, &topic.variant);
        quote!(Self::#variant(_) => #name)
    });
    quote! {
        /// Reads the value of a record of `topic_name`. Ids and times inside are as they were written, and may be missing.
        pub fn decode(topic_name: &str, value: &[u8]) -> Result<Self, DecodeError> {
            match topic_name {
                #(#decode,)*
                _ => None,
            }
            .ok_or(DecodeError::UnknownType)
        }

        /// The value of a record of [`Event::topic_name`]: that topic's wire message. Only for new records: what is
        /// forwarded is forwarded byte for byte, since fields that this release does not know are lost here.
        pub fn encode(&self) -> Vec<u8> {
            let mut value = Vec::new();
            match self {
                #(#encode,)*
            }
            value
        }

        /// The full name of the message that every value of a topic is; `None`: this release knows no events of it.
        pub fn wire_name(topic_name: &str) -> Option<&'static str> {
            Some(match topic_name {
                #(#wires,)*
                _ => return None,
            })
        }

        /// The topic it belongs in.
        pub fn topic_name(&self) -> &'static str {
            match self {
                #(#names,)*
            }
        }
    }
}

fn methods_by_event(events: &[Known]) -> TokenStream {
    let types = events.iter().map(|event| {
        let (any, name) = (event.wrap(quote!(_)), event.message.full_name());
        quote!(#any => #name)
    });
    let found = |what: fn(&Known) -> Option<TokenStream>| {
        let asked = events.iter().filter_map(move |event| what(event).map(|what| (event.wrap(quote!(event)), what)));
        asked.map(|(event, what)| quote!(#event => #what))
    };
    let subjects = found(|event| Some(event.subject.clone()));
    let times = found(|event| Some(event.time.clone()));
    let keys = found(|event| event.key.as_ref().map(|key| quote!(Some(#key))));
    let rules = found(|event| event.rules.as_ref().map(|rules| quote!(Some(event.#rules))));
    let set_rules = found(|event| event.rules.as_ref().map(|rules| quote!(event.#rules = version)));
    quote! {
        /// The full name of its message (`ce_type`): `kith.posts.v1.PostCreated`.
        pub fn type_name(&self) -> &'static str {
            match self {
                #(#types,)*
            }
        }

        /// The id of what it is about (`ce_subject`). Empty only if the event was written without it.
        pub fn subject(&self) -> &str {
            match self {
                #(#subjects,)*
            }
        }

        /// What its record is keyed by: the subject, for most. `None` where that is no field of the event: an
        /// `AccountRequested` is keyed by a handle's hash, a `DeadLetter` by the partition it was found in, and what
        /// operators decide has one key. Empty only if the event was written without it.
        pub fn key(&self) -> Option<&str> {
            match self {
                #(#keys,)*
                _ => None,
            }
        }

        /// The version of the events under whose rules a contest judges it; `None`: it is no intent.
        pub fn rules(&self) -> Option<u32> {
            match self {
                #(#rules,)*
                _ => None,
            }
        }

        /// Has it judged under the rules of this version of the events, if it is an intent.
        pub fn set_rules(&mut self, version: u32) {
            match self {
                #(#set_rules,)*
                _ => {}
            }
        }

        /// When it happened, or was asked for, as it says itself.
        pub fn time(&self) -> Option<&prost_types::Timestamp> {
            match self {
                #(#times,)*
            }
        }
    }
}

fn conversions(topics: &[Topic], events: &[Known]) -> TokenStream {
    let of_topics = topics.iter().filter(|topic| topic.oneof.is_some()).map(|topic| {
        let (variant, payload) = (&topic.variant, payload(topic));
        from(&payload, &quote!(Event::#variant(event)))
    });
    let of_events = events.iter().map(|event| from(&names::message(&event.message), &event.wrap(quote!(event))));
    of_topics.chain(of_events).collect()
}

fn from(from: &TokenStream, made: &TokenStream) -> TokenStream {
    quote! {
        impl From<#from> for Event {
            fn from(event: #from) -> Self {
                #made
            }
        }
    }
}
