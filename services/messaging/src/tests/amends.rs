//! What becomes of messages: edits, unsending, reactions, replies.

use std::time::Duration;

use kith_fold::{FIRST_EVENTS, Group};

use super::*;

/// Two who talk, and what ADA has said.
struct Talk {
    world: World,
    id: String,
    token: String,
}

impl Talk {
    async fn begin() -> Self {
        Self::of(World::start().await).await
    }

    async fn of(world: World) -> Self {
        friends(&world).await;
        let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
        Self { world, id: conversation.conversation_id, token }
    }

    async fn say(&mut self, who: RecordId, text: &str) -> String {
        let request = SendMessageRequest { text: text.into(), ..SendMessageRequest::default() };
        self.send(who, request).await.unwrap().message_id
    }

    async fn send(&mut self, who: RecordId, request: SendMessageRequest) -> Result<SentMessage, Refused> {
        let (conversation_id, at_least) = (self.id.clone(), vec![self.token.clone()]);
        let (message, token) =
            send(&self.world, who, SendMessageRequest { conversation_id, at_least, ..request }).await?;
        self.token = token;
        Ok(message)
    }

    async fn edit(&mut self, who: RecordId, message_id: &str, text: &str, request_id: &str) -> Result<String, Refused> {
        let request = EditMessageRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.into(),
            text: text.into(),
            request_id: request_id.into(),
            at_least: vec![self.token.clone()],
            ..EditMessageRequest::default()
        };
        let answer = self.world.messaging.edit_message(by(who, request)).await.map_err(|status| refusal(&status))?;
        self.token = answer.get_ref().consistency_token.clone();
        Ok(answer.into_inner().text)
    }

    async fn unsend(&mut self, who: RecordId, message_id: &str) -> Result<(), Refused> {
        let request = UnsendMessageRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.into(),
            at_least: vec![self.token.clone()],
            ..UnsendMessageRequest::default()
        };
        let answer = self.world.messaging.unsend_message(by(who, request)).await.map_err(|status| refusal(&status))?;
        self.token = answer.into_inner().consistency_token;
        Ok(())
    }

    async fn react(&mut self, who: RecordId, message_id: &str, grapheme: &str) -> Result<Vec<String>, Refused> {
        let request = ReactToMessageRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.into(),
            grapheme: grapheme.into(),
            at_least: vec![self.token.clone()],
            ..ReactToMessageRequest::default()
        };
        let answer =
            self.world.messaging.react_to_message(by(who, request)).await.map_err(|status| refusal(&status))?;
        self.token = answer.get_ref().consistency_token.clone();
        Ok(answer.into_inner().graphemes)
    }

    async fn take_back(&mut self, who: RecordId, message_id: &str, grapheme: &str) -> Result<Vec<String>, Refused> {
        let request = RemoveMessageReactionRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.into(),
            grapheme: grapheme.into(),
            at_least: vec![self.token.clone()],
            ..RemoveMessageReactionRequest::default()
        };
        let answer = self.world.messaging.remove_message_reaction(by(who, request)).await;
        let answer = answer.map_err(|status| refusal(&status))?;
        self.token = answer.get_ref().consistency_token.clone();
        Ok(answer.into_inner().graphemes)
    }

    /// Newest first.
    async fn messages(&self, who: RecordId) -> Vec<Message> {
        walk(&self.world, who, &self.id, 0, &self.token).await.unwrap()
    }

    async fn last(&self, who: RecordId) -> LastMessage {
        inbox(&self.world, who, 0, &self.token).await.remove(0).last_message.unwrap()
    }

    async fn unread(&self, who: RecordId) -> u64 {
        unread(&self.world, who, &[&self.id], &self.token).await.1
    }
}

#[tokio::test]
async fn an_edit_is_seen_wherever_the_message_is_and_a_copy_undoes_no_later_one() {
    let mut talk = Talk::begin().await;
    let first = talk.say(ADA, "frist").await;
    assert_eq!(talk.edit(ADA, &first, "first #one", "e-1").await.unwrap(), "first #one");
    assert_eq!(talk.last(BOB).await.preview, "first #one");
    assert_eq!(talk.edit(ADA, &first, "second", "e-2").await.unwrap(), "second");
    assert_eq!(talk.edit(ADA, &first, "first #one", "e-1").await.unwrap(), "second", "answered with what stands");
    let message = talk.messages(BOB).await.remove(0);
    assert!(message.edit_time.is_some() && message.text == "second" && message.facets.is_empty());
    assert_eq!(talk.unread(BOB).await, 1);
    assert_eq!(talk.edit(BOB, &first, "mine", "").await, refused(Code::PermissionDenied, "NOT_THE_AUTHOR"));
    assert_eq!(talk.edit(EVE, &first, "mine", "").await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    let unknown = RecordId([99; 16]).to_string();
    assert_eq!(talk.edit(ADA, &unknown, "x", "").await, refused(Code::NotFound, "MESSAGE_NOT_FOUND"));
    assert_eq!(talk.edit(ADA, &first, "", "").await, refused(Code::InvalidArgument, "TEXT_EMPTY"));
}

#[tokio::test]
async fn an_edit_that_the_fold_finds_too_late_is_refused_and_counts_for_nothing() {
    let hour = Duration::from_secs(3_600);
    let mut talk = Talk::of(World::of(crate::group_with_times(1, hour, Duration::ZERO)).await).await;
    let message = talk.say(ADA, "as it was").await;
    assert_eq!(talk.edit(ADA, &message, "late", "e-1").await, refused(Code::FailedPrecondition, "EDIT_TOO_LATE"));
    assert_eq!(talk.messages(BOB).await[0].text, "as it was");
}

#[tokio::test]
async fn what_was_unsent_is_in_no_answer_any_more() {
    let mut talk = Talk::begin().await;
    let secret = talk.say(ADA, "a secret").await;
    let reply = SendMessageRequest {
        text: "really?".into(),
        reply_to_message_id: secret.clone(),
        request_id: "r-1".into(),
        ..SendMessageRequest::default()
    };
    talk.send(BOB, reply.clone()).await.unwrap();
    let quote = talk.messages(ADA).await.remove(0).reply_to.unwrap();
    assert_eq!((quote.text.as_str(), quote.number, quote.unsent), ("a secret", 1, false));
    talk.react(BOB, &secret, "👀").await.unwrap();
    let later = talk.say(ADA, "another secret").await;
    assert_eq!((talk.unread(BOB).await, talk.last(BOB).await.preview.as_str()), (2, "another secret"));
    assert_eq!(talk.unsend(BOB, &secret).await, refused(Code::PermissionDenied, "NOT_THE_AUTHOR"));
    talk.unsend(ADA, &secret).await.unwrap();
    talk.unsend(ADA, &later).await.unwrap();
    let heads = talk.world.everything().await;
    talk.unsend(ADA, &later).await.unwrap();
    assert_eq!(talk.world.everything().await, heads, "once");
    assert_eq!(talk.unread(BOB).await, 0);
    let last = talk.last(BOB).await;
    assert!(last.unsent && last.preview.is_empty() && last.message_id == later);
    let messages = talk.messages(BOB).await;
    let shown: Vec<_> = messages.iter().map(|of| (of.number, of.text.as_str(), of.unsend_time.is_some())).collect();
    assert_eq!(shown, [(3, "", true), (2, "really?", false), (1, "", true)], "places and numbers stay");
    assert!(messages[2].reactions.is_empty());
    let quote = messages[1].reply_to.clone().unwrap();
    assert!(quote.unsent && quote.text.is_empty());
    for text in [&format!("{messages:?}"), &format!("{:?}", inbox(&talk.world, BOB, 0, &talk.token).await)] {
        assert!(!text.contains("secret"));
    }
    assert_eq!(talk.edit(ADA, &later, "x", "").await, refused(Code::FailedPrecondition, "MESSAGE_UNSENT"));
    assert_eq!(talk.react(BOB, &later, "x").await, refused(Code::FailedPrecondition, "MESSAGE_UNSENT"));
    let to_it = SendMessageRequest { reply_to_message_id: later, request_id: "r-2".into(), ..reply };
    assert_eq!(talk.send(BOB, to_it).await, refused(Code::FailedPrecondition, "MESSAGE_UNSENT"));
}

#[tokio::test]
async fn reactions_are_counted_by_grapheme_and_a_block_hides_them() {
    let mut talk = Talk::begin().await;
    let message = talk.say(ADA, "hello").await;
    assert_eq!(talk.react(BOB, &message, "👍").await.unwrap(), ["👍"]);
    assert_eq!(talk.react(BOB, &message, "👍").await.unwrap(), ["👍"], "once");
    assert_eq!(talk.react(ADA, &message, "👍").await.unwrap(), ["👍"]);
    for grapheme in ["e\u{301}", "b", "c", "d"] {
        talk.react(BOB, &message, grapheme).await.unwrap();
    }
    assert_eq!(talk.react(BOB, &message, "f").await, refused(Code::FailedPrecondition, "REACTIONS_TOO_MANY"));
    assert_eq!(talk.take_back(BOB, &message, "\u{e9}").await.unwrap(), ["b", "c", "d", "👍"], "as normalised");
    assert_eq!(talk.take_back(BOB, &message, "z").await.unwrap().len(), 4, "is not there");
    for (bad, reason) in [("", "TEXT_EMPTY"), ("ab", "TEXT_TOO_LONG"), (" ", "TEXT_EMPTY"), ("\u{7}", "FIELD_INVALID")]
    {
        assert_eq!(talk.react(BOB, &message, bad).await, refused(Code::InvalidArgument, reason), "{bad:?}");
    }
    let counts = |of: &Message| -> Vec<(String, u64, bool)> {
        of.reactions.iter().map(|of| (of.grapheme.clone(), of.count, of.own)).collect()
    };
    let shown = counts(&talk.messages(ADA).await[0]);
    assert_eq!(shown[0], ("👍".to_owned(), 2, true), "the most frequent first");
    assert_eq!(
        shown[1..].iter().map(|(of, count, own)| (of.as_str(), *count, *own)).collect::<Vec<_>>(),
        [("b", 1, false), ("c", 1, false), ("d", 1, false)]
    );
    assert_eq!(talk.unread(ADA).await, 0, "a reaction is never unread");
    let block = Blocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    talk.token = talk.world.publish(RecordId([60; 16]), Identity::Blocked(block)).await;
    talk.world.settle().await;
    for (who, own) in [(ADA, 1), (BOB, 4)] {
        let shown = counts(&talk.messages(who).await[0]);
        assert!(shown.len() == own && shown.iter().all(|(_, count, own)| (*count, *own) == (1, true)), "{shown:?}");
    }
    assert_eq!(talk.react(BOB, &message, "x").await, refused(Code::FailedPrecondition, "BLOCKED"));
    assert_eq!(talk.edit(ADA, &message, "x", "").await, refused(Code::FailedPrecondition, "BLOCKED"));
    talk.unsend(ADA, &message).await.unwrap();
}

#[tokio::test]
async fn a_message_has_media_and_facets_and_a_reply_names_what_is_there() {
    let mut talk = Talk::begin().await;
    let with = |text: &str, media: &[&str]| SendMessageRequest {
        text: text.into(),
        media_ids: media.iter().map(|&id| id.into()).collect(),
        ..SendMessageRequest::default()
    };
    let sent = talk.send(ADA, with("see https://example.com #here", &["m-1", "m-2"])).await.unwrap();
    assert_eq!((sent.media_ids.len(), sent.facets.len()), (2, 2));
    talk.send(ADA, with("", &["m-1"])).await.unwrap();
    let messages = talk.messages(BOB).await;
    assert_eq!((messages[0].text.as_str(), &messages[0].media_ids[..]), ("", &["m-1".to_owned()][..]));
    assert_eq!(messages[1].facets, sent.facets);
    for (request, reason) in [
        (with("x", &["m"; 5]), "FIELD_INVALID"),
        (with("x", &["../m"]), "FIELD_INVALID"),
        (with("", &[]), "TEXT_EMPTY"),
        (SendMessageRequest { reply_to_message_id: "x".into(), ..with("x", &[]) }, "ID_MALFORMED"),
    ] {
        assert_eq!(talk.send(ADA, request).await, refused(Code::InvalidArgument, reason));
    }
    let nowhere = SendMessageRequest { reply_to_message_id: RecordId([99; 16]).to_string(), ..with("x", &[]) };
    assert_eq!(talk.send(ADA, nowhere).await, refused(Code::NotFound, "MESSAGE_NOT_FOUND"));
}

#[tokio::test]
async fn pages_begin_with_a_message_or_around_it() {
    let mut talk = Talk::begin().await;
    let mut ids = Vec::new();
    for n in 1..=9 {
        ids.push(talk.say(ADA, &format!("message {n}")).await);
    }
    let page = async |who: RecordId, from: &str, centered: bool, page_token: &str| {
        let request = ListMessagesRequest {
            conversation_id: talk.id.clone(),
            page_size: 4,
            page_token: page_token.into(),
            at_least: vec![talk.token.clone()],
            from_message_id: from.into(),
            centered,
        };
        let page = talk.world.messaging.list_messages(by(who, request)).await.map_err(|status| refusal(&status))?;
        let page = page.into_inner();
        Ok((page.messages.iter().map(|of| of.number).collect::<Vec<_>>(), page.next_page_token))
    };
    let (numbers, next) = page(BOB, &ids[4], false, "").await.unwrap();
    assert_eq!(numbers, [5, 4, 3, 2]);
    assert_eq!(page(BOB, &ids[4], false, &next).await.unwrap().0, [1]);
    assert_eq!(page(BOB, &ids[4], true, "").await.unwrap().0, [7, 6, 5, 4]);
    assert_eq!(page(BOB, &ids[8], true, "").await.unwrap().0, [9, 8, 7, 6]);
    let unknown = RecordId([99; 16]).to_string();
    assert_eq!(page(BOB, &unknown, false, "").await, refused(Code::NotFound, "MESSAGE_NOT_FOUND"));
    assert_eq!(page(EVE, &ids[4], false, "").await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
}

#[tokio::test]
async fn before_the_events_are_open_messages_stay_as_they_are() {
    let first = Group { reads: FIRST_EVENTS, ..crate::group(1) };
    let mut talk = Talk::of(World::of(first).await).await;
    let message = talk.say(ADA, "hello").await;
    let shut = |answer: Result<(), Refused>| assert_eq!(answer, refused(Code::FailedPrecondition, "EVENTS_NOT_OPEN"));
    shut(talk.edit(ADA, &message, "x", "").await.map(|_| ()));
    shut(talk.unsend(ADA, &message).await);
    shut(talk.react(ADA, &message, "x").await.map(|_| ()));
}
