//! One's own view of a conversation, and what the others are told of who has read.

use super::*;

/// A conversation of ADA and BOB in which ADA has said so much.
async fn talk(world: &World, texts: &[&str]) -> (String, String) {
    friends(world).await;
    let (conversation, mut token) = direct(world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id;
    for text in texts {
        token = send(world, ADA, writing(&id, text, "", &token)).await.unwrap().1;
    }
    (id, token)
}

macro_rules! change {
    ($world:expr, $rpc:ident, $request:ident { $($field:ident: $value:expr),* }, $who:expr, $id:expr, $token:expr) => {{
        let request = $request {
            conversation_id: $id.to_string(),
            at_least: vec![$token.to_string()],
            $($field: $value,)*
            ..$request::default()
        };
        let answer = $world.messaging.$rpc(by($who, request)).await.map_err(|status| refusal(&status));
        answer.map(|answer| {
            let answer = answer.into_inner();
            (answer.conversation.unwrap(), answer.consistency_token)
        })
    }};
}

async fn listed(world: &World, who: RecordId, list: ConversationList, token: &str) -> Vec<Conversation> {
    let (list, at_least) = (list.into(), vec![token.to_owned()]);
    let request = ListConversationsRequest { list, at_least, ..ListConversationsRequest::default() };
    world.messaging.list_conversations(by(who, request)).await.unwrap().into_inner().conversations
}

/// Unread messages, and conversations with any: of the inbox, of what is muted, of the archive.
async fn sums(world: &World, who: RecordId, token: &str) -> [(u64, u64); 3] {
    let request = GetUnreadCountsRequest { at_least: vec![token.to_owned()], ..GetUnreadCountsRequest::default() };
    let of = world.messaging.get_unread_counts(by(who, request)).await.unwrap().into_inner();
    [
        (of.total_unread_count, of.unread_conversation_count),
        (of.muted_unread_count, of.muted_unread_conversation_count),
        (of.archived_unread_count, of.archived_unread_conversation_count),
    ]
}

/// The sums are those of the lists' own numbers.
async fn sums_of_lists(world: &World, who: RecordId, token: &str) -> [(u64, u64); 3] {
    let mut sums = [(0, 0); 3];
    for list in [ConversationList::Inbox, ConversationList::Archive] {
        for conversation in listed(world, who, list, token).await {
            assert_eq!(conversation.archived, list == ConversationList::Archive);
            let part = if conversation.archived { 2 } else { usize::from(conversation.muted) };
            sums[part].0 += conversation.unread_count;
            sums[part].1 += u64::from(conversation.unread_count > 0 || conversation.marked_unread);
        }
    }
    sums
}

#[tokio::test]
async fn a_muted_conversation_is_counted_apart_until_the_mute_ends() {
    let world = World::start().await;
    let (id, token) = talk(&world, &["one", "two"]).await;
    assert_eq!(sums(&world, BOB, &token).await, [(2, 1), (0, 0), (0, 0)]);
    let (muted, token) =
        change!(world, mute_conversation, MuteConversationRequest { until: None }, BOB, id, token).unwrap();
    assert!(muted.muted && muted.muted_until.is_none());
    assert_eq!(sums(&world, BOB, &token).await, [(0, 0), (2, 1), (0, 0)]);
    assert_eq!(sums(&world, BOB, &token).await, sums_of_lists(&world, BOB, &token).await);
    assert!(!listed(&world, ADA, ConversationList::Inbox, &token).await[0].muted, "nobody else's");
    let now_ms = world.ports.runtime.now_ms();
    let until = |ms: i64| Some(kith_proto::time::timestamp(now_ms + ms));
    let (later, token) =
        change!(world, mute_conversation, MuteConversationRequest { until: until(3_600_000) }, BOB, id, token).unwrap();
    assert!(later.muted && later.muted_until == until(3_600_000));
    let (over, token) =
        change!(world, mute_conversation, MuteConversationRequest { until: until(-1) }, BOB, id, token).unwrap();
    assert!(!over.muted && over.muted_until.is_none());
    assert_eq!(sums(&world, BOB, &token).await, [(2, 1), (0, 0), (0, 0)], "it has ended");
    let (ended, _) = change!(world, unmute_conversation, UnmuteConversationRequest {}, BOB, id, token).unwrap();
    assert!(!ended.muted);
    let stranger = change!(world, mute_conversation, MuteConversationRequest { until: None }, EVE, id, token);
    assert_eq!(stranger.map(|_| ()), refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
}

#[tokio::test]
async fn a_message_brings_back_what_was_put_away_unless_it_is_muted() {
    let world = World::start().await;
    let (id, token) = talk(&world, &["one"]).await;
    let (away, token) = change!(world, archive_conversation, ArchiveConversationRequest {}, BOB, id, token).unwrap();
    assert!(away.archived);
    assert!(listed(&world, BOB, ConversationList::Inbox, &token).await.is_empty());
    assert_eq!(listed(&world, BOB, ConversationList::Archive, &token).await.len(), 1);
    assert_eq!(sums(&world, BOB, &token).await, [(0, 0), (0, 0), (1, 1)]);
    let token = send(&world, ADA, writing(&id, "two", "", &token)).await.unwrap().1;
    assert_eq!(sums(&world, BOB, &token).await, [(2, 1), (0, 0), (0, 0)]);
    let mute = MuteConversationRequest::default();
    let (_, token) =
        change!(world, mute_conversation, MuteConversationRequest { until: mute.until }, BOB, id, token).unwrap();
    let (_, token) = change!(world, archive_conversation, ArchiveConversationRequest {}, BOB, id, token).unwrap();
    let token = send(&world, ADA, writing(&id, "three", "", &token)).await.unwrap().1;
    assert_eq!(sums(&world, BOB, &token).await, [(0, 0), (0, 0), (3, 1)], "it stays away while it is muted");
    assert_eq!(sums(&world, BOB, &token).await, sums_of_lists(&world, BOB, &token).await);
    let (_, token) = change!(world, unmute_conversation, UnmuteConversationRequest {}, BOB, id, token).unwrap();
    assert_eq!(sums(&world, BOB, &token).await, [(3, 1), (0, 0), (0, 0)]);
    let (_, token) = change!(world, archive_conversation, ArchiveConversationRequest {}, BOB, id, token).unwrap();
    let (back, _) = change!(world, unarchive_conversation, UnarchiveConversationRequest {}, BOB, id, token).unwrap();
    assert!(!back.archived);
}

#[tokio::test]
async fn a_mark_as_unread_stays_until_the_next_reading_and_moves_no_marker() {
    let world = World::start().await;
    let (id, token) = talk(&world, &["one"]).await;
    let token = mark(&world, BOB, &id, 1, &token).await.unwrap().consistency_token;
    let (marked, token) = change!(world, mark_unread, MarkUnreadRequest {}, BOB, id, token).unwrap();
    assert!(marked.marked_unread && (marked.unread_count, marked.read_number) == (0, 1));
    assert_eq!(sums(&world, BOB, &token).await, [(0, 1), (0, 0), (0, 0)]);
    assert_eq!(sums(&world, BOB, &token).await, sums_of_lists(&world, BOB, &token).await);
    let token = mark(&world, BOB, &id, 1, &token).await.unwrap().consistency_token;
    assert_eq!(sums(&world, BOB, &token).await, [(0, 0); 3]);
}

#[tokio::test]
async fn who_says_so_is_seen_to_have_read_and_a_block_hides_that() {
    let world = World::start().await;
    let (id, token) = talk(&world, &["one", "two"]).await;
    let markers = async |who: RecordId, token: &str| {
        let (conversation_id, at_least) = (id.clone(), vec![token.to_owned()]);
        let request = ListMessagesRequest { conversation_id, at_least, ..ListMessagesRequest::default() };
        let page = world.messaging.list_messages(by(who, request)).await.unwrap().into_inner();
        page.public_markers.into_iter().map(|of| (of.account_id, of.read_number)).collect::<Vec<_>>()
    };
    let read = async |up_to_number, visibility: ReadVisibility, token: &str| {
        let (conversation_id, at_least, visibility) = (id.clone(), vec![token.to_owned()], visibility.into());
        let request =
            MarkReadRequest { conversation_id, up_to_number, at_least, visibility, ..MarkReadRequest::default() };
        world.messaging.mark_read(by(BOB, request)).await.unwrap().into_inner().consistency_token
    };
    let token = read(2, ReadVisibility::Private, &token).await;
    assert_eq!(markers(ADA, &token).await, []);
    let token = read(1, ReadVisibility::Public, &token).await;
    assert_eq!(markers(ADA, &token).await, [(BOB.to_string(), 1)]);
    assert_eq!(markers(BOB, &token).await, [], "the others");
    let token = read(2, ReadVisibility::Private, &token).await;
    assert_eq!(markers(ADA, &token).await, [(BOB.to_string(), 1)], "what was shown stays");
    let block = Blocked { actor_id: BOB.to_string(), target_id: ADA.to_string(), create_time: None };
    let token = world.publish(RecordId([60; 16]), Identity::Blocked(block)).await;
    world.settle().await;
    assert_eq!(markers(ADA, &token).await, []);
}
