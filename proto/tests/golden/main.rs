//! Every event ever written must still be read. `fixtures/<full.event.Type>.bin` is a record's value as it was written once;
//! `.txt` beside it is what it means. A fixture is added, never changed.

#![allow(clippy::expect_used, clippy::panic)]

mod samples;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kith_proto::{DecodeError, Event, FILE_DESCRIPTOR_SET};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

#[test]
fn every_fixture_is_read_as_it_was_meant() {
    for name in fixture_names() {
        let (topic_name, value) = (topic_of(&name), read(&name));
        let event = Event::decode(&topic_name, &value).unwrap_or_else(|error| panic!("{name}: {error}"));
        let meant = fs::read_to_string(path(&name, "txt")).unwrap_or_else(|error| panic!("{name}.txt: {error}"));
        assert_eq!(describe(&event), meant, "{name}");
        assert_eq!(event.encode(), value, "{name} is written otherwise than it was");
        assert_eq!((event.type_name(), event.topic_name()), (name.as_str(), topic_name.as_str()));
    }
}

#[test]
fn every_event_has_a_fixture() {
    let missing: Vec<_> = event_types().difference(&fixture_names()).cloned().collect();
    assert!(
        missing.is_empty(),
        "add a sample, then `cargo test -p kith-proto --test golden -- --ignored`: {missing:?}"
    );
    let unknown: Vec<_> = fixture_names().difference(&event_types()).cloned().collect();
    assert!(unknown.is_empty(), "an event that was in the log is no longer in the protos: {unknown:?}");
}

#[test]
fn fields_of_a_newer_release_do_no_harm() {
    for name in fixture_names() {
        let mut value = read(&name);
        let event = Event::decode(&topic_of(&name), &value);
        // Field 2,000, a varint.
        value.extend_from_slice(&[0x80, 0x7d, 0x01]);
        assert_eq!(Event::decode(&topic_of(&name), &value), event, "{name}");
    }
}

#[test]
fn a_truncated_value_never_panics_and_never_reads_as_the_whole() {
    for name in fixture_names() {
        let value = read(&name);
        let whole = Event::decode(&topic_of(&name), &value);
        for len in 0..value.len() {
            assert_ne!(Event::decode(&topic_of(&name), &value[..len]), whole, "{name} cut to {len} bytes");
        }
    }
}

#[test]
fn what_is_malformed_is_told_from_what_is_newer() {
    let posts = |value: &[u8]| Event::decode("kith.posts.v1", value);
    assert!(matches!(posts(b""), Err(DecodeError::Malformed(_))));
    assert!(matches!(posts(&[0x0a, 0x05, 0x01]), Err(DecodeError::Malformed(_))), "truncated");
    assert!(matches!(posts(&[0x0a, 0x03, 0x0a, 0x01, 0xff]), Err(DecodeError::Malformed(_))), "not UTF-8");
    // Field 2,000 of the oneof, an empty message.
    assert_eq!(posts(&[0x82, 0x7d, 0x00]), Err(DecodeError::UnknownType));
    assert_eq!(Event::decode("kith.later.v1", &[0x0a, 0x00]), Err(DecodeError::UnknownType));
}

/// Writes the fixtures that are missing, and only these: `cargo test -p kith-proto --test golden -- --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn write_missing_fixtures() {
    for event in samples::all() {
        let name = event.type_name();
        if !path(name, "bin").exists() {
            fs::write(path(name, "bin"), event.encode()).expect("writable");
            fs::write(path(name, "txt"), describe(&event)).expect("writable");
        }
    }
}

fn describe(event: &Event) -> String {
    format!("topic {}\nsubject {}\n{event:#?}\n", event.topic_name(), event.subject())
}

fn path(name: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("{name}.{extension}"))
}

fn read(name: &str) -> Vec<u8> {
    fs::read(path(name, "bin")).unwrap_or_else(|error| panic!("{name}.bin: {error}"))
}

fn fixture_names() -> BTreeSet<String> {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")).expect("a folder");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    names.filter_map(|name| name.strip_suffix(".bin").map(str::to_owned)).collect()
}

/// A topic is called as its events' package is.
fn topic_of(type_name: &str) -> String {
    let (package, _) = type_name.rsplit_once('.').expect("a full name");
    package.replace("deadletters", "dead-letters")
}

/// The full names of all messages that stand in a oneof `event`; and of those that are their own wire messages.
fn event_types() -> BTreeSet<String> {
    let protos = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let mut types: BTreeSet<String> = protos.file.iter().flat_map(events_of).collect();
    types.extend(["kith.deadletters.v1.DeadLetter", "kith.security.v1.SecurityEvent"].map(str::to_owned));
    types
}

fn events_of(file: &FileDescriptorProto) -> Vec<String> {
    let wires = file.message_type.iter().filter(|message| message.oneof_decl.iter().any(|o| o.name() == "event"));
    wires
        .flat_map(|wire| &wire.field)
        .inspect(|field| assert_eq!(field.oneof_index, Some(0), "a wire message has nothing but its oneof: {field:?}"))
        .map(|field| field.type_name().trim_start_matches('.').to_owned())
        .collect()
}

#[test]
fn an_intent_says_by_which_rules_it_is_judged() {
    let mut intents = BTreeSet::new();
    for mut event in samples::all() {
        event.set_rules(7);
        if event.rules().is_some() {
            assert_eq!(event.rules(), Some(7));
            intents.insert(event.type_name());
        }
    }
    assert_eq!(
        Vec::from_iter(intents),
        [
            "kith.identity.private.v1.AccountRequested",
            "kith.identity.private.v1.AccountStateRequested",
            "kith.identity.private.v1.ExchangeRequested",
            "kith.identity.private.v1.HandleChangeRequested",
            "kith.identity.private.v1.HandleClaimRequested",
            "kith.identity.private.v1.IdentityRequested",
            "kith.identity.private.v1.ProfileRequested",
            "kith.messaging.private.v1.GroupChangeRequested",
            "kith.posts.private.v1.EditRequested"
        ]
    );
}
