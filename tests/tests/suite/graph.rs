//! Mutes and removed followers through the wire, over kills of the suite: a home feed is another one for who mutes, and for nobody
//! else, and whoever is removed follows no longer.

use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::identity::v1::{
    BatchGetRelationshipsRequest, GetAccountRequest, ListMutesRequest, MuteRequest, MuteScopes, Relationship,
    RemoveFollowerRequest,
};
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
