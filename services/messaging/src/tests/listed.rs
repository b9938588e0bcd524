//! How many requests are listed and counted, and what is told of the rest: one rule, also with blocks among them.

use std::ops::Range;

use futures::future::join_all;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;

use super::requests::{counts, decline, requests};
use super::*;

fn id(kind: u8, n: u32) -> RecordId {
    let mut id = RecordId([kind; 16]);
    id.0[..4].copy_from_slice(&n.to_be_bytes());
    id
}

/// Strangers with these numbers ask ADA, the highest last; gives a token for it.
async fn ask(world: &World, strangers: Range<u32>) -> String {
    let opened = |n: u32| {
        Messaging::ConversationCreated(ConversationCreated {
            conversation_id: id(120, n).to_string(),
            kind: ConversationKind::Direct.into(),
            member_ids: vec![ADA.to_string(), id(121, n).to_string()],
            creator_id: id(121, n).to_string(),
            create_time: Some(kith_proto::time::of_us(1_000 + i64::from(n))),
            asked_member_ids: vec![ADA.to_string()],
            seen_identity_offset: 0,
        })
    };
    join_all(strangers.map(|n| world.publish(id(122, n), opened(n)))).await;
    world.settle().await;
    kith_stage::sealed(&world.everything().await)
}

/// ADA blocks the even ones of these strangers, the odd ones block her.
async fn block(world: &World, strangers: Range<u32>) -> String {
    let blocked = |n: u32| {
        let (ada, stranger) = (ADA.to_string(), id(121, n).to_string());
        let (actor_id, target_id) = if n.is_multiple_of(2) { (ada, stranger) } else { (stranger, ada) };
        Identity::Blocked(Blocked { actor_id, target_id, create_time: None })
    };
    join_all(strangers.map(|n| world.publish(id(123, n), blocked(n)))).await;
    world.settle().await;
    kith_stage::sealed(&world.everything().await)
}

/// ADA is shown the requests of these strangers, in any pages, and told `unlisted` of further ones.
async fn shows(world: &World, token: &str, strangers: Range<u32>, unlisted: u32) {
    let newest_first: Vec<String> = strangers.rev().map(|n| id(120, n).to_string()).collect();
    let count = u32::try_from(newest_first.len()).unwrap();
    assert_eq!(counts(world, ADA, token).await, ((count, unlisted > 0), 0));
    for page_size in [7, 100] {
        let (listed, more) = requests(world, ADA, page_size, token).await;
        assert_eq!((listed.len(), more), (newest_first.len(), unlisted));
        assert!(listed.iter().map(|of| &of.conversation_id).eq(&newest_first), "latest opened first, each once");
    }
}

#[tokio::test]
async fn only_the_newest_requests_are_listed_and_the_rest_is_told_coarsely() {
    let world = World::start().await;
    people(&world).await;
    for (from, until, unlisted) in [(0, 200, 0), (200, 201, 1), (201, 215, 10)] {
        let token = ask(&world, from..until).await;
        shows(&world, &token, until - 200..until, unlisted).await;
    }
    let (_, token) = decline(&world, ADA, &id(120, 214).to_string(), "").await.unwrap();
    shows(&world, &token, 14..214, 10).await;
}

#[tokio::test]
async fn those_in_a_block_take_no_place_on_the_list() {
    let world = World::start().await;
    people(&world).await;
    ask(&world, 0..300).await;
    let token = block(&world, 100..300).await;
    shows(&world, &token, 0..100, 0).await;
}

#[tokio::test]
async fn those_in_a_block_are_not_among_the_unlisted() {
    let world = World::start().await;
    people(&world).await;
    ask(&world, 0..201).await;
    let token = block(&world, 0..1).await;
    shows(&world, &token, 1..201, 0).await;
    let token = ask(&world, 201..220).await;
    shows(&world, &token, 20..220, 10).await;
    let token = block(&world, 0..19).await;
    shows(&world, &token, 20..220, 1).await;
    let token = block(&world, 19..20).await;
    shows(&world, &token, 20..220, 0).await;
}

#[tokio::test]
async fn whatever_is_blocked_no_more_than_a_thousand_are_looked_at() {
    let world = World::start().await;
    people(&world).await;
    ask(&world, 0..1_001).await;
    let token = block(&world, 202..1_001).await;
    shows(&world, &token, 2..202, 1).await;
    let token = block(&world, 201..202).await;
    shows(&world, &token, 1..201, 0).await;
    let token = block(&world, 200..201).await;
    shows(&world, &token, 1..200, 0).await;
}
