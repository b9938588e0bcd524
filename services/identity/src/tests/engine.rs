use kith_fold::{Cause, Publisher};
use kith_proto::identity::private::v1::AccountRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;

use super::*;
use crate::handle::Handle;

/// Appends an intent as a process did that then died.
async fn intend(world: &World, handle: &str, account: RecordId) -> Position {
    let publisher = Publisher::new(world.ports.log.clone(), world.ports.runtime.clone(), crate::GROUP);
    let key = Handle::normalised(handle).unwrap().key();
    let event = Private::AccountRequested(AccountRequested {
        account_id: account.to_string(),
        handle_key: handle.to_owned(),
        ..AccountRequested::default()
    });
    publisher.append(topics::IDENTITY_PRIVATE, &key, account, &event.into(), &Cause::default()).await.unwrap()
}

async fn until_created(suite: &Suite, handle: &str) {
    let until = Instant::now() + PATIENCE;
    while suite.world.accounts_created(handle).await == 0 {
        assert!(Instant::now() < until, "no account for {handle}");
        tokio::task::yield_now().await;
    }
    suite.settled().await;
}

#[tokio::test]
async fn an_intent_left_by_a_crash_becomes_an_account_once() {
    let world = World::new();
    world.create().await;
    let first = intend(&world, "ada", RecordId([1; 16])).await;
    intend(&world, "ada", RecordId([2; 16])).await;
    intend(&world, "ada", RecordId([1; 16])).await;
    let suite = world.start().await;
    until_created(&suite, "ada").await;
    let created = suite.world.records(topics::IDENTITY).await;
    let [Record { event: Event::Identity(Identity::AccountCreated(event)), .. }] = &created[..] else {
        panic!("one account was to be created: {created:?}");
    };
    assert_eq!((&*event.account_id, event.intent_offset), (&*RecordId([1; 16]).to_string(), first.offset));

    // Another account of the same partition shows when the next process has looked for what the first left undone.
    let suite = suite.kill().start().await;
    let of = |handle: &str| {
        let key = Handle::normalised(handle).unwrap().key();
        LogPartition::of_key(topics::IDENTITY_PRIVATE, &key, PARTITIONS)
    };
    let next = (0..).map(|n| format!("next_{n}")).find(|handle| of(handle) == of("ada")).unwrap();
    suite.account(&next).await;
    suite.settled().await;
    assert_eq!(suite.world.accounts_created("ada").await, 1);
}

#[tokio::test]
async fn hostile_records_are_passed_over() {
    let world = World::new();
    world.create().await;
    let publisher = Publisher::new(world.ports.log.clone(), world.ports.runtime.clone(), crate::GROUP);
    for (handle, account_id) in [("ADA", "1".repeat(32)), ("ada", "x".repeat(20_000)), ("", String::new())] {
        let event = Private::AccountRequested(AccountRequested {
            account_id,
            handle_key: handle.to_owned(),
            ..AccountRequested::default()
        });
        let key = Handle::normalised("ada").unwrap().key();
        let id = RecordId([3; 16]);
        publisher.append(topics::IDENTITY_PRIVATE, &key, id, &event.into(), &Cause::default()).await.unwrap();
    }
    let suite = world.start().await;
    let account = suite.account("ada").await;
    assert_ne!(account.to_string(), "1".repeat(32));
}

#[tokio::test]
async fn tables_made_again_are_the_same() {
    let suite = Suite::new().await;
    let mut people = Vec::new();
    for n in 0..6 {
        people.push(suite.account(&format!("person_{n}")).await);
    }
    for &who in &people {
        for &whom in people.iter().filter(|&&whom| whom != who) {
            suite.follow(who, whom).await.unwrap();
        }
    }
    suite.block(people[0], people[1]).await;
    suite.block(people[2], people[3]).await;
    suite.unblock(people[2], people[3]).await;
    suite.unfollow(people[4], people[5]).await;
    let before = suite.digest().await;
    let heads = suite.settled().await;
    assert!(before.rows > 50, "{}", before.rows);
    let world = suite.kill();
    world.ports.tables.drop_keyspace(&group(1).keyspace()).await.unwrap();
    let suite = world.start().await;
    assert_eq!(suite.digest().await, before);
    assert_eq!(suite.settled().await, heads, "nothing is appended that was appended before");
}

#[tokio::test]
async fn a_replica_that_folds_nothing_answers_as_well() {
    let suite = Suite::new().await;
    let (projection, service) = suite.world.replica(false).await;
    let replica = Suite { service, projection, world: World::new() };
    let (ada, bob) = (replica.account("ada").await, replica.account("bob").await);
    replica.follow(bob, ada).await.unwrap();
    let blocked = replica.block(ada, bob).await;
    let seen = replica.relationship(bob, ada, &blocked).await;
    assert!(!seen.following && !seen.followed_by && !seen.blocked_by, "{seen:?}");
    let unblocked = suite.unblock(ada, bob).await;
    let message = FollowRequest { target_id: ada.to_string(), at_least: vec![unblocked], ..FollowRequest::default() };
    replica.service.follow(by(bob, message)).await.unwrap();
    suite.settled().await;
    assert!(suite.relationship(bob, ada, "").await.following);
}
