//! What becomes of messages through the wire, over kills of the suite: edits, unsending, reactions, mutes.

use kith_proto::messaging::v1::{
    ArchiveConversationRequest, ConversationList, EditMessageRequest, GetOrCreateDirectRequest, GetUnreadCountsRequest,
    ListConversationsRequest, ListMessagesRequest, Message, MuteConversationRequest, ReactToMessageRequest,
    SendMessageRequest, UnsendMessageRequest,
};
use tonic::Code;

use crate::bad_input::caller::{Caller, World};

const SECRET: &str = "the secret of the safe";

/// A conversation, and what was answered about it last.
struct Talk {
    id: String,
    token: String,
}

impl Talk {
    async fn say(&mut self, who: &Caller, text: &str, replies_to: &str) -> String {
        let request = SendMessageRequest {
            conversation_id: self.id.clone(),
            text: text.to_owned(),
            at_least: vec![self.token.clone()],
            reply_to_message_id: replies_to.to_owned(),
            ..Default::default()
        };
        let sent = who.send_message(request).await.ok();
        self.token = sent.consistency_token;
        sent.message.unwrap().message_id
    }

    fn editing(&self, message_id: &str, text: &str) -> EditMessageRequest {
        EditMessageRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.to_owned(),
            text: text.to_owned(),
            at_least: vec![self.token.clone()],
            ..Default::default()
        }
    }

    async fn react(&mut self, who: &Caller, message_id: &str, grapheme: &str) {
        let request = ReactToMessageRequest {
            conversation_id: self.id.clone(),
            message_id: message_id.to_owned(),
            grapheme: grapheme.to_owned(),
            at_least: vec![self.token.clone()],
            ..Default::default()
        };
        self.token = who.react_to_message(request).await.ok().consistency_token;
    }

    async fn unsend(&mut self, who: &Caller, message_id: &str) {
        let (conversation_id, message_id) = (self.id.clone(), message_id.to_owned());
        let at_least = vec![self.token.clone()];
        let request = UnsendMessageRequest { conversation_id, message_id, at_least, ..Default::default() };
        self.token = who.unsend_message(request).await.ok().consistency_token;
    }

    /// Oldest first.
    async fn messages(&self, who: &Caller) -> Vec<Message> {
        let (conversation_id, at_least) = (self.id.clone(), vec![self.token.clone()]);
        let page = who.messages(ListMessagesRequest { conversation_id, at_least, ..Default::default() }).await.ok();
        page.messages.into_iter().rev().collect()
    }

    /// Unread messages: of the inbox, of what is muted in it, of the archive.
    async fn unread(&self, who: &Caller) -> [u64; 3] {
        let request = GetUnreadCountsRequest { at_least: vec![self.token.clone()], ..Default::default() };
        let of = who.unread(request).await.ok();
        [of.total_unread_count, of.muted_unread_count, of.archived_unread_count]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_edited_reacted_to_and_unsent_over_kills() {
    let mut world = World::start().await;
    let [ada, bob] = world.accounts(["ada", "bob"]).await;
    world.follow(&bob, &ada).await;
    let (as_ada, as_bob) = (world.sign_in(&ada), world.sign_in(&bob));
    let at_least = vec![ada.token.clone(), bob.token.clone()];
    let open = GetOrCreateDirectRequest { account_id: bob.account_id.clone(), at_least, ..Default::default() };
    let opened = as_ada.direct(open).await.ok();
    let mut talk = Talk { id: opened.conversation.unwrap().conversation_id, token: opened.consistency_token };
    let first = talk.say(&as_ada, "frist", "").await;
    let secret = talk.say(&as_ada, SECRET, "").await;
    let reply = talk.say(&as_bob, "really?", &secret).await;
    talk.react(&as_bob, &first, "👍").await;
    talk.react(&as_ada, &first, "👍").await;
    let edited = as_ada.edit_message(talk.editing(&first, "first")).await.ok();
    talk.token = edited.consistency_token;
    as_bob.edit_message(talk.editing(&first, "mine")).await.is(Code::PermissionDenied, "NOT_THE_AUTHOR", None);
    world.crash().await;
    let messages = talk.messages(&as_bob).await;
    assert_eq!((messages[0].text.as_str(), messages[0].edit_time.is_some()), ("first", true));
    assert_eq!(messages[0].reactions.iter().map(|of| (of.count, of.own)).collect::<Vec<_>>(), [(2, true)]);
    assert_eq!(messages[2].reply_to.as_ref().unwrap().text, SECRET);
    assert_eq!(talk.unread(&as_bob).await, [2, 0, 0]);

    talk.unsend(&as_ada, &secret).await;
    talk.unsend(&as_bob, &reply).await;
    world.crash().await;
    as_ada.edit_message(talk.editing(&secret, "x")).await.is(Code::FailedPrecondition, "MESSAGE_UNSENT", None);
    let shown = format!("{:?}", talk.messages(&as_bob).await);
    assert!(!shown.contains(SECRET) && !shown.contains("really?"));
    assert_eq!([talk.unread(&as_ada).await, talk.unread(&as_bob).await], [[0; 3], [1, 0, 0]]);

    let (conversation_id, at_least) = (talk.id.clone(), vec![talk.token.clone()]);
    let mute = MuteConversationRequest { conversation_id, at_least, ..Default::default() };
    talk.token = as_bob.mute_talk(mute).await.ok().consistency_token;
    assert_eq!(talk.unread(&as_bob).await, [0, 1, 0]);
    let (conversation_id, at_least) = (talk.id.clone(), vec![talk.token.clone()]);
    let archive = ArchiveConversationRequest { conversation_id, at_least, ..Default::default() };
    talk.token = as_bob.archive(archive).await.ok().consistency_token;
    talk.say(&as_ada, "hello?", "").await;
    world.crash().await;
    assert_eq!(talk.unread(&as_bob).await, [0, 0, 2], "it stays away while it is muted");
    let (list, at_least) = (ConversationList::Archive.into(), vec![talk.token.clone()]);
    let away = as_bob.conversations(ListConversationsRequest { list, at_least, ..Default::default() }).await.ok();
    let last = away.conversations[0].last_message.as_ref().unwrap();
    assert_eq!((last.preview.as_str(), away.conversations[0].muted), ("hello?", true));
}
