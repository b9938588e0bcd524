//! The limits that the protos tell callers are those that the services check: `kith_service::limits`.

use kith_service::limits::{self, TextLimit};
use prost_reflect::{DescriptorPool, FieldDescriptor};

use super::rules::{self, Rules};

#[test]
fn texts_are_as_long_as_their_services_take_them() {
    let texts = [
        ("kith.identity.v1.Profile.display_name", limits::DISPLAY_NAME, false),
        ("kith.identity.v1.Profile.bio", limits::BIO, false),
        ("kith.identity.v1.Profile.pronouns", limits::PRONOUNS, false),
        ("kith.posts.v1.CreatePostRequest.text", limits::POST, true),
        ("kith.posts.v1.EditPostRequest.text", limits::POST, true),
        ("kith.engagement.v1.CreateCommentRequest.text", limits::COMMENT, true),
        ("kith.messaging.v1.SendMessageRequest.text", limits::MESSAGE, false),
        ("kith.messaging.v1.EditMessageRequest.text", limits::MESSAGE, false),
        ("kith.messaging.v1.ReactToMessageRequest.grapheme", limits::MESSAGE_REACTION, true),
        ("kith.messaging.v1.RemoveMessageReactionRequest.grapheme", limits::MESSAGE_REACTION, true),
        ("kith.messaging.v1.CreateGroupRequest.title", limits::GROUP_TITLE, false),
        ("kith.messaging.v1.UpdateGroupRequest.title", limits::GROUP_TITLE, false),
    ];
    let pool = DescriptorPool::decode(kith_proto::FILE_DESCRIPTOR_SET).unwrap();
    let texts_in_protos = pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    let mut names: Vec<String> = texts_in_protos
        .filter(|field| Rules::of(field).max_graphemes.is_some())
        .map(|field| field.full_name().to_owned())
        .collect();
    for (name, TextLimit { graphemes, bytes }, is_needed) in texts {
        let (message, field) = name.rsplit_once('.').unwrap();
        let rules = Rules::of(&pool.get_message_by_name(message).unwrap().get_field_by_name(field).unwrap());
        assert_eq!((rules.max_graphemes, rules.max_bytes), (Some(graphemes), Some(bytes)), "{name}");
        assert_eq!(rules.min_chars, is_needed.then_some(1), "{name}");
        names.retain(|other| other != name);
    }
    assert!(names.is_empty(), "texts whose limit is compared with nothing: {names:?}");
}

#[test]
fn what_all_requests_have_is_bounded_as_the_kit_bounds_it() {
    for (field, rules) in fields() {
        let name = field.full_name();
        match field.name() {
            "at_least" => assert_eq!(rules.max_items, Some(limits::TOKENS_PER_REQUEST), "{name}"),
            "tokens" => assert_eq!(rules.max_items, Some(limits::TOKENS_PER_MERGE), "{name}"),
            "request_id" => assert_eq!(rules.max_chars, Some(limits::REQUEST_ID_CHARS), "{name}"),
            "page_size" => assert_eq!(rules.at_least, Some(0), "{name}"),
            "subject_token" => assert_eq!(rules.max_chars, Some(limits::ISSUER_TOKEN_BYTES), "{name}"),
            // The service's own; the walk tries both sides of it.
            "languages" => (),
            "handle" => {
                let bounds = (Some(limits::HANDLE_CHARS_MIN), Some(limits::HANDLE_CHARS_MAX));
                assert_eq!((rules.min_chars, rules.max_chars), bounds, "{name}");
            }
            "password" => {
                let is_chosen = name.contains("CreateAccount");
                let least = if is_chosen { limits::PASSWORD_CHARS_MIN } else { 1 };
                assert_eq!(
                    (rules.min_chars, rules.max_chars),
                    (Some(least), Some(limits::PASSWORD_CHARS_MAX)),
                    "{name}"
                );
            }
            "media_ids" => assert_eq!(rules.max_items, Some(limits::MEDIA_PER_MESSAGE), "{name}"),
            // The caller is one of the members.
            "member_ids" => assert_eq!(rules.max_items, Some(limits::GROUP_MEMBERS - 1), "{name}"),
            "account_ids" if name.contains("AddMembers") => {
                assert_eq!(rules.max_items, Some(limits::GROUP_MEMBERS - 1), "{name}");
            }
            _ if field.is_list() => assert_eq!(rules.max_items, Some(limits::BATCH_ITEMS), "{name}"),
            other => {
                let names_an_id = other.ends_with("_id");
                assert_eq!(rules.is_id(), names_an_id, "{name}");
            }
        }
    }
}

/// Every field of every request of callers.
fn fields() -> Vec<(FieldDescriptor, Rules)> {
    let requests = rules::callers_rpcs().into_iter().map(|rpc| rpc.input());
    let fields = requests.flat_map(|request| request.fields().collect::<Vec<_>>());
    fields.map(|field| (field.clone(), Rules::of(&field))).collect()
}
