//! One event of each type, with values chosen by hand: no field is left at its default, so that a lost one is noticed.

mod groups;
mod people;

use kith_content::Content;
use kith_proto::deadletters::v1::{DeadLetter, dead_letter::Header};
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{
    BookmarkRemoved, Bookmarked, CommentContent, CommentCreated, Reacted, ReactionKind, Shared, Subject, Unreacted,
    Unshared,
};
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    ConversationAccepted, ConversationArchived, ConversationCreated, ConversationDeclined, ConversationKind,
    ConversationMarkedUnread, ConversationMuted, ConversationUnarchived, ConversationUnmuted, MessageContent,
    MessageEdited, MessagePreview, MessageReactionAdded, MessageReactionRemoved, MessageSent, MessageUnsent,
    MessagingPolicy, MessagingPolicySet, ReadMarkerMoved, ReadVisibility,
};
use kith_proto::ops::v1::ops_event::Event as Ops;
use kith_proto::ops::v1::{
    DeadLetterDiscarded, DeadLetterRetried, EventsOpened, GenerationDropped, GenerationPromoted, ProjectionPaused,
    ProjectionResumed, RebuildStarted,
};
use kith_proto::posts::private::v1::{EditRequested, post_private_event::Event as PostsPrivate};
use kith_proto::posts::v1::facet::{Feature, Hashtag, Link, Mention};
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::posts::v1::{Facet, PostAttributes, PostContent, PostCreated, PostDeleted, PostEdited};
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_proto::{Event, time};
use prost_types::Timestamp;

const ADA: &str = "0a11ce000000000000000000000000a1";
const BOB: &str = "0b0b00000000000000000000000000b2";
const CY: &str = "0c10c0c00000000000000000000000c3";
const POST: &str = "90570000000000000000000000000001";
const COMMENT: &str = "c0333e17000000000000000000000002";
const PARENT: &str = "c0333e17000000000000000000000003";
const SHARE: &str = "54a2e000000000000000000000000004";
const BOOKMARK: &str = "b00c3a4c000000000000000000000007";
const CONVERSATION: &str = "c0472e25000000000000000000000005";
const MESSAGE: &str = "3e55a6e0000000000000000000000006";
const ISSUER: &str = "https://login.example";
const KEY: &str = "5e00000000000000000000000000000000000000000000000000000000000008";
const SESSION: &str = "5e551000000000000000000000000008";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo";
const DIGEST: &[u8] = b"0123456789abcdef0123456789abcdef";

pub fn all() -> Vec<Event> {
    let messages = [people::all(), posts(), engagement(), messaging(), groups::all()];
    [messages.concat(), vec![dead_letter()], ops(), vec![security()]].concat()
}

fn posts() -> Vec<Event> {
    let created = PostCreated {
        post_id: POST.into(),
        author_id: ADA.into(),
        content: content(),
        attributes: attributes(),
        create_time: at(10),
        payload_digest: DIGEST.into(),
    };
    let edited = PostEdited {
        post_id: POST.into(),
        author_id: ADA.into(),
        revision: 2,
        content: content(),
        attributes: attributes(),
        post_create_time: at(10),
        edit_time: at(11),
        intent_offset: 7,
    };
    let deleted =
        PostDeleted { post_id: POST.into(), author_id: ADA.into(), post_create_time: at(10), delete_time: at(12) };
    let requested = EditRequested {
        post_id: POST.into(),
        author_id: ADA.into(),
        expected_revision: 1,
        content: content(),
        attributes: attributes(),
        post_create_time: at(10),
        request_time: at(11),
        payload_digest: DIGEST.into(),
        rules: 1,
    };
    vec![
        Posts::PostCreated(created).into(),
        Posts::PostEdited(edited).into(),
        Posts::PostDeleted(deleted).into(),
        PostsPrivate::EditRequested(requested).into(),
    ]
}

fn engagement() -> Vec<Event> {
    let reacted = Reacted {
        actor_id: BOB.into(),
        subject: subject(),
        subject_author_id: ADA.into(),
        kind: ReactionKind::Wow.into(),
        create_time: at(20),
    };
    let commented = CommentCreated {
        comment_id: COMMENT.into(),
        post_id: POST.into(),
        parent_comment_id: PARENT.into(),
        author_id: BOB.into(),
        post_author_id: ADA.into(),
        content: Some(Content::close(&CommentContent { text: "Schön gesagt 👏🏽".into() })),
        create_time: at(22),
        payload_digest: DIGEST.into(),
    };
    let shared = Shared {
        share_id: SHARE.into(),
        post_id: POST.into(),
        actor_id: BOB.into(),
        post_author_id: ADA.into(),
        post_create_time: at(10),
        via_account_id: CY.into(),
        create_time: at(23),
    };
    let unshared = Unshared { share_id: SHARE.into(), post_id: POST.into(), actor_id: BOB.into(), create_time: at(24) };
    let (bookmark_id, post_id, actor_id) = (BOOKMARK.to_owned(), POST.to_owned(), BOB.to_owned());
    let bookmarked = Bookmarked { bookmark_id, post_id, actor_id, create_time: at(25) };
    let (bookmark_id, post_id, actor_id) = (BOOKMARK.to_owned(), POST.to_owned(), BOB.to_owned());
    let removed = BookmarkRemoved { bookmark_id, post_id, actor_id, create_time: at(26) };
    vec![
        Engagement::Reacted(reacted).into(),
        Engagement::Unreacted(Unreacted { actor_id: BOB.into(), subject: subject(), create_time: at(21) }).into(),
        Engagement::CommentCreated(commented).into(),
        Engagement::Shared(shared).into(),
        Engagement::Unshared(unshared).into(),
        Engagement::Bookmarked(bookmarked).into(),
        Engagement::BookmarkRemoved(removed).into(),
    ]
}

fn messaging() -> Vec<Event> {
    let created = ConversationCreated {
        conversation_id: CONVERSATION.into(),
        kind: ConversationKind::Direct.into(),
        member_ids: vec![ADA.into(), BOB.into()],
        creator_id: BOB.into(),
        create_time: at(30),
        asked_member_ids: vec![ADA.into()],
        seen_identity_offset: 12,
    };
    let sent = MessageSent {
        conversation_id: CONVERSATION.into(),
        message_id: MESSAGE.into(),
        sender_id: BOB.into(),
        content: Some(Content::close(&message("Coming at nine?"))),
        create_time: at(31),
        payload_digest: DIGEST.into(),
        reply_to_message_id: POST.into(),
        reply_to_number: 1,
        preview: Some(Content::close(&MessagePreview { text: "Coming at nine?".into() })),
    };
    let moved = ReadMarkerMoved {
        conversation_id: CONVERSATION.into(),
        account_id: ADA.into(),
        up_to_number: 1,
        create_time: at(32),
        visibility: ReadVisibility::Public.into(),
        clears_mark: 2,
    };
    let (conversation_id, account_id) = (CONVERSATION.to_owned(), ADA.to_owned());
    let accepted = ConversationAccepted { conversation_id, account_id, create_time: at(33), seat: 8 };
    let (conversation_id, account_id) = (CONVERSATION.to_owned(), ADA.to_owned());
    let declined = ConversationDeclined { conversation_id, account_id, create_time: at(34), seat: 8 };
    let policy = MessagingPolicy::Followed.into();
    let set = MessagingPolicySet { account_id: ADA.into(), policy, create_time: at(35) };
    vec![
        Messaging::ConversationCreated(created).into(),
        Messaging::MessageSent(sent).into(),
        Messaging::ReadMarkerMoved(moved).into(),
        Messaging::ConversationAccepted(accepted).into(),
        Messaging::ConversationDeclined(declined).into(),
        Messaging::MessagingPolicySet(set).into(),
    ]
    .into_iter()
    .chain(amended())
    .chain(viewed())
    .collect()
}

fn message(text: &str) -> MessageContent {
    let link = Feature::Link(Link { uri: "https://example.com/9".into() });
    let facets = vec![Facet { start_byte: 0, end_byte: 6, feature: Some(link) }];
    MessageContent { text: text.into(), facets, media_ids: vec!["m-7".into()] }
}

fn amended() -> [Event; 4] {
    let edited = MessageEdited {
        conversation_id: CONVERSATION.into(),
        message_id: MESSAGE.into(),
        number: 2,
        sender_id: BOB.into(),
        content: Some(Content::close(&message("Coming at ten?"))),
        preview: Some(Content::close(&MessagePreview { text: "Coming at ten?".into() })),
        edit_time: at(36),
    };
    let unsent = MessageUnsent {
        conversation_id: CONVERSATION.into(),
        message_id: MESSAGE.into(),
        number: 2,
        sender_id: BOB.into(),
        unsend_time: at(37),
    };
    let added = MessageReactionAdded {
        conversation_id: CONVERSATION.into(),
        message_id: MESSAGE.into(),
        number: 2,
        account_id: ADA.into(),
        grapheme: "\u{1F44D}".into(),
        create_time: at(38),
    };
    let removed = MessageReactionRemoved {
        conversation_id: CONVERSATION.into(),
        message_id: MESSAGE.into(),
        number: 2,
        account_id: ADA.into(),
        grapheme: "\u{1F44D}".into(),
        create_time: at(39),
    };
    [
        Messaging::MessageEdited(edited).into(),
        Messaging::MessageUnsent(unsent).into(),
        Messaging::MessageReactionAdded(added).into(),
        Messaging::MessageReactionRemoved(removed).into(),
    ]
}

fn viewed() -> [Event; 5] {
    let ids = || (CONVERSATION.to_owned(), ADA.to_owned());
    let (conversation_id, account_id) = ids();
    let muted = ConversationMuted { conversation_id, account_id, until: at(99), create_time: at(40) };
    let (conversation_id, account_id) = ids();
    let unmuted = ConversationUnmuted { conversation_id, account_id, create_time: at(41) };
    let (conversation_id, account_id) = ids();
    let archived = ConversationArchived { conversation_id, account_id, create_time: at(42) };
    let (conversation_id, account_id) = ids();
    let unarchived = ConversationUnarchived { conversation_id, account_id, create_time: at(43) };
    let (conversation_id, account_id) = ids();
    let marked = ConversationMarkedUnread { conversation_id, account_id, mark: 3, create_time: at(44) };
    [
        Messaging::ConversationMuted(muted).into(),
        Messaging::ConversationUnmuted(unmuted).into(),
        Messaging::ConversationArchived(archived).into(),
        Messaging::ConversationUnarchived(unarchived).into(),
        Messaging::ConversationMarkedUnread(marked).into(),
    ]
}

fn dead_letter() -> Event {
    let header = |name: &str, value: &'static [u8]| Header { name: name.into(), value: value.into() };
    let letter = DeadLetter {
        origin_topic: "kith.posts.v1".into(),
        origin_partition: 3,
        origin_offset: 1_000_000_007,
        reason: "malformed: empty value".into(),
        key: b"key \xff".as_slice().into(),
        headers: vec![header("ce_type", b"kith.posts.v1.PostCreated"), header("ce_type", b"\xfe")],
        value: b"\x0a\x05\x01".as_slice().into(),
        record_time: at(40),
    };
    letter.into()
}

fn subject() -> Option<Subject> {
    Some(Subject { post_id: POST.into(), comment_id: COMMENT.into() })
}

/// Byte ranges behind letters of two bytes: `é` before the mention shifts all that follow by one.
fn content() -> Option<Content> {
    let facet = |start_byte, end_byte, feature| Facet { start_byte, end_byte, feature: Some(feature) };
    let facets = vec![
        facet(6, 14, Feature::Mention(Mention { account_id: BOB.into(), handle: "bob_the".into() })),
        facet(15, 22, Feature::Hashtag(Hashtag { tag: "engine".into() })),
        facet(23, 42, Feature::Link(Link { uri: "https://example.org".into() })),
    ];
    let text = "Olé, @bob_the #engine https://example.org".to_owned();
    Some(Content::close(&PostContent { text, facets }))
}

fn attributes() -> Option<PostAttributes> {
    let (languages, tags) = (vec!["es".into(), "en".into()], vec!["engine".into()]);
    Some(PostAttributes { languages, mentioned_account_ids: vec![BOB.into()], tags })
}

/// A moment `step` seconds and 5 ms into 2026.
fn at(step: i64) -> Option<Timestamp> {
    Some(time::timestamp(1_767_225_600_005 + step * 1_000))
}

fn security() -> Event {
    SecurityEvent {
        kind: SecurityKind::LoginRefused.into(),
        subject: ADA.into(),
        account_id: ADA.into(),
        principal: "web".into(),
        reason: "password".into(),
        source: "0123456789abcdef".into(),
        count: 7,
        first_time: at(1),
        last_time: at(2),
        others: true,
        pair: SESSION.into(),
        in_a_row: 6,
    }
    .into()
}

fn ops() -> Vec<Event> {
    let service = || "posts".to_owned();
    let letter_id = || MESSAGE.to_owned();
    let events = [
        Ops::RebuildStarted(RebuildStarted {
            service: service(),
            generation: 2,
            start_time: at(30),
            folds_version: 3,
            request_id: String::new(),
        }),
        Ops::GenerationPromoted(GenerationPromoted {
            service: service(),
            generation: 2,
            previous_generation: 1,
            promote_time: at(31),
        }),
        Ops::GenerationDropped(GenerationDropped { service: service(), generation: 1, drop_time: at(32) }),
        Ops::ProjectionPaused(ProjectionPaused { service: service(), note: "a look".into(), pause_time: at(33) }),
        Ops::ProjectionResumed(ProjectionResumed { service: service(), resume_time: at(34) }),
        Ops::DeadLetterRetried(DeadLetterRetried {
            letter_id: letter_id(),
            record_id: SHARE.into(),
            retry_time: at(35),
        }),
        Ops::DeadLetterDiscarded(DeadLetterDiscarded {
            letter_id: letter_id(),
            note: "a test of the broker".into(),
            discard_time: at(36),
        }),
        Ops::EventsOpened(EventsOpened { version: 2, subject: "version 2".into(), open_time: at(37), known_until: 9 }),
    ];
    events.into_iter().map(Event::from).collect()
}
