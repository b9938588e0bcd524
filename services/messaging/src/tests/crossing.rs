//! Messages that cross: what one sends marks nothing of the others' read.

use super::*;

#[tokio::test]
async fn who_answers_two_unread_messages_still_has_two() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, mut token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    for (who, text) in [(BOB, "one"), (BOB, "two"), (ADA, "three")] {
        token = send(&world, who, writing(id, text, "", &token)).await.unwrap().1;
    }
    assert_eq!(unread(&world, ADA, &[id], &token).await, (vec![2], 2, 1));
    assert_eq!(unread(&world, BOB, &[id], &token).await, (vec![1], 1, 1));
    let seen = inbox(&world, ADA, 0, &token).await.remove(0);
    assert_eq!((seen.last_message_number, seen.read_number, seen.unread_count), (3, 0, 2));

    let one = mark(&world, ADA, id, 1, &token).await.unwrap();
    assert_eq!(one.read_number, 1);
    assert_eq!(unread(&world, ADA, &[id], &one.consistency_token).await.1, 1);
    let both = mark(&world, ADA, id, 2, &one.consistency_token).await.unwrap();
    assert_eq!(both.read_number, 3, "on past her own message");
    assert_eq!(unread(&world, ADA, &[id], &both.consistency_token).await, (vec![0], 0, 0));
    let heads = world.everything().await;
    let already = mark(&world, ADA, id, 3, &both.consistency_token).await.unwrap();
    assert_eq!((already.read_number, world.everything().await), (3, heads));
}

#[tokio::test]
async fn messages_that_cross_are_unread_by_both() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let say = |who, text| send(&world, who, writing(id, text, "", &token));
    let ((_, one), (_, other)) = tokio::try_join!(say(ADA, "from ada"), say(BOB, "from bob")).unwrap();
    world.settle().await;
    for token in [&one, &other] {
        assert_eq!(unread(&world, ADA, &[id], token).await, (vec![1], 1, 1));
        assert_eq!(unread(&world, BOB, &[id], token).await, (vec![1], 1, 1));
    }
}
