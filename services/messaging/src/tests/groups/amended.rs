//! What becomes of messages in groups: only for who sees them, and by who is in the group then.

use super::*;

/// A message of each, by text.
async fn ids(world: &World, who: RecordId, id: &str) -> std::collections::BTreeMap<String, String> {
    world.settle().await;
    let all = walk(world, who, id, 0, &now(world).await).await.unwrap();
    all.into_iter().map(|message| (message.text, message.message_id)).collect()
}

async fn react(world: &World, who: RecordId, id: &str, message_id: &str) -> Result<Vec<String>, Refused> {
    let request = ReactToMessageRequest {
        conversation_id: id.into(),
        message_id: message_id.into(),
        grapheme: "👍".into(),
        ..ReactToMessageRequest::default()
    };
    let answer = world.messaging.react_to_message(by(who, request)).await.map_err(|status| refusal(&status))?;
    world.settle().await;
    Ok(answer.into_inner().graphemes)
}

async fn edit(world: &World, who: RecordId, id: &str, message_id: &str) -> Result<String, Refused> {
    let request = EditMessageRequest {
        conversation_id: id.into(),
        message_id: message_id.into(),
        text: "edited".into(),
        ..EditMessageRequest::default()
    };
    let answer = world.messaging.edit_message(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().text)
}

async fn reply(world: &World, who: RecordId, id: &str, to: &str) -> Result<(), Refused> {
    let reply_to_message_id = to.to_owned();
    let request = SendMessageRequest { reply_to_message_id, ..writing(id, "a reply", "", &now(world).await) };
    let sent = send(world, who, request).await.map(|_| ());
    world.settle().await;
    sent
}

async fn from(world: &World, who: RecordId, id: &str, message_id: &str) -> Result<Vec<String>, Refused> {
    let request = ListMessagesRequest {
        conversation_id: id.into(),
        from_message_id: message_id.into(),
        ..ListMessagesRequest::default()
    };
    let answer = world.messaging.list_messages(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().messages.into_iter().map(|message| message.text).collect())
}

async fn block(world: &World, who: RecordId, whom: RecordId) {
    let blocked = Blocked { actor_id: who.to_string(), target_id: whom.to_string(), create_time: None };
    world.publish(RecordId([91; 16]), Identity::Blocked(blocked)).await;
    world.settle().await;
}

#[tokio::test]
async fn what_a_member_does_not_see_it_cannot_touch() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    say(&world, ADA, id, "before").await;
    add(&world, ADA, id, &[EVE]).await.unwrap();
    say(&world, ADA, id, "after").await;
    let ids = ids(&world, ADA, id).await;
    let missing = || refused::<()>(Code::NotFound, "MESSAGE_NOT_FOUND");
    for (text, is_seen) in [("before", false), ("after", true)] {
        let message = &ids[text];
        let answers = [
            react(&world, EVE, id, message).await.map(|_| ()),
            reply(&world, EVE, id, message).await,
            from(&world, EVE, id, message).await.map(|_| ()),
        ];
        let expected = || if is_seen { Ok(()) } else { missing() };
        assert_eq!(answers, [expected(), expected(), expected()], "{text}");
    }
    // Nobody is quoted to who did not see it.
    reply(&world, BOB, id, &ids["before"]).await.unwrap();
    let quoted = |messages: &[Message]| messages[0].reply_to.as_ref().map(|quote| quote.text.clone());
    for (who, quote) in [(ADA, Some("before")), (EVE, None)] {
        let messages = walk(&world, who, id, 0, &now(&world).await).await.unwrap();
        assert_eq!(quoted(&messages).as_deref(), quote);
    }
    block(&world, EVE, ADA).await;
    let blocked = &ids["after"];
    let answers = [
        react(&world, EVE, id, blocked).await.map(|_| ()),
        reply(&world, EVE, id, blocked).await,
        from(&world, EVE, id, blocked).await.map(|_| ()),
    ];
    assert_eq!(answers, [missing(), missing(), missing()], "a block hides it");
    say(&world, ADA, id, "the last").await;
    let last = |seen: Vec<Conversation>| seen[0].last_message.as_ref().map(|last| last.preview.clone());
    assert_eq!(last(inbox(&world, BOB, 0, &now(&world).await).await).as_deref(), Some("the last"));
    assert_eq!(last(inbox(&world, EVE, 0, &now(&world).await).await), None);
}

#[tokio::test]
async fn who_has_left_changes_nothing_and_comes_back_with_a_view_of_its_own() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    say(&world, EVE, id, "mine").await;
    let message = ids(&world, EVE, id).await.remove("mine").unwrap();
    let mute = || MuteConversationRequest { conversation_id: id.into(), ..MuteConversationRequest::default() };
    let unread = || MarkUnreadRequest { conversation_id: id.into(), ..MarkUnreadRequest::default() };
    world.messaging.mute_conversation(by(EVE, mute())).await.unwrap();
    world.messaging.mark_unread(by(EVE, unread())).await.unwrap();
    assert!(react(&world, EVE, id, &message).await.is_ok());
    remove(&world, ADA, id, EVE).await.unwrap();
    world.settle().await;
    let gone = || refused::<()>(Code::NotFound, "CONVERSATION_NOT_FOUND");
    assert_eq!(edit(&world, EVE, id, &message).await.map(|_| ()), gone());
    assert_eq!(react(&world, EVE, id, &message).await.map(|_| ()), gone());
    let muted = world.messaging.mute_conversation(by(EVE, mute())).await.map(|_| ());
    assert_eq!(muted.map_err(|status| refusal(&status)), gone());
    // A record that raced with the removal counts for nothing, also as a copy once she is back.
    let raced = Messaging::MessageEdited(MessageEdited {
        conversation_id: id.into(),
        message_id: message.clone(),
        number: 1,
        sender_id: EVE.to_string(),
        ..MessageEdited::default()
    });
    let marked = Messaging::ConversationMarkedUnread(ConversationMarkedUnread {
        conversation_id: id.into(),
        account_id: EVE.to_string(),
        mark: 2,
        ..ConversationMarkedUnread::default()
    });
    world.publish(RecordId([93; 16]), raced).await;
    world.publish(RecordId([94; 16]), marked.clone()).await;
    world.settle().await;
    assert_eq!(texts(&world, BOB, id, 0).await, ["mine"]);
    add(&world, ADA, id, &[EVE]).await.unwrap();
    world.publish(RecordId([94; 16]), marked.clone()).await;
    world.publish(RecordId([95; 16]), marked).await;
    world.settle().await;
    let seen = inbox(&world, EVE, 0, &now(&world).await).await.remove(0);
    assert_eq!((seen.muted, seen.marked_unread), (false, false), "her new view says nothing yet");
    world.messaging.mark_unread(by(EVE, unread())).await.unwrap();
    world.settle().await;
    assert!(inbox(&world, EVE, 0, &now(&world).await).await[0].marked_unread);
    mark(&world, EVE, id, 1, &now(&world).await).await.unwrap();
    world.settle().await;
    assert!(!inbox(&world, EVE, 0, &now(&world).await).await[0].marked_unread);
    let archive = ArchiveConversationRequest { conversation_id: id.into(), ..Default::default() };
    world.messaging.archive_conversation(by(EVE, archive)).await.unwrap();
    world.messaging.mute_conversation(by(EVE, mute())).await.unwrap();
    let unarchive = UnarchiveConversationRequest { conversation_id: id.into(), ..Default::default() };
    let unmute = UnmuteConversationRequest { conversation_id: id.into(), ..Default::default() };
    let back = world.messaging.unarchive_conversation(by(EVE, unarchive)).await.unwrap().into_inner();
    assert!(back.conversation.is_some_and(|conversation| conversation.muted && !conversation.archived));
    let loud = world.messaging.unmute_conversation(by(EVE, unmute)).await.unwrap().into_inner();
    assert!(loud.conversation.is_some_and(|conversation| !conversation.muted));
}
