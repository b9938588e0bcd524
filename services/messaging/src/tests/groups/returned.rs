//! Who was away for longer than the tail remembers: it is told what changed for it, and nothing of what others keep to themselves.

use futures::future::join_all;

use super::super::updates::Stream;
use super::*;

/// More than a tail that begins reads again.
const MEANWHILE: u16 = 300;

/// Somebody who streamed, and went.
struct Away {
    who: RecordId,
    cursor: String,
}

impl Away {
    /// It has been told all that there is.
    async fn from_now(world: &World, who: RecordId) -> Self {
        let mut stream = Stream::open(world, who, "", &now(world).await).await;
        while stream.next().await.unwrap() != "caught up" {}
        Self { who, cursor: stream.cursor.clone() }
    }

    /// What it is told when it comes back, by a process that began after so much else that it does not know what was missed.
    async fn comes_back(&mut self, world: &mut World) -> Vec<String> {
        let nobodys = (0..MEANWHILE).map(|n| {
            let mut id = [0xc0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let (conversation_id, message_id) = (RecordId([0xc0; 16]).to_string(), RecordId(id).to_string());
            let sent = MessageSent { conversation_id, message_id, ..MessageSent::default() };
            world.publish(RecordId(id), Messaging::MessageSent(sent))
        });
        join_all(nobodys).await;
        world.settle().await;
        world.another_process();
        let mut stream = Stream::open(world, self.who, &self.cursor, &now(world).await).await;
        let mut told = Vec::new();
        loop {
            match stream.next().await.unwrap() {
                next if next == "caught up" => break,
                next => told.push(next),
            }
        }
        self.cursor = stream.cursor.clone();
        told
    }
}

async fn read(world: &World, who: RecordId, id: &str, up_to_number: u64, visibility: ReadVisibility) {
    let (conversation_id, at_least, visibility) = (id.to_owned(), vec![now(world).await], visibility.into());
    let request = MarkReadRequest { conversation_id, up_to_number, at_least, visibility, ..MarkReadRequest::default() };
    world.messaging.mark_read(by(who, request)).await.unwrap();
}

#[tokio::test]
async fn that_others_read_accepted_or_declined_is_told_to_nobody() {
    let mut world = World::start().await;
    people(&world).await;
    follow(&world, 99, BOB, ADA).await;
    world.settle().await;
    let with_bob = direct(&world, ADA, BOB).await.unwrap().0.conversation_id;
    let with_eve = direct(&world, ADA, EVE).await.unwrap().0.conversation_id;
    // Bob is in it, Eve is asked.
    let group = create(&world, ADA, &[BOB, EVE], 0).await.unwrap().0.conversation_id;
    for id in [&with_bob, &with_eve, &group] {
        say(&world, ADA, id, "one").await;
        say(&world, ADA, id, "two").await;
    }
    let mut ada = Away::from_now(&world, ADA).await;
    for id in [&with_bob, &group] {
        read(&world, BOB, id, 1, ReadVisibility::Private).await;
    }
    // A stranger's marker is shown to nobody, whatever it says.
    read(&world, EVE, &with_eve, 1, ReadVisibility::Public).await;
    decline(&world, EVE, &with_eve, "").await.unwrap();
    decline(&world, EVE, &group, "").await.unwrap();
    assert_eq!(ada.comes_back(&mut world).await, Vec::<String>::new());
    read(&world, BOB, &group, 2, ReadVisibility::Public).await;
    assert_eq!(ada.comes_back(&mut world).await, ["read 2"]);
    // What she does elsewhere is told to herself.
    read(&world, ADA, &with_bob, 2, ReadVisibility::Private).await;
    let mute = MuteConversationRequest { conversation_id: with_bob.clone(), ..MuteConversationRequest::default() };
    world.messaging.mute_conversation(by(ADA, mute)).await.unwrap();
    assert_eq!(ada.comes_back(&mut world).await, ["consent_accepted 2 unread 0 muted"]);
    say(&world, BOB, &with_bob, "three").await;
    assert_eq!(ada.comes_back(&mut world).await, ["consent_accepted 3 unread 1 muted"]);
    assert_eq!(ada.comes_back(&mut world).await, Vec::<String>::new());
}

#[tokio::test]
async fn who_left_or_was_removed_meanwhile_is_told_so_once() {
    let mut world = World::start().await;
    people(&world).await;
    follow(&world, 99, EVE, ADA).await;
    world.settle().await;
    let of_before = create(&world, ADA, &[EVE, BOB], 0).await.unwrap().0.conversation_id;
    leave(&world, EVE, &of_before, None, "").await.unwrap();
    let group = create(&world, ADA, &[EVE, BOB], 0).await.unwrap().0.conversation_id;
    say(&world, ADA, &group, "hello").await;
    let (mut eve, mut bob) = (Away::from_now(&world, EVE).await, Away::from_now(&world, BOB).await);
    remove(&world, ADA, &group, EVE).await.unwrap();
    remove(&world, ADA, &group, BOB).await.unwrap();
    say(&world, ADA, &group, "among us").await;
    assert_eq!(eve.comes_back(&mut world).await, ["left"]);
    assert_eq!(bob.comes_back(&mut world).await, ["left"], "also of what waited for him");
    say(&world, ADA, &group, "still").await;
    assert_eq!(eve.comes_back(&mut world).await, Vec::<String>::new());
    add(&world, ADA, &group, &[EVE]).await.unwrap();
    leave(&world, EVE, &group, None, "again").await.unwrap();
    add(&world, ADA, &group, &[EVE]).await.unwrap();
    assert_eq!(eve.comes_back(&mut world).await, ["consent_requested 0 unread 0"], "she is in it now");
    drop(decline(&world, EVE, &group, "").await.unwrap());
    say(&world, ADA, &group, "unheard").await;
    assert_eq!(eve.comes_back(&mut world).await, ["consent_declined 4 unread 1"], "what she did herself");
    say(&world, ADA, &group, "unheard").await;
    assert_eq!(eve.comes_back(&mut world).await, Vec::<String>::new());
}
