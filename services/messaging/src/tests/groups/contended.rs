//! Changes that only one may win.

use futures::future::join_all;

use super::*;

/// People whom nobody follows.
async fn crowd(world: &World, count: u8) -> Vec<RecordId> {
    let ids: Vec<RecordId> = (0..count).map(|n| RecordId([n, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])).collect();
    for (n, id) in ids.iter().enumerate() {
        let (account_id, handle_key) = (id.to_string(), format!("crowd_{n}"));
        let event = AccountCreated { account_id, handle_key, ..AccountCreated::default() };
        let mut record = id.0;
        record[1] = 8;
        world.publish(RecordId(record), Identity::AccountCreated(event)).await;
    }
    world.settle().await;
    ids
}

#[tokio::test]
async fn of_a_hundred_who_want_the_last_seat_one_gets_it() {
    let world = World::start().await;
    people(&world).await;
    let crowd = crowd(&world, 199).await;
    let (made, _) = create(&world, ADA, &crowd[..98], 0).await.unwrap();
    assert_eq!(made.member_count, 99);
    let id = made.conversation_id.as_str();
    let all = crowd[99..].iter().map(|who| add(&world, ADA, id, std::slice::from_ref(who)));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 99));
    let full = (Code::FailedPrecondition, "GROUP_FULL".to_owned());
    assert!(lost.into_iter().all(|lost| lost.unwrap_err() == full));
    assert_eq!(members(&world, ADA, id, 100).await.unwrap().len(), 100);
}

#[tokio::test]
async fn of_two_owners_who_leave_at_once_one_stays() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    set_role(&world, ADA, id, BOB, MemberRole::Owner).await.unwrap();
    let (one, other) = tokio::join!(leave(&world, ADA, id, None, ""), leave(&world, BOB, id, None, ""));
    let lost: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
    assert_eq!(lost, [(Code::FailedPrecondition, "LAST_OWNER".to_owned())]);
    let left = members(&world, EVE, id, 0).await.unwrap();
    assert_eq!(left.iter().filter(|(_, role)| *role == MemberRole::Owner).count(), 1);
}
