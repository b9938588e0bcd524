use kith_proto::identity::v1::{FollowEntry, ListFollowersRequest, ListFollowingRequest};
use kith_relations::edge::cuts;
use kith_tables::Key;

use super::*;
use crate::followers::{FOLLOWERS, FollowersSummary};
use crate::graph::{EDGES, EdgesSummary};

/// Two accounts of different log partitions.
pub(super) async fn apart(suite: &Suite, name: &str) -> (RecordId, RecordId) {
    let first = suite.account(&format!("{name}_0")).await;
    for n in 1..64 {
        let second = suite.account(&format!("{name}_{n}")).await;
        if suite.partition_of(second) != suite.partition_of(first) {
            return (first, second);
        }
    }
    panic!("all accounts in one partition");
}

pub(super) async fn listed_followers(
    suite: &Suite,
    viewer: RecordId,
    of: RecordId,
    page_size: i32,
) -> (Vec<FollowEntry>, u32) {
    let (mut all, mut omitted, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = ListFollowersRequest { account_id: of.to_string(), page_size, page_token, at_least: Vec::new() };
        let page = suite.service.list_followers(by(viewer, request)).await.unwrap().into_inner();
        assert!(page.followers.len() + page.omitted_count as usize <= page_size as usize);
        all.extend(page.followers);
        omitted += page.omitted_count;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (all, omitted);
        }
    }
}

async fn follower_count(suite: &Suite, of: RecordId) -> i64 {
    let (state, key) = (&suite.state(), Key::text(&of.to_string()));
    let sources = state.summaries::<FollowersSummary>(&FOLLOWERS, &key, topics::IDENTITY).await.unwrap();
    sources.iter().map(|source| source.row.follower_count).sum()
}

pub(super) async fn listed_following(suite: &Suite, of: RecordId) -> usize {
    let request = ListFollowingRequest { account_id: of.to_string(), page_size: 100, ..Default::default() };
    suite.service.list_following(by(of, request)).await.unwrap().into_inner().following.len()
}

async fn summary(suite: &Suite, of: RecordId) -> EdgesSummary {
    let id = of.to_string();
    let state = &suite.state();
    let found = state.summary::<EdgesSummary>(&EDGES, &Key::text(&id), (topics::IDENTITY, &id)).await.unwrap();
    found.map(|found| found.row).unwrap_or_default()
}

#[tokio::test]
async fn a_follow_is_seen_with_its_token_and_again_changes_nothing() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    let request = FollowRequest {
        target_id: bob.to_string(),
        shows_shares: true,
        notify: true,
        request_id: "f-1".into(),
        at_least: Vec::new(),
    };
    let answer = suite.service.follow(by(ada, request.clone())).await.unwrap().into_inner();
    let relationship = answer.relationship.unwrap();
    assert!(relationship.following && relationship.notify && relationship.follow_time.is_some());
    assert_eq!(suite.relationship(ada, bob, &answer.consistency_token).await, relationship);
    let seen = suite.relationship(bob, ada, &answer.consistency_token).await;
    assert!(seen.followed_by && !seen.following && seen.followed_by_time == relationship.follow_time);
    let heads = suite.settled().await;
    let again = suite.service.follow(by(ada, request.clone())).await.unwrap().into_inner();
    let covered = [again.consistency_token, answer.consistency_token].map(|token| kith_stage::opened(&token));
    assert_eq!((again.relationship, &covered[0]), (Some(relationship), &covered[1]));
    let other = FollowRequest { notify: false, ..request };
    assert_eq!(reason(&suite.service.follow(by(ada, other)).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(suite.settled().await, heads);

    let unfollowed = suite.unfollow(ada, bob).await;
    assert!(!suite.relationship(ada, bob, &unfollowed).await.following);
    let heads = suite.settled().await;
    suite.unfollow(ada, bob).await;
    suite.unblock(ada, bob).await;
    suite.unfollow(bob, ada).await;
    assert_eq!(suite.settled().await, heads);
}

/// As every command: see how React and Share are.
#[tokio::test]
async fn a_command_repeated_across_a_block_is_answered_with_what_now_stands() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    let follow = |who: RecordId, whom: RecordId| {
        let (target_id, request_id) = (whom.to_string(), "f-1".to_owned());
        by(who, FollowRequest { target_id, request_id, ..FollowRequest::default() })
    };
    suite.service.follow(follow(ada, bob)).await.unwrap();
    suite.service.follow(follow(bob, ada)).await.unwrap();
    let block = || by(ada, BlockRequest { target_id: bob.to_string(), request_id: "b-1".into(), at_least: Vec::new() });
    let blocked = suite.service.block(block()).await.unwrap().into_inner();
    let heads = suite.settled().await;
    for (who, whom) in [(ada, bob), (bob, ada)] {
        let again = suite.service.follow(follow(who, whom)).await.unwrap().into_inner().relationship.unwrap();
        assert_eq!(again, suite.relationship(who, whom, "").await);
        assert!(
            !again.following && again.follow_time.is_none() && (again.blocking == (who == ada)) && !again.blocked_by
        );
    }
    assert_eq!(suite.follow(bob, ada).await, Err("ACCOUNT_NOT_FOUND".into()), "which was not asked before");
    assert_eq!(suite.service.block(block()).await.unwrap().into_inner().relationship, blocked.relationship);
    let (unblocked, heads) = (suite.unblock(ada, bob).await, (heads, suite.settled().await));
    assert_ne!(heads.0, heads.1);
    let again = suite.service.block(block()).await.unwrap().into_inner();
    assert_eq!(again.relationship, Some(suite.relationship(ada, bob, &unblocked).await), "it is taken back since");
    assert!(!again.relationship.unwrap().blocking);
    assert_eq!(suite.settled().await, heads.1, "nothing was appended");
}

/// Two replicas append it; only one of the two records makes the follow, and both answers say when that was.
#[tokio::test]
async fn copies_of_a_follow_by_two_replicas_are_answered_with_the_time_that_stands() {
    let suite = Suite::new().await;
    let (_projection, other) = suite.world.replica(false).await;
    let (ada, bob) = apart(&suite, "one").await;
    suite.settled().await;
    let mut copies = 0;
    for round in 0..12 {
        let (target_id, request_id) = (bob.to_string(), format!("f-{round}"));
        let request = FollowRequest { target_id, request_id, ..FollowRequest::default() };
        let before = suite.world.records(topics::IDENTITY).await.len();
        let (one, two) = tokio::join!(suite.service.follow(by(ada, request.clone())), other.follow(by(ada, request)));
        suite.settled().await;
        copies += suite.world.records(topics::IDENTITY).await.len() - before - 1;
        let stands = Some(suite.relationship(ada, bob, "").await);
        let said = [one, two].map(|answer| answer.unwrap().into_inner().relationship);
        assert_eq!(said, [stands.clone(), stands], "round {round}");
        suite.unfollow(ada, bob).await;
        suite.settled().await;
    }
    assert!(copies > 0, "no copy was ever appended");
}

#[tokio::test]
async fn tables_that_are_behind_are_no_reason_to_call_a_command_done() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    suite.settled().await;
    let Suite { service, projection, world } = suite;
    drop(service);
    projection.serving().unwrap().end().await;
    let (projection, service) = world.replica(false).await;
    let mut suite = Suite { service, projection, world };
    suite.follow(ada, bob).await.unwrap();
    let mut unfollow = by(ada, UnfollowRequest { target_id: bob.to_string(), ..UnfollowRequest::default() });
    unfollow.extensions_mut().insert(Deadline::after(Duration::from_millis(50)));
    let refused = suite.service.unfollow(unfollow).await.unwrap_err();
    assert_eq!(reason(&refused), "BEHIND_TOKEN", "nobody has folded the follow that is to end");

    (suite.projection, suite.service) = suite.world.replica(true).await;
    let unfollowed = suite.unfollow(ada, bob).await;
    assert!(!suite.relationship(ada, bob, &unfollowed).await.following);
    let heads = suite.settled().await;
    suite.unfollow(ada, bob).await;
    assert_eq!(suite.settled().await, heads);
}

#[tokio::test]
async fn a_block_ends_both_follows_and_its_token_stands_for_that() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    suite.follow(ada, bob).await.unwrap();
    let followed = suite.follow(bob, ada).await.unwrap();
    suite.relationship(ada, bob, &followed).await;
    let request = BlockRequest { target_id: bob.to_string(), ..BlockRequest::default() };
    let answer = suite.service.block(by(ada, request)).await.unwrap().into_inner();
    let relationship = answer.relationship.unwrap();
    assert!(relationship.blocking && !relationship.following && !relationship.followed_by);
    let covered = kith_stage::opened(&answer.consistency_token);
    let cuts = suite.world.records(topics::IDENTITY).await;
    let cut = cuts.iter().find(|r| matches!(r.event, Event::Identity(Identity::FollowCut(_)))).unwrap();
    assert!(covered.offset(suite.partition_of(bob)) >= Some(cut.position.offset));
    assert_eq!(listed_following(&suite, bob).await, 0);
    assert_eq!(suite.follow(bob, ada).await, Err("ACCOUNT_NOT_FOUND".into()));
    assert_eq!(suite.follow(ada, bob).await, Err("BLOCKED".into()));

    let heads = suite.settled().await;
    let again = suite.block(ada, bob).await;
    assert_eq!(suite.settled().await, heads);
    let told = suite.relationship(bob, ada, &again).await;
    assert_eq!(
        told,
        Relationship { target_id: ada.to_string(), ..Relationship::default() },
        "as if she were not there"
    );

    let unblocked = suite.unblock(ada, bob).await;
    assert!(!suite.relationship(bob, ada, &unblocked).await.followed_by, "it brings back no follow");
    assert!(suite.follow(bob, ada).await.is_ok());
    suite.settled().await;
    assert!(suite.relationship(bob, ada, "").await.following, "which had seen that the block was over");
}

#[tokio::test]
async fn a_follow_and_a_block_that_race_end_as_the_rule_says() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "pair").await;
    let (mut stood, mut was_cut) = (0, 0);
    for round in 0..40 {
        let block_first = round % 2 == 0;
        let block = async {
            if !block_first {
                tokio::task::yield_now().await;
            }
            suite.block(ada, bob).await;
            suite.unblock(ada, bob).await
        };
        let (_, followed) = tokio::join!(block, suite.follow(bob, ada));
        suite.settled().await;
        let expected = followed.is_ok() && !is_cut_by_the_log(&suite, bob, ada).await;
        assert_eq!(suite.relationship(bob, ada, "").await.following, expected, "round {round}");
        stood += usize::from(expected);
        was_cut += usize::from(followed.is_ok() && !expected);
        suite.unfollow(bob, ada).await;
        suite.settled().await;
    }
    assert!(was_cut > 0, "{stood} follows stood, {was_cut} were cut");
}

/// Whether the last follow in the log had not seen the last block or removal.
pub(super) async fn is_cut_by_the_log(suite: &Suite, follower: RecordId, target: RecordId) -> bool {
    let (mut seen, mut block) = (None, None);
    for record in suite.world.records(topics::IDENTITY).await {
        match record.event {
            Event::Identity(Identity::Followed(e)) if e.follower_id == follower.to_string() => {
                seen = Some(e.seen_target_offset);
            }
            Event::Identity(Identity::Blocked(e)) if e.actor_id == target.to_string() => {
                block = Some(record.position.offset);
            }
            Event::Identity(Identity::FollowerRemoved(e)) if e.actor_id == target.to_string() => {
                block = Some(record.position.offset);
            }
            _ => {}
        }
    }
    seen.zip(block).is_some_and(|(seen, block): (u64, u64)| cuts(block, seen as i64))
}

#[tokio::test]
async fn counts_are_their_lists_and_pages_leave_nobody_out() {
    let suite = Suite::new().await;
    let mut all = Vec::new();
    for n in 0..24 {
        all.push(suite.account(&format!("fan_{n}")).await);
    }
    let star = suite.account("star").await;
    for &fan in &all {
        suite.follow(fan, star).await.unwrap();
        suite.follow(star, fan).await.unwrap();
    }
    for &fan in &all[..6] {
        suite.unfollow(fan, star).await;
    }
    suite.block(star, all[10]).await;
    suite.block(all[11], all[12]).await;
    suite.settled().await;
    for page_size in [1, 5, 17, 100] {
        let (listed, omitted) = listed_followers(&suite, star, star, page_size).await;
        let latest_first = all.iter().enumerate().rev();
        let expected: Vec<String> =
            latest_first.filter(|(n, _)| *n >= 6 && *n != 10).map(|(_, id)| id.to_string()).collect();
        let ids: Vec<String> = listed.iter().map(|entry| entry.account.as_ref().unwrap().account_id.clone()).collect();
        assert_eq!((ids, omitted), (expected, 0), "in pages of {page_size}");
    }
    assert_eq!(follower_count(&suite, star).await, 17);
    assert_eq!(listed_following(&suite, star).await, 23);
    assert_eq!(summary(&suite, star).await, EdgesSummary { following_count: 23, blocking_count: 1 });
    let (listed, omitted) = listed_followers(&suite, all[11], star, 100).await;
    assert_eq!((listed.len(), omitted), (16, 1), "one is hidden by a block");
}

#[tokio::test]
async fn bad_requests_get_their_reason_and_write_nothing() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    let heads = suite.settled().await;
    let nobody = RecordId([0; 16]);
    assert_eq!(suite.follow(ada, ada).await, Err("SELF_NOT_ALLOWED".into()));
    assert_eq!(suite.follow(ada, nobody).await, Err("ACCOUNT_NOT_FOUND".into()));
    let follow = |target_id: &str| FollowRequest { target_id: target_id.into(), ..FollowRequest::default() };
    assert_eq!(reason(&suite.service.follow(by(ada, follow("bob"))).await.unwrap_err()), "ID_MALFORMED");
    let anonymous_follow = suite.service.follow(anonymous(follow(&bob.to_string()))).await.unwrap_err();
    assert_eq!(reason(&anonymous_follow), "UNAUTHENTICATED");
    let block = |target: RecordId| BlockRequest { target_id: target.to_string(), ..BlockRequest::default() };
    assert_eq!(reason(&suite.service.block(by(ada, block(ada))).await.unwrap_err()), "SELF_NOT_ALLOWED");
    assert_eq!(reason(&suite.service.block(by(ada, block(nobody))).await.unwrap_err()), "ACCOUNT_NOT_FOUND");
    let list = |account: RecordId, page_token: &str, page_size: i32| ListFollowersRequest {
        account_id: account.to_string(),
        page_size,
        page_token: page_token.to_owned(),
        at_least: Vec::new(),
    };
    for (request, expected) in [
        (list(nobody, "", 0), "ACCOUNT_NOT_FOUND"),
        (list(bob, "x", 0), "PAGE_TOKEN_INVALID"),
        (list(bob, "", -1), "FIELD_INVALID"),
    ] {
        assert_eq!(reason(&suite.service.list_followers(by(ada, request)).await.unwrap_err()), expected);
    }
    let target_ids = vec![bob.to_string(), "?".to_owned()];
    let batch = BatchGetRelationshipsRequest { target_ids, at_least: Vec::new() };
    let status = suite.service.batch_get_relationships(by(ada, batch)).await.unwrap_err();
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "target_ids[1]");
    assert_eq!(suite.settled().await, heads);
}

#[tokio::test]
async fn a_page_token_is_of_one_list_of_one_account() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    let cyd = suite.account("cyd").await;
    for who in [ada, bob] {
        suite.follow(who, cyd).await.unwrap();
    }
    suite.settled().await;
    let first = ListFollowersRequest { account_id: cyd.to_string(), page_size: 1, ..Default::default() };
    let page = suite.service.list_followers(by(ada, first)).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    let other = ListFollowersRequest {
        account_id: bob.to_string(),
        page_token: page.next_page_token.clone(),
        ..Default::default()
    };
    assert_eq!(reason(&suite.service.list_followers(by(ada, other)).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    let other =
        ListFollowingRequest { account_id: cyd.to_string(), page_token: page.next_page_token, ..Default::default() };
    assert_eq!(reason(&suite.service.list_following(by(ada, other)).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}
