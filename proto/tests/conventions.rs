//! What API.md promises of every RPC, read from the descriptors.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;

use kith_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, MethodDescriptorProto};

/// Read no tables: there is nothing to wait for.
const WITHOUT_TOKENS: [&str; 2] = ["GetSigningKeys", "MergeTokens"];

#[test]
fn every_rpc_takes_tokens_and_gives_one() {
    for (method, request, response) in rpcs() {
        if WITHOUT_TOKENS.contains(&method.name()) {
            continue;
        }
        assert!(has(&request, "at_least"), "{}", request.name());
        if method.server_streaming() {
            // Each answer says where to come back to.
            assert!(has(&request, "cursor") && has(&response, "cursor"), "{}", response.name());
            continue;
        }
        // A command is what can be repeated under a request id, or under the refresh token that it uses.
        let is_command = has(&request, "request_id") || method.name() == "RefreshSession";
        assert_eq!(has(&response, "consistency_token"), is_command, "{}", response.name());
        assert_eq!(has(&response, "as_of"), !is_command, "{}", response.name());
    }
}

#[test]
fn every_answer_can_say_that_its_folds_stand_still() {
    for (_, _, response) in rpcs() {
        assert_eq!(has(&response, "incomplete"), has(&response, "as_of"), "{}", response.name());
    }
}

#[test]
fn every_list_has_pages() {
    for (method, request, response) in rpcs() {
        let pages = [has(&request, "page_size"), has(&request, "page_token"), has(&response, "next_page_token")];
        let is_list = ["List", "Search", "Suggest"].iter().any(|verb| method.name().starts_with(verb))
            || method.name().ends_with("Feed");
        assert_eq!(pages, [is_list; 3], "{}", method.name());
    }
}

#[test]
fn no_request_says_who_acts() {
    for (_, request, _) in rpcs() {
        for field in ["actor_id", "author_id", "sender_id", "follower_id"] {
            assert!(!has(&request, field), "{}.{field}", request.name());
        }
    }
}

fn has(message: &DescriptorProto, field: &str) -> bool {
    message.field.iter().any(|candidate| candidate.name() == field)
}

/// Operators' RPCs are not callers': they ask about the folds and the log themselves, as they are.
const OPERATORS: &str = "kith.ops.v1";

fn rpcs() -> Vec<(MethodDescriptorProto, DescriptorProto, DescriptorProto)> {
    let protos = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let mut messages = BTreeMap::new();
    for file in &protos.file {
        for message in &file.message_type {
            messages.insert(format!(".{}.{}", file.package(), message.name()), message.clone());
        }
    }
    let of_callers = protos.file.iter().filter(|file| file.package() != OPERATORS);
    let methods = of_callers.flat_map(|file| &file.service).flat_map(|service| &service.method);
    let found: Vec<_> = methods
        .map(|method| (method.clone(), messages[method.input_type()].clone(), messages[method.output_type()].clone()))
        .collect();
    assert!(found.len() > 30, "the descriptors are not those of the suite");
    found
}
