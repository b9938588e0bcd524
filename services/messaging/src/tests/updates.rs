//! Updates as they are streamed: nothing missing, nothing twice, in order.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::update_service_server::UpdateService;
use tonic::Status;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// One caller of a stream.
pub struct Stream {
    updates: BoxStream<'static, Result<StreamUpdatesResponse, Status>>,
    pub cursor: String,
}

/// An update, as a text.
fn shown(update: Update) -> String {
    match update {
        Update::Message(message) if message.unsend_time.is_some() => format!("{} unsent", message.number),
        Update::Message(message) => {
            let reactions: Vec<_> =
                message.reactions.iter().map(|of| format!(" {}{}", of.grapheme, of.count)).collect();
            format!("{}: {}{}", message.number, message.text, reactions.concat())
        }
        Update::Conversation(conversation) => {
            let consent = conversation.consent().as_str_name().to_lowercase();
            let own = [(conversation.muted, " muted"), (conversation.archived, " archived")];
            let own: String = own.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
            format!("{consent} {} unread {}{own}", conversation.last_message_number, conversation.unread_count)
        }
        Update::CaughtUp(up) if up.incomplete => "caught up, with more elsewhere".to_owned(),
        Update::CaughtUp(_) => "caught up".to_owned(),
        Update::Left(_) => "left".to_owned(),
        Update::ReadAgain(_) => "read again".to_owned(),
        Update::MarkerMoved(moved) => format!("read {}", moved.marker.unwrap_or_default().read_number),
    }
}

impl Stream {
    pub async fn open(world: &World, who: RecordId, cursor: &str, token: &str) -> Self {
        let at_least = if token.is_empty() { Vec::new() } else { vec![token.to_owned()] };
        let request = StreamUpdatesRequest { cursor: cursor.to_owned(), at_least };
        let updates = world.messaging.stream_updates(by(who, request)).await.unwrap().into_inner();
        Self { updates, cursor: cursor.to_owned() }
    }

    pub async fn next(&mut self) -> Result<String, Refused> {
        let next = async {
            loop {
                if let Some(update) = self.next_or_cursor().await? {
                    return Ok(update);
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("no update came, only cursors")
    }

    /// `None`: a cursor alone.
    pub async fn next_or_cursor(&mut self) -> Result<Option<String>, Refused> {
        let next = tokio::time::timeout(PATIENCE, self.updates.next()).await.expect("no update came");
        let StreamUpdatesResponse { cursor, update } = next.unwrap().map_err(|status| refusal(&status))?;
        self.cursor = cursor;
        Ok(update.map(shown))
    }

    pub async fn takes(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.next().await.unwrap());
        }
        all
    }
}

async fn say(world: &World, who: RecordId, id: &str, text: &str, token: &str) -> String {
    send(world, who, writing(id, text, "", token)).await.unwrap().1
}

#[tokio::test]
async fn each_member_is_told_each_change_once_in_order() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let mut token = say(&world, ADA, id, "before", &token).await;
    let mut bobs = Stream::open(&world, BOB, "", &token).await;
    let mut eves = Stream::open(&world, EVE, "", &token).await;
    assert_eq!(bobs.takes(2).await, ["consent_accepted 1 unread 1", "caught up"]);
    assert_eq!(eves.takes(1).await, ["caught up"]);
    for text in ["one", "two", "three"] {
        token = say(&world, ADA, id, text, &token).await;
    }
    assert_eq!(bobs.takes(3).await, ["2: one", "3: two", "4: three"]);
    mark(&world, BOB, id, 3, &token).await.unwrap();
    assert_eq!(bobs.takes(1).await, ["consent_accepted 4 unread 1"]);
    let (with_eve, token) = direct(&world, EVE, BOB).await.unwrap();
    assert_eq!(bobs.takes(1).await, ["consent_accepted 0 unread 0"]);
    assert_eq!(eves.takes(1).await, ["consent_accepted 0 unread 0"], "and nothing of the others' conversation");
    say(&world, BOB, &with_eve.conversation_id, "hello", &token).await;
    assert_eq!((bobs.takes(1).await, eves.takes(1).await), (vec!["1: hello".into()], vec!["1: hello".into()]));
}

#[tokio::test]
async fn who_comes_back_is_told_what_it_missed_also_by_another_process() {
    let mut world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let mut bobs = Stream::open(&world, BOB, "", &token).await;
    assert_eq!(bobs.takes(2).await, ["consent_accepted 0 unread 0", "caught up"]);
    let mut token = say(&world, ADA, id, "one", &token).await;
    assert_eq!(bobs.takes(1).await, ["1: one"]);
    let cursor = bobs.cursor.clone();
    drop(bobs);
    for text in ["two", "three"] {
        token = say(&world, ADA, id, text, &token).await;
    }
    // The same process, then one whose tail has only begun.
    let mut again = Stream::open(&world, BOB, &cursor, &token).await;
    assert_eq!(again.takes(3).await, ["2: two", "3: three", "caught up"]);
    world.fold_again().await;
    let mut elsewhere = Stream::open(&world, BOB, &cursor, &token).await;
    assert_eq!(elsewhere.takes(3).await, ["2: two", "3: three", "caught up"]);
    say(&world, ADA, id, "four", &token).await;
    assert_eq!(elsewhere.takes(1).await, ["4: four"]);
}

#[tokio::test]
async fn copies_are_told_once_and_messages_that_are_none_never() {
    let world = World::start().await;
    people(&world).await;
    let (conversation, token) = direct(&world, EVE, ADA).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let mut adas = Stream::open(&world, ADA, "", &token).await;
    assert_eq!(adas.takes(2).await, ["consent_requested 0 unread 0", "caught up"]);
    let mut token = token;
    for text in ["one", "two", "three"] {
        token = say(&world, EVE, id, text, &token).await;
    }
    world.copy_last(kith_log::topics::MESSAGING, id).await;
    let fourth = Messaging::MessageSent(MessageSent {
        conversation_id: id.to_owned(),
        message_id: RecordId([77; 16]).to_string(),
        sender_id: EVE.to_string(),
        ..MessageSent::default()
    });
    world.publish(RecordId([78; 16]), fourth).await;
    say(&world, ADA, id, "yes?", &token).await;
    assert_eq!(adas.takes(4).await, ["1: one", "2: two", "3: three", "4: yes?"]);
}

#[tokio::test]
async fn who_declined_is_told_nothing_more_and_who_blocks_what_is_listed() {
    let world = World::start().await;
    people(&world).await;
    let (conversation, token) = direct(&world, EVE, ADA).await.unwrap();
    let id = conversation.conversation_id.clone();
    let mut adas = Stream::open(&world, ADA, "", &token).await;
    assert_eq!(adas.takes(2).await, ["consent_requested 0 unread 0", "caught up"]);
    let decline = DeclineConversationRequest { conversation_id: id.clone(), ..Default::default() };
    let token = world.messaging.decline_conversation(by(ADA, decline)).await.unwrap().into_inner().consistency_token;
    assert_eq!(adas.takes(1).await, ["consent_declined 0 unread 0"]);
    say(&world, EVE, &id, "hello?", &token).await;
    let (with_bob, token) = direct(&world, BOB, ADA).await.unwrap();
    assert_eq!(adas.takes(1).await, ["consent_requested 0 unread 0"], "nothing of Eve's message");
    let blocked = Blocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    let sent = Messaging::MessageSent(MessageSent {
        conversation_id: with_bob.conversation_id.clone(),
        message_id: RecordId([77; 16]).to_string(),
        sender_id: BOB.to_string(),
        ..MessageSent::default()
    });
    world.publish(RecordId([79; 16]), Identity::Blocked(blocked)).await;
    world.settle().await;
    world.publish(RecordId([78; 16]), sent).await;
    let accept = AcceptConversationRequest { conversation_id: id, at_least: vec![token], ..Default::default() };
    world.messaging.accept_conversation(by(ADA, accept)).await.unwrap();
    // Bob's raced with the block, and both find it in their conversation.
    assert_eq!(adas.takes(2).await, ["1: ", "consent_accepted 1 unread 1"]);
}

#[tokio::test]
async fn who_does_not_read_is_told_so_and_misses_nothing() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let mut bobs = Stream::open(&world, BOB, "", &token).await;
    assert_eq!(bobs.takes(2).await, ["consent_accepted 0 unread 0", "caught up"]);
    let mut token = token;
    let count = 300;
    for n in 1..=count {
        token = say(&world, ADA, id, &n.to_string(), &token).await;
    }
    // More than may wait have been told to everybody once another stream has the last.
    let mut adas = Stream::open(&world, ADA, "", &token).await;
    adas.takes(2).await;
    say(&world, ADA, id, "last", &token).await;
    assert_eq!(adas.takes(1).await, [format!("{}: last", count + 1)]);
    let mut told = Vec::new();
    let refused = loop {
        match bobs.next().await {
            Ok(update) => told.push(update),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, (Code::ResourceExhausted, "STREAM_TOO_SLOW".to_owned()));
    let mut again = Stream::open(&world, BOB, &bobs.cursor, "").await;
    while told.len() < count + 1 {
        told.push(again.next().await.unwrap());
    }
    let expected: Vec<String> =
        (1..=count).map(|n| format!("{n}: {n}")).chain([format!("{}: last", count + 1)]).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn who_was_away_for_long_is_told_what_changed() {
    let world = World::start().await;
    friends(&world).await;
    let (with_bob, token) = direct(&world, ADA, BOB).await.unwrap();
    let (_, later) = direct(&world, ADA, EVE).await.unwrap();
    let mut bobs = Stream::open(&world, BOB, "", &token).await;
    bobs.takes(2).await;
    let mut adas = Stream::open(&world, ADA, "", &later).await;
    assert_eq!(adas.takes(3).await[2], "caught up");
    let cursor = adas.cursor.clone();
    drop(adas);
    let mut token = later;
    for n in 0..1_100 {
        token = say(&world, ADA, &with_bob.conversation_id, &n.to_string(), &token).await;
        if n % 100 == 0 {
            bobs.takes(1).await;
        }
    }
    let mut again = Stream::open(&world, ADA, &cursor, &token).await;
    assert_eq!(again.takes(2).await, ["consent_accepted 1100 unread 0", "caught up"], "and not the one with Eve");
}

#[tokio::test]
async fn more_than_the_newest_conversations_are_said_to_be_more() {
    let world = World::start().await;
    people(&world).await;
    let mut token = String::new();
    for n in 0..=100 {
        let group = CreateGroupRequest { title: n.to_string(), ..CreateGroupRequest::default() };
        token = world.messaging.create_group(by(ADA, group)).await.unwrap().into_inner().consistency_token;
        if n == 99 {
            let told = Stream::open(&world, ADA, "", &token).await.takes(101).await;
            assert_eq!(told.last().unwrap(), "caught up");
        }
    }
    let told = Stream::open(&world, ADA, "", &token).await.takes(101).await;
    assert_eq!(told.last().unwrap(), "caught up, with more elsewhere");
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let world = World::start().await;
    people(&world).await;
    let request = StreamUpdatesRequest { cursor: "x".into(), ..StreamUpdatesRequest::default() };
    let status = world.messaging.stream_updates(by(ADA, request)).await.map(|_| ()).unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "CONSISTENCY_TOKEN_INVALID".into()));
}

#[tokio::test]
async fn what_becomes_of_a_message_is_told_to_all_and_ones_own_view_to_oneself() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    let (message, token) = send(&world, ADA, writing(id, "frist", "", &token)).await.unwrap();
    let (mut adas, mut bobs) =
        (Stream::open(&world, ADA, "", &token).await, Stream::open(&world, BOB, "", &token).await);
    adas.takes(2).await;
    bobs.takes(2).await;
    let (conversation_id, message_id) = (id.to_owned(), message.message_id);
    let edit = EditMessageRequest {
        conversation_id: conversation_id.clone(),
        message_id: message_id.clone(),
        text: "first".into(),
        ..EditMessageRequest::default()
    };
    world.messaging.edit_message(by(ADA, edit)).await.unwrap();
    assert_eq!([bobs.takes(1).await, adas.takes(1).await], [["1: first"], ["1: first"]]);
    let react = ReactToMessageRequest {
        conversation_id: conversation_id.clone(),
        message_id: message_id.clone(),
        grapheme: "x".into(),
        ..ReactToMessageRequest::default()
    };
    world.messaging.react_to_message(by(BOB, react)).await.unwrap();
    assert_eq!([bobs.takes(1).await, adas.takes(1).await], [["1: first x1"], ["1: first x1"]]);
    let read = |visibility: ReadVisibility| MarkReadRequest {
        conversation_id: conversation_id.clone(),
        up_to_number: 1,
        visibility: visibility.into(),
        ..MarkReadRequest::default()
    };
    world.messaging.mark_read(by(BOB, read(ReadVisibility::Private))).await.unwrap();
    assert_eq!(bobs.takes(1).await, ["consent_accepted 1 unread 0"]);
    world.messaging.mark_read(by(BOB, read(ReadVisibility::Public))).await.unwrap();
    assert_eq!([bobs.takes(1).await, adas.takes(1).await], [["consent_accepted 1 unread 0"], ["read 1"]]);
    let mute = MuteConversationRequest { conversation_id: conversation_id.clone(), ..Default::default() };
    world.messaging.mute_conversation(by(BOB, mute)).await.unwrap();
    let muted = "consent_accepted 1 unread 0 muted";
    assert_eq!(bobs.takes(1).await, [muted]);
    let archive = ArchiveConversationRequest { conversation_id: conversation_id.clone(), ..Default::default() };
    world.messaging.archive_conversation(by(BOB, archive)).await.unwrap();
    assert_eq!(bobs.takes(1).await, [format!("{muted} archived")]);
    let unsend = UnsendMessageRequest { conversation_id, message_id, ..UnsendMessageRequest::default() };
    world.messaging.unsend_message(by(ADA, unsend)).await.unwrap();
    assert_eq!([bobs.takes(1).await, adas.takes(1).await], [["1 unsent"], ["1 unsent"]], "and not of his view to her");
}
