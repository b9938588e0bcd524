//! The same command twice, and two commands for the same thing: answered with what stands.

use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::time;

use super::*;

async fn open(world: &World, who: RecordId, with: RecordId, request_id: &str) -> Conversation {
    let (account_id, request_id) = (with.to_string(), request_id.to_owned());
    let request = GetOrCreateDirectRequest { account_id, request_id, ..GetOrCreateDirectRequest::default() };
    world.messaging.get_or_create_direct(by(who, request)).await.unwrap().into_inner().conversation.unwrap()
}

#[tokio::test]
async fn copies_of_one_command_at_once_make_one_conversation_and_get_one_answer() {
    let world = World::start().await;
    friends(&world).await;
    let (one, other) = tokio::join!(open(&world, ADA, BOB, "r-1"), open(&world, ADA, BOB, "r-1"));
    assert_eq!(one, other);
    world.settle().await;
    let heads = world.everything().await;
    assert_eq!(open(&world, ADA, BOB, "r-1").await, one, "and the same again later");
    assert_eq!(world.everything().await, heads);
    let to_eve = GetOrCreateDirectRequest {
        account_id: EVE.to_string(),
        request_id: "r-1".into(),
        ..GetOrCreateDirectRequest::default()
    };
    let status = world.messaging.get_or_create_direct(by(ADA, to_eve)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
}

/// Another process has created it just before, which the tables here do not show yet.
#[tokio::test]
async fn who_comes_second_is_answered_with_the_first_ones_time() {
    let world = World::start().await;
    friends(&world).await;
    for (n, (one, other)) in (70..).zip([(ADA, BOB), (BOB, EVE), (EVE, ADA)]) {
        let at = time::of_us(i64::from(n));
        let created = Messaging::ConversationCreated(ConversationCreated {
            conversation_id: crate::direct::direct_id(one, other).to_string(),
            kind: ConversationKind::Direct.into(),
            member_ids: vec![one.min(other).to_string(), one.max(other).to_string()],
            creator_id: other.to_string(),
            create_time: Some(at),
            ..ConversationCreated::default()
        });
        world.publish(RecordId([n; 16]), created).await;
        assert_eq!(open(&world, one, other, "r-1").await.create_time, Some(at));
    }
}

#[tokio::test]
async fn copies_of_one_message_at_once_are_one_message() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let hello = || send(&world, ADA, writing(id, "hello", "r-1", &token));
    let ((one, token), (other, _)) = tokio::try_join!(hello(), hello()).unwrap();
    assert_eq!(one, other);
    let messages = walk(&world, BOB, id, 0, &token).await.unwrap();
    let stands: Vec<_> = messages.iter().map(|message| (&message.message_id, message.create_time)).collect();
    assert_eq!(stands, [(&one.message_id, one.create_time)]);
}
