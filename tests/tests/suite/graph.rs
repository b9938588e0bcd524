//! Mutes, removed followers and private accounts through the wire, over kills of the suite: a home feed is another one for who mutes, and for nobody
//! else, and whoever is removed follows no longer.

use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::identity::v1::{
    AcceptFollowRequest, BatchGetRelationshipsRequest, FollowRequest, GetAccountRequest, ListFollowRequestsRequest,
    ListFollowersRequest, ListMutesRequest, MuteRequest, MuteScopes, RejectFollowRequest, Relationship,
    RemoveFollowerRequest, UnfollowRequest,
};
use kith_proto::posts::v1::GetPostRequest;
use kith_proto::time;
use kith_runtime::Runtime;
use tonic::Code;

use crate::bad_input::caller::{Account, Caller, World};

/// How far ahead a mute ends that is to end while the test runs.
const SOON_MS: i64 = 4_000;
const PATIENCE_MS: i64 = 30_000;

async fn home(who: &Caller, token: &str) -> Vec<String> {
    let at_least = vec![token.to_owned()];
    let page = who.home(GetHomeFeedRequest { include_shares: true, at_least, ..Default::default() }).await.ok();
    assert!(!page.incomplete);
    page.items.into_iter().map(|item| item.post.unwrap().text).collect()
}

async fn relationship(who: &Caller, whom: &Account, token: &str) -> Relationship {
    let (target_ids, at_least) = (vec![whom.account_id.clone()], vec![token.to_owned()]);
    who.relationships(BatchGetRelationshipsRequest { target_ids, at_least }).await.ok().relationships.remove(0)
}

async fn counts(who: &Caller, of: &Account, token: &str) -> (u64, u64) {
    let (account_id, at_least) = (of.account_id.clone(), vec![token.to_owned()]);
    let account = who.get_account(GetAccountRequest { account_id, at_least }).await.ok().account.unwrap();
    let counts = account.counts.unwrap();
    (counts.follower_count, counts.following_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_empties_one_home_feed_until_it_ends_by_itself() {
    let mut world = World::start().await;
    let [ada, bob, eve] = world.accounts(["ada", "bob", "eve"]).await;
    for who in [&ada, &eve] {
        world.follow(who, &bob).await;
    }
    world.post(&bob, "hello").await;
    let (as_ada, as_bob, as_eve) = (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve));
    let clock = Runtime::system();
    let ends = clock.now_ms() + SOON_MS;
    let mute = MuteRequest {
        target_id: bob.account_id.clone(),
        scopes: Some(MuteScopes { posts: true, ..MuteScopes::default() }),
        end_time: Some(time::timestamp(ends)),
        ..MuteRequest::default()
    };
    let muted = as_ada.mute(mute).await.ok();
    assert!(!muted.mute.unwrap().ended);
    world.crash().await;
    let token = muted.consistency_token;
    if clock.now_ms() + 1_000 < ends {
        assert_eq!(home(&as_ada, &token).await, Vec::<String>::new());
        assert!(relationship(&as_ada, &bob, &token).await.muting);
    }
    assert_eq!(home(&as_eve, &token).await, ["hello"]);
    assert!(!relationship(&as_bob, &ada, &token).await.muting && relationship(&as_bob, &ada, &token).await.followed_by);
    let until = clock.now_ms() + PATIENCE_MS;
    while home(&as_ada, &token).await.is_empty() {
        assert!(clock.now_ms() < until, "the mute never ended");
    }
    assert!(clock.now_ms() >= ends && !relationship(&as_ada, &bob, &token).await.muting);
    let listed = as_ada.mutes(ListMutesRequest { at_least: vec![token], ..Default::default() }).await.ok().mutes;
    assert_eq!(listed.iter().map(|entry| entry.mute.as_ref().unwrap().ended).collect::<Vec<_>>(), [true]);
    let itself = MuteRequest { target_id: ada.account_id.clone(), ..MuteRequest::default() };
    as_ada.mute(itself).await.is(Code::FailedPrecondition, "SELF_NOT_ALLOWED", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_follower_is_in_no_count_and_may_come_back() {
    let mut world = World::start().await;
    let [ada, bob] = world.accounts(["ada", "bob"]).await;
    world.follow(&bob, &ada).await;
    let (as_ada, as_bob) = (world.sign_in(&ada), world.sign_in(&bob));
    assert_eq!((counts(&as_bob, &ada, &bob.token).await, counts(&as_ada, &bob, &bob.token).await), ((1, 0), (0, 1)));
    let remove = RemoveFollowerRequest { target_id: bob.account_id.clone(), ..Default::default() };
    let removed = as_ada.remove_follower(remove).await.ok();
    assert!(!removed.relationship.unwrap().followed_by);
    world.crash().await;
    let token = removed.consistency_token;
    assert!(!relationship(&as_bob, &ada, &token).await.following);
    assert_eq!((counts(&as_bob, &ada, &token).await, counts(&as_ada, &bob, &token).await), ((0, 0), (0, 0)));
    world.follow(&bob, &ada).await;
    assert!(relationship(&as_bob, &ada, &token).await.following, "it had seen the removal");
}

/// Asks, and says whether it waits.
async fn asks(who: &Caller, whom: &Account) -> (bool, String) {
    let follow = FollowRequest { target_id: whom.account_id.clone(), ..Default::default() };
    let asked = who.follow(follow).await.ok();
    let Relationship { requested, following, .. } = asked.relationship.unwrap();
    assert_ne!(requested, following);
    (requested, asked.consistency_token)
}

async fn requests(who: &Caller, sent: bool, token: &str) -> Vec<String> {
    let request = ListFollowRequestsRequest { sent, at_least: vec![token.to_owned()], ..Default::default() };
    let listed = who.follow_requests(request).await.ok().requests;
    listed.into_iter().map(|entry| entry.account.unwrap().account_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_private_account_was_let_and_sees_what_others_do_not() {
    let mut world = World::start().await;
    let [ada, bob, eve] = world.accounts(["ada", "bob", "eve"]).await;
    let post_id = world.post(&ada, "for my followers").await;
    world.set_private(&ada, true).await;
    let (as_ada, as_bob, as_eve) = (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve));
    let (_, _) = (asks(&as_eve, &ada).await, asks(&as_bob, &ada).await);
    world.crash().await;
    let (waits, token) = asks(&as_bob, &ada).await;
    assert!(waits, "again changes nothing");
    assert_eq!(requests(&as_ada, false, &token).await, [bob.account_id.clone(), eve.account_id.clone()]);
    assert_eq!(requests(&as_bob, true, &token).await, std::slice::from_ref(&ada.account_id));
    let read = |token: &str| GetPostRequest { post_id: post_id.clone(), at_least: vec![token.to_owned()] };
    as_bob.get_post(read(&token)).await.is(Code::NotFound, "POST_NOT_FOUND", None);

    let accept = |of: &Account| AcceptFollowRequest { target_id: of.account_id.clone(), ..Default::default() };
    let accepted = as_ada.accept_follow(accept(&bob)).await.ok();
    assert!(accepted.relationship.unwrap().followed_by);
    let reject = RejectFollowRequest { target_id: eve.account_id.clone(), ..Default::default() };
    assert!(!as_ada.reject_follow(reject).await.ok().relationship.unwrap().requested_by);
    as_ada.accept_follow(accept(&eve)).await.is(Code::NotFound, "FOLLOW_REQUEST_NOT_FOUND", None);
    world.crash().await;
    let token = accepted.consistency_token;
    assert_eq!(home(&as_bob, &token).await, ["for my followers"]);
    assert_eq!(as_bob.get_post(read(&token)).await.ok().post.unwrap().post_id, post_id);
    assert_eq!((counts(&as_bob, &ada, &token).await, requests(&as_ada, false, &token).await), ((1, 0), Vec::new()));
    let account_id = ada.account_id.clone();
    let followers = ListFollowersRequest { account_id: account_id.clone(), ..Default::default() };
    as_eve.followers(followers.clone()).await.is(Code::PermissionDenied, "ACCOUNT_PRIVATE", None);
    let of_eve = as_eve.get_account(GetAccountRequest { account_id, at_least: vec![token.clone()] }).await.ok();
    assert_eq!(of_eve.account.unwrap().counts, None);
    as_eve.get_post(read(&token)).await.is(Code::NotFound, "POST_NOT_FOUND", None);

    let unfollow = UnfollowRequest { target_id: ada.account_id.clone(), ..Default::default() };
    let left = as_bob.unfollow(unfollow).await.ok().consistency_token;
    as_bob.get_post(read(&left)).await.is(Code::NotFound, "POST_NOT_FOUND", None);
    world.set_private(&ada, false).await;
    assert!(!asks(&as_eve, &ada).await.0, "it follows at once");
    assert_eq!(as_eve.followers(followers).await.ok().followers.len(), 1);
}
