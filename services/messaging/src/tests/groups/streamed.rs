//! What streams tell of groups: what was left out is not forgotten, and nothing is told twice.

use std::time::Duration;

use super::super::updates::Stream;
use super::*;

async fn block(world: &World, id: u8, lifts: bool) {
    let (actor_id, target_id) = (EVE.to_string(), ADA.to_string());
    let event = match lifts {
        true => Identity::Unblocked(Unblocked { actor_id, target_id, create_time: None }),
        false => Identity::Blocked(Blocked { actor_id, target_id, create_time: None }),
    };
    world.publish(RecordId([id; 16]), event).await;
    world.settle().await;
}

#[tokio::test]
async fn a_stream_of_which_all_is_left_out_has_a_cursor_and_says_once_it_is_in_sight() {
    let mut world = World::start().await;
    world.messaging.quiet = Duration::from_millis(300);
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    block(&world, 91, false).await;
    let mut eves = Stream::open(&world, EVE, "", &now(&world).await).await;
    assert_eq!(eves.takes(2).await, ["consent_accepted 0 unread 0", "caught up"]);
    let busy = async {
        for n in 0.. {
            say(&world, ADA, id, &n.to_string()).await;
        }
    };
    // Something for her comes all the time, and is left out.
    let alone = tokio::select! {
        alone = eves.next_or_cursor() => alone.unwrap(),
        () = busy => None,
    };
    assert_eq!((alone, eves.cursor.is_empty()), (None, false));
    block(&world, 92, true).await;
    say(&world, ADA, id, "in sight").await;
    // Among what had come meanwhile and was not read before the block was lifted.
    let mut told = Vec::new();
    while !(told.contains(&"read again".to_owned()) && told.iter().any(|of| of.ends_with(": in sight"))) {
        told.extend(eves.takes(1).await);
    }
}

#[tokio::test]
async fn who_was_removed_is_told_so_once() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    let mut eves = Stream::open(&world, EVE, "", &now(&world).await).await;
    assert_eq!(eves.takes(2).await, ["consent_accepted 0 unread 0", "caught up"]);
    let mut bobs = Stream::open(&world, BOB, "", &now(&world).await).await;
    assert_eq!(bobs.takes(2).await[1], "caught up");
    let cursor = eves.cursor.clone();
    drop(eves);
    let title = UpdateGroupRequest { conversation_id: id.into(), title: "Other".into(), ..Default::default() };
    world.messaging.update_group(by(ADA, title)).await.unwrap();
    // Said to Eve too, while she was in it.
    assert_eq!(bobs.takes(1).await, ["consent_accepted 0 unread 0"]);
    remove(&world, ADA, id, EVE).await.unwrap();
    let mut again = Stream::open(&world, EVE, &cursor, &now(&world).await).await;
    assert_eq!(again.takes(2).await, ["left", "caught up"]);
}

#[tokio::test]
async fn what_waits_behind_a_block_or_was_declined_is_told_no_more() {
    let mut world = World::start().await;
    world.messaging.quiet = Duration::from_millis(300);
    people(&world).await;
    let (made, _) = create(&world, EVE, &[ADA, BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    let (mut adas, mut bobs) = (
        Stream::open(&world, ADA, "", &now(&world).await).await,
        Stream::open(&world, BOB, "", &now(&world).await).await,
    );
    assert_eq!(adas.takes(2).await, ["consent_requested 0 unread 0", "caught up"]);
    assert_eq!(bobs.takes(2).await, ["consent_requested 0 unread 0", "caught up"]);
    block(&world, 91, false).await;
    decline(&world, BOB, id, "").await.unwrap();
    assert_eq!(bobs.takes(1).await, ["consent_declined 0 unread 0"]);
    let title = UpdateGroupRequest { conversation_id: id.into(), title: "untold".into(), ..Default::default() };
    world.messaging.update_group(by(EVE, title)).await.unwrap();
    say(&world, EVE, id, "untold").await;
    set_role(&world, EVE, id, BOB, MemberRole::Moderator).await.unwrap();
    set_role(&world, EVE, id, ADA, MemberRole::Moderator).await.unwrap();
    let between = direct(&world, ADA, BOB).await.unwrap().0.conversation_id;
    assert_eq!(bobs.takes(1).await, ["consent_requested 0 unread 0"], "and nothing of the group");
    assert_eq!(adas.takes(1).await, ["consent_accepted 0 unread 0"], "and nothing of the group");
    say(&world, ADA, &between, "hello").await;
    assert_eq!([bobs.takes(1).await, adas.takes(1).await], [["1: hello"], ["1: hello"]]);
    let mut new = Stream::open(&world, ADA, "", &now(&world).await).await;
    assert_eq!(new.takes(2).await, ["consent_accepted 1 unread 0", "caught up"]);
    block(&world, 92, true).await;
    assert_eq!(adas.takes(1).await, ["read again"], "once it is in her list again");
}

#[tokio::test]
async fn who_comes_back_is_told_what_a_block_left_out_before() {
    let mut world = World::start().await;
    world.messaging.quiet = Duration::from_millis(300);
    four(&world).await;
    let id = create(&world, ADA, &[BOB, EVE], 0).await.unwrap().0.conversation_id;
    let without_her = create(&world, BOB, &[EVE], 0).await.unwrap().0.conversation_id;
    let between = direct(&world, ADA, EVE).await.unwrap().0.conversation_id;
    say(&world, BOB, &without_her, "hello").await;
    say(&world, ADA, &between, "in sight, always").await;
    block(&world, 91, false).await;
    let mut cursor = {
        let mut eves = Stream::open(&world, EVE, "", &now(&world).await).await;
        assert_eq!(eves.takes(4).await[3], "caught up");
        eves.cursor.clone()
    };
    say(&world, ADA, &id, "left out").await;
    drop(comes_back(&world, &mut cursor, &["caught up"]).await);
    block(&world, 92, true).await;
    drop(comes_back(&world, &mut cursor, &["read again", "caught up"]).await);
    drop(comes_back(&world, &mut cursor, &["caught up"]).await);
    // One more, which ends while she streams; but not while she is told what it leaves out.
    block(&world, 93, false).await;
    say(&world, ADA, &id, "left out too").await;
    drop(comes_back(&world, &mut cursor, &["caught up"]).await);
    let mut eves = comes_back(&world, &mut cursor, &["caught up"]).await;
    block(&world, 94, true).await;
    assert_eq!(eves.takes(1).await, ["read again"]);
    assert_eq!(eves.next_or_cursor().await.unwrap(), None);
    cursor = eves.cursor.clone();
    drop(eves);
    say(&world, ADA, &id, "in sight").await;
    drop(comes_back(&world, &mut cursor, &["3: in sight", "caught up"]).await);
}

async fn comes_back(world: &World, cursor: &mut String, expected: &[&str]) -> Stream {
    let mut eves = Stream::open(world, EVE, cursor, &now(world).await).await;
    assert_eq!(eves.takes(expected.len()).await, expected);
    cursor.clone_from(&eves.cursor);
    eves
}
