//! The service over embedded log and tables: handlers and folds together.

mod amends;
mod copies;
mod crossing;
mod groups;
mod harness;
mod listed;
mod requests;
mod standstill;
mod tail;
mod updates;
mod views;

use kith_log::RecordId;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountCreated, Blocked, Followed, Unblocked};
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::message_service_server::MessageService;
use kith_proto::messaging::v1::*;
use kith_stage::{by, refusal};
use tonic::Code;

use harness::{ADA, BOB, EVE, World};

type Refused = (Code, String);

/// ADA, BOB and EVE exist; gives the token for it.
async fn people(world: &World) -> Vec<String> {
    let mut tokens = Vec::new();
    for (n, who) in (50..).zip([ADA, BOB, EVE]) {
        let event = Identity::AccountCreated(AccountCreated {
            account_id: who.to_string(),
            handle_key: format!("person_{n}"),
            ..AccountCreated::default()
        });
        tokens.push(world.publish(RecordId([n; 16]), event).await);
    }
    world.settle().await;
    tokens
}

/// They exist, and each follows both others.
async fn friends(world: &World) -> Vec<String> {
    let mut tokens = people(world).await;
    let all = [ADA, BOB, EVE];
    let pairs = all.into_iter().flat_map(|one| all.map(|other| (one, other)));
    for (n, (one, other)) in (200..).zip(pairs.filter(|(one, other)| one != other)) {
        tokens.push(follow(world, n, one, other).await);
    }
    world.settle().await;
    tokens
}

async fn follow(world: &World, n: u8, one: RecordId, other: RecordId) -> String {
    let (follower_id, target_id) = (one.to_string(), other.to_string());
    let event = Followed { follower_id, target_id, seen_target_offset: 99, ..Followed::default() };
    world.publish(RecordId([n; 16]), Identity::Followed(event)).await
}

async fn direct(world: &World, who: RecordId, with: RecordId) -> Result<(Conversation, String), Refused> {
    let request = GetOrCreateDirectRequest { account_id: with.to_string(), ..GetOrCreateDirectRequest::default() };
    let answer = world.messaging.get_or_create_direct(by(who, request)).await.map_err(|status| refusal(&status))?;
    let answer = answer.into_inner();
    Ok((answer.conversation.unwrap(), answer.consistency_token))
}

fn writing(conversation_id: &str, text: &str, request_id: &str, token: &str) -> SendMessageRequest {
    SendMessageRequest {
        conversation_id: conversation_id.into(),
        text: text.into(),
        request_id: request_id.into(),
        at_least: vec![token.into()],
        ..SendMessageRequest::default()
    }
}

async fn send(world: &World, who: RecordId, request: SendMessageRequest) -> Result<(SentMessage, String), Refused> {
    let answer = world.messaging.send_message(by(who, request)).await.map_err(|status| refusal(&status))?.into_inner();
    Ok((answer.message.unwrap(), answer.consistency_token))
}

async fn mark(
    world: &World,
    who: RecordId,
    id: &str,
    up_to_number: u64,
    token: &str,
) -> Result<MarkReadResponse, Refused> {
    let (conversation_id, at_least) = (id.to_owned(), vec![token.to_owned()]);
    let request = MarkReadRequest { conversation_id, up_to_number, at_least, ..MarkReadRequest::default() };
    let answer = world.messaging.mark_read(by(who, request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
}

async fn unread(world: &World, who: RecordId, ids: &[&str], token: &str) -> (Vec<u64>, u64, u64) {
    let conversation_ids = ids.iter().map(|&id| id.to_owned()).collect();
    let request = GetUnreadCountsRequest { conversation_ids, at_least: vec![token.into()] };
    let answer = world.messaging.get_unread_counts(by(who, request)).await.unwrap().into_inner();
    assert!(!answer.incomplete);
    let counts = answer.counts.into_iter().map(|count| count.unread_count).collect();
    (counts, answer.total_unread_count, answer.unread_conversation_count)
}

/// Every page of a conversation, newest first.
async fn walk(world: &World, who: RecordId, id: &str, page_size: i32, token: &str) -> Result<Vec<Message>, Refused> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let (conversation_id, at_least) = (id.to_owned(), vec![token.to_owned()]);
        let request = ListMessagesRequest { conversation_id, page_size, page_token, at_least, ..Default::default() };
        let answer = world.messaging.list_messages(by(who, request)).await.map_err(|status| refusal(&status))?;
        let answer = answer.into_inner();
        all.extend(answer.messages);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn inbox(world: &World, who: RecordId, page_size: i32, token: &str) -> Vec<Conversation> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListConversationsRequest {
            page_size,
            page_token,
            at_least: vec![token.to_owned()],
            ..ListConversationsRequest::default()
        };
        let answer = world.messaging.list_conversations(by(who, request)).await.unwrap().into_inner();
        assert!(!answer.incomplete);
        all.extend(answer.conversations);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

fn refused<T>(code: Code, reason: &str) -> Result<T, Refused> {
    Err((code, reason.to_owned()))
}

#[tokio::test]
async fn there_is_one_conversation_of_two_whoever_asks_and_however_often() {
    let world = World::start().await;
    friends(&world).await;
    let (left, right) = tokio::join!(direct(&world, ADA, BOB), direct(&world, BOB, ADA));
    let ((left, _), (right, token)) = (left.unwrap(), right.unwrap());
    assert_eq!(left.member_ids, [ADA.to_string(), BOB.to_string()]);
    world.settle().await;
    let heads = world.everything().await;
    let (again, token_again) = direct(&world, ADA, BOB).await.unwrap();
    assert_eq!(world.everything().await, heads);
    assert_eq!(inbox(&world, BOB, 0, &token_again).await, std::slice::from_ref(&again));
    assert_eq!(inbox(&world, ADA, 0, &token).await, std::slice::from_ref(&again));
    assert_eq!([&left, &right], [&again; 2], "also who came second was told what stands");
    assert!(inbox(&world, EVE, 0, &token).await.is_empty());
}

#[tokio::test]
async fn messages_are_read_with_their_token_numbered_and_newest_first() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, mut token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    for n in 1..=7 {
        let who = if n % 3 == 0 { BOB } else { ADA };
        let (message, next) = send(&world, who, writing(id, &format!("message {n}"), "", &token)).await.unwrap();
        assert_eq!((message.sender_id, message.text), (who.to_string(), format!("message {n}")));
        token = next;
    }
    for page_size in [1, 3, 7, 0] {
        let messages = walk(&world, BOB, id, page_size, &token).await.unwrap();
        let shown: Vec<_> = messages.iter().map(|message| (message.number, message.text.as_str())).collect();
        let texts: Vec<String> = (1..=7).map(|n| format!("message {n}")).collect();
        let expected: Vec<_> = (1..).zip(texts.iter().map(String::as_str)).collect();
        assert_eq!(shown.into_iter().rev().collect::<Vec<_>>(), expected, "pages of {page_size}");
    }
    assert_eq!(unread(&world, BOB, &[id], &token).await, (vec![5], 5, 1), "he wrote the third and the sixth");
    assert_eq!(unread(&world, ADA, &[id], &token).await, (vec![2], 2, 1));
    assert_eq!(walk(&world, EVE, id, 0, &token).await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    let page = ListMessagesRequest { conversation_id: id.into(), page_size: 2, ..ListMessagesRequest::default() };
    let stolen = world.messaging.list_messages(by(ADA, page.clone())).await.unwrap().into_inner().next_page_token;
    let request = ListMessagesRequest { page_token: stolen, ..page };
    let status = world.messaging.list_messages(by(BOB, request)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".into()));
}

#[tokio::test]
async fn a_message_sent_again_is_the_same_one_and_another_text_is_refused() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let (message, token) = send(&world, ADA, writing(id, "hello", "r-1", &token)).await.unwrap();
    walk(&world, ADA, id, 0, &token).await.unwrap();
    let heads = world.everything().await;
    let (again, token_again) = send(&world, ADA, writing(id, "hello", "r-1", &token)).await.unwrap();
    let [first, repeated] = [&token, &token_again].map(|token| kith_stage::opened(token));
    assert_eq!((again, repeated), (message, first));
    let other = send(&world, ADA, writing(id, "other", "r-1", &token)).await;
    assert_eq!(other, refused(Code::AlreadyExists, "REQUEST_ID_REUSED"));
    assert_eq!(world.everything().await, heads);
}

#[tokio::test]
async fn a_marker_moves_forward_only_and_counts_follow_it() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, mut token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    for n in 1..=3 {
        token = send(&world, ADA, writing(id, "hello", &format!("r-{n}"), &token)).await.unwrap().1;
    }
    assert_eq!(unread(&world, BOB, &[id], &token).await, (vec![3], 3, 1));
    let moved = mark(&world, BOB, id, 2, &token).await.unwrap();
    assert_eq!(moved.read_number, 2);
    assert_eq!(unread(&world, BOB, &[id, id], &moved.consistency_token).await, (vec![1, 1], 1, 1));
    let heads = world.everything().await;
    let back = mark(&world, BOB, id, 1, &moved.consistency_token).await.unwrap();
    assert_eq!(back.read_number, 2);
    assert_eq!(unread(&world, BOB, &[id], &back.consistency_token).await.1, 1);
    assert_eq!(mark(&world, BOB, id, 4, &token).await, refused(Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(mark(&world, EVE, id, 1, &token).await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    assert_eq!(world.everything().await, heads);
}

#[tokio::test]
async fn the_conversation_written_in_last_comes_first() {
    let world = World::start().await;
    friends(&world).await;
    let (with_bob, token) = direct(&world, ADA, BOB).await.unwrap();
    send(&world, BOB, writing(&with_bob.conversation_id, "first", "", &token)).await.unwrap();
    world.ports.runtime.sleep(std::time::Duration::from_millis(2)).await;
    let (with_eve, token) = direct(&world, ADA, EVE).await.unwrap();
    let (_, token) = send(&world, EVE, writing(&with_eve.conversation_id, "second", "", &token)).await.unwrap();
    world.settle().await;
    for page_size in [1, 2] {
        let inbox = inbox(&world, ADA, page_size, &token).await;
        let ids: Vec<_> = inbox.iter().map(|conversation| &conversation.conversation_id).collect();
        assert_eq!(ids, [&with_eve.conversation_id, &with_bob.conversation_id]);
        assert!(inbox.iter().all(|c| (c.unread_count, c.last_message_number, c.read_number) == (1, 1, 0)));
        assert!(inbox[0].last_message_time.is_some() && inbox[0].kind() == ConversationKind::Direct);
    }
    assert_eq!(unread(&world, ADA, &[], &token).await, (vec![], 2, 2));
    let unknown = RecordId([99; 16]).to_string();
    assert_eq!(unread(&world, BOB, &[&with_eve.conversation_id, &unknown], &token).await.0, [0, 0]);
}

#[tokio::test]
async fn a_block_ends_the_talk_both_ways_until_it_is_lifted() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let (message, _) = send(&world, BOB, writing(id, "before", "r-1", &token)).await.unwrap();
    let block = Blocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    let token = world.publish(RecordId([60; 16]), Identity::Blocked(block)).await;
    world.settle().await;
    let heads = world.everything().await;
    for who in [ADA, BOB] {
        let sent = send(&world, who, writing(id, "hello", "r-2", &token)).await;
        assert_eq!(sent, refused(Code::FailedPrecondition, "BLOCKED"));
    }
    assert_eq!(send(&world, BOB, writing(id, "before", "r-1", &token)).await.unwrap().0.message_id, message.message_id);
    assert_eq!(direct(&world, ADA, BOB).await, refused(Code::FailedPrecondition, "BLOCKED"));
    assert_eq!(direct(&world, BOB, ADA).await, refused(Code::NotFound, "ACCOUNT_NOT_FOUND"));
    assert_eq!(walk(&world, BOB, id, 0, &token).await.unwrap().len(), 1, "what was written stays");
    assert_eq!(world.everything().await, heads);
    let unblock = Unblocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    let token = world.publish(RecordId([61; 16]), Identity::Unblocked(unblock)).await;
    assert!(send(&world, BOB, writing(id, "hello", "r-2", &token)).await.is_ok());
}

#[tokio::test]
async fn bad_input_gets_its_reason_and_appends_nothing() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    inbox(&world, ADA, 0, &token).await;
    let heads = world.everything().await;
    assert_eq!(direct(&world, ADA, ADA).await, refused(Code::FailedPrecondition, "SELF_NOT_ALLOWED"));
    assert_eq!(direct(&world, ADA, RecordId([99; 16])).await, refused(Code::NotFound, "ACCOUNT_NOT_FOUND"));
    let malformed = GetOrCreateDirectRequest { account_id: "bob".into(), ..GetOrCreateDirectRequest::default() };
    let status = world.messaging.get_or_create_direct(by(ADA, malformed)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "ID_MALFORMED".into()));
    let long = "é".repeat(2_001);
    let not_found = (Code::NotFound, "CONVERSATION_NOT_FOUND");
    let invalid = |reason| (Code::InvalidArgument, reason);
    for (who, to, text, (code, expected)) in [
        (ADA, id, "", invalid("TEXT_EMPTY")),
        (ADA, id, long.as_str(), invalid("TEXT_TOO_LONG")),
        (ADA, id, "a\u{7}", invalid("FIELD_INVALID")),
        (ADA, "nonsense", "hello", invalid("ID_MALFORMED")),
        (EVE, id, "hello", not_found),
        (ADA, &RecordId([99; 16]).to_string(), "hello", not_found),
    ] {
        assert_eq!(send(&world, who, writing(to, text, "", &token)).await, refused(code, expected));
    }
    let (mut many, many_ids) = (GetUnreadCountsRequest::default(), vec![id.to_owned(); 101]);
    many.conversation_ids = many_ids;
    let status = world.messaging.get_unread_counts(by(ADA, many)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "BATCH_TOO_LONG".into()));
    let bad_page = ListConversationsRequest { page_token: "nonsense".into(), ..ListConversationsRequest::default() };
    let status = world.messaging.list_conversations(by(ADA, bad_page)).await.unwrap_err();
    assert_eq!(refusal(&status).1, "PAGE_TOKEN_INVALID");
    let anonymous = tonic::Request::new(writing(id, "hello", "", &token));
    assert_eq!(world.messaging.send_message(anonymous).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(world.everything().await, heads);
}

#[tokio::test]
async fn tables_folded_again_are_the_same() {
    let mut world = World::start().await;
    let token = friends(&world).await.remove(0);
    for (who, with) in [(ADA, BOB), (BOB, EVE), (EVE, ADA)] {
        let (conversation, mut token) = direct(&world, who, with).await.unwrap();
        let id = conversation.conversation_id;
        for n in 0..6 {
            let sender = if n % 4 == 0 { with } else { who };
            token = send(&world, sender, writing(&id, &format!("message {n}"), "", &token)).await.unwrap().1;
        }
        mark(&world, with, &id, 3, &token).await.unwrap();
        mark(&world, with, &id, 5, &token).await.unwrap();
    }
    world.settle().await;
    let (before, heads) = (world.digest().await, world.everything().await);
    assert!(before.rows > 40);
    let counts = unread(&world, ADA, &[], &token).await;
    world.fold_again().await;
    assert_eq!(world.digest().await, before);
    assert_eq!(world.everything().await, heads);
    assert_eq!(unread(&world, ADA, &[], &token).await, counts);
}
