//! Folds that stand still: answers say so, and nothing is refused that may only not have been folded.

use super::*;

async fn are_incomplete(world: &World, who: RecordId, id: &str) -> [bool; 3] {
    let unread = GetUnreadCountsRequest { conversation_ids: vec![id.to_owned()], ..GetUnreadCountsRequest::default() };
    let messages = ListMessagesRequest { conversation_id: id.to_owned(), ..ListMessagesRequest::default() };
    let inbox = ListConversationsRequest::default();
    [
        world.messaging.get_unread_counts(by(who, unread)).await.unwrap().into_inner().incomplete,
        world.messaging.list_messages(by(who, messages)).await.unwrap().into_inner().incomplete,
        world.messaging.list_conversations(by(who, inbox)).await.unwrap().into_inner().incomplete,
    ]
}

#[tokio::test]
async fn a_message_that_waits_during_a_pause_makes_no_whole_zero() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id;
    world.settle().await;
    assert_eq!(are_incomplete(&world, BOB, &id).await, [false; 3]);
    world.pause().await;
    send(&world, ADA, writing(&id, "hello", "r-1", &token)).await.unwrap();
    // What it is answered with does not rest on the first.
    send(&world, ADA, writing(&id, "are you there?", "r-2", &token)).await.unwrap();
    assert_eq!(are_incomplete(&world, BOB, &id).await, [true; 3]);

    const NEW: RecordId = RecordId([9; 16]);
    let (account_id, handle_key) = (NEW.to_string(), "new".to_owned());
    let event = AccountCreated { account_id, handle_key, ..AccountCreated::default() };
    world.publish(RecordId([99; 16]), Identity::AccountCreated(event)).await;
    assert_eq!(direct(&world, ADA, NEW).await.map(|_| ()), refused(Code::Unavailable, "FOLD_STOPPED"));

    world.resume().await;
    assert_eq!(are_incomplete(&world, BOB, &id).await, [false; 3]);
    assert_eq!(unread(&world, BOB, &[&id], &token).await, (vec![2], 2, 1));
    direct(&world, ADA, NEW).await.unwrap();
}
