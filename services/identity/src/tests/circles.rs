//! Removed followers, mutes, own lists and counts, over the embedded log and tables.

use kith_proto::identity::v1::{
    BatchGetAccountsRequest, FollowEntry, ListBlocksRequest, ListMutesRequest, ListMutualsRequest, MuteEntry,
    MuteRequest, MuteScopes, RemoveFollowerRequest, UnmuteRequest,
};
use kith_proto::time;

use super::graph::{apart, is_cut_by_the_log, listed_followers, listed_following};
use super::*;

const POSTS: MuteScopes =
    MuteScopes { posts: true, shares: false, replies: false, notifications: false, conversations: false };

impl Suite {
    /// The answer's token, and whether the other still follows.
    async fn remove(&self, who: RecordId, follower: RecordId) -> (String, bool) {
        let request = RemoveFollowerRequest { target_id: follower.to_string(), ..Default::default() };
        let answer = self.service.remove_follower(by(who, request)).await.unwrap().into_inner();
        (answer.consistency_token, answer.relationship.unwrap().followed_by)
    }

    async fn mute(
        &self,
        who: RecordId,
        whom: RecordId,
        scopes: MuteScopes,
        end_us: Option<i64>,
    ) -> Result<String, String> {
        let (scopes, end_time) = (Some(scopes), end_us.map(time::of_us));
        let request = MuteRequest { target_id: whom.to_string(), scopes, end_time, ..MuteRequest::default() };
        let answer = self.service.mute(by(who, request)).await;
        answer.map(|response| response.into_inner().consistency_token).map_err(|status| reason(&status))
    }

    /// The counts of an account, as the viewer is told.
    async fn counts(&self, viewer: RecordId, of: RecordId) -> (u64, u64) {
        let request = BatchGetAccountsRequest { account_ids: vec![of.to_string()], ..Default::default() };
        let mut answer = self.service.batch_get_accounts(by(viewer, request)).await.unwrap().into_inner();
        let counts = answer.entries.remove(0).account.unwrap().counts.unwrap();
        (counts.follower_count, counts.following_count)
    }

    async fn mutes(&self, who: RecordId, page_size: i32) -> (Vec<MuteEntry>, u32) {
        let (mut all, mut omitted, mut page_token) = (Vec::new(), 0, String::new());
        loop {
            let request = ListMutesRequest { page_size, page_token, ..ListMutesRequest::default() };
            let page = self.service.list_mutes(by(who, request)).await.unwrap().into_inner();
            all.extend(page.mutes);
            omitted += page.omitted_count;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return (all, omitted);
            }
        }
    }
}

fn ids(entries: impl IntoIterator<Item = FollowEntry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.account.unwrap().account_id).collect()
}

#[tokio::test]
async fn a_removed_follower_follows_no_longer_and_may_follow_again() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    suite.follow(bob, ada).await.unwrap();
    suite.follow(ada, bob).await.unwrap();
    let (token, still) = suite.remove(ada, bob).await;
    assert!(!still);
    let covered = kith_stage::opened(&token);
    let records = suite.world.records(topics::IDENTITY).await;
    let cut = records.iter().find(|record| matches!(record.event, Event::Identity(Identity::FollowCut(_)))).unwrap();
    assert!(covered.offset(suite.partition_of(bob)) >= Some(cut.position.offset), "its token stands for the cut");
    let seen = suite.relationship(bob, ada, &token).await;
    assert!(!seen.following && seen.followed_by, "ada's own follow stands");
    assert_eq!(suite.counts(ada, ada).await, (0, 1));

    let heads = suite.settled().await;
    suite.remove(ada, bob).await;
    suite.remove(bob, RecordId([9; 16])).await;
    assert_eq!(suite.settled().await, heads, "there is nothing to end");

    let again = suite.follow(bob, ada).await.unwrap();
    suite.settled().await;
    assert!(suite.relationship(bob, ada, &again).await.following, "which had seen the removal");
    let request = RemoveFollowerRequest { target_id: ada.to_string(), ..Default::default() };
    assert_eq!(reason(&suite.service.remove_follower(by(ada, request)).await.unwrap_err()), "SELF_NOT_ALLOWED");
}

/// The follow is in the log, and nobody has folded it: that there is nothing to end is not told before it is.
#[tokio::test]
async fn tables_that_are_behind_are_no_reason_to_say_that_nobody_follows() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    suite.settled().await;
    let Suite { service, projection, world } = suite;
    drop(service);
    projection.serving().unwrap().end().await;
    let (projection, service) = world.replica(false).await;
    let mut suite = Suite { service, projection, world };
    suite.follow(bob, ada).await.unwrap();
    let request = RemoveFollowerRequest { target_id: bob.to_string(), ..Default::default() };
    let mut remove = by(ada, request);
    remove.extensions_mut().insert(Deadline::after(Duration::from_millis(50)));
    assert_eq!(reason(&suite.service.remove_follower(remove).await.unwrap_err()), "BEHIND_TOKEN");
    (suite.projection, suite.service) = suite.world.replica(true).await;
    assert!(!suite.remove(ada, bob).await.1);
    assert!(!suite.relationship(bob, ada, "").await.following);
}

#[tokio::test]
async fn a_follow_and_a_removal_that_race_end_as_the_rule_says() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "pair").await;
    let (mut stood, mut was_cut) = (0, 0);
    for round in 0..40 {
        suite.follow(bob, ada).await.unwrap();
        suite.settled().await;
        // The removal needs a follow to end; the one that races with it has other settings.
        let louder = FollowRequest { target_id: ada.to_string(), notify: true, ..FollowRequest::default() };
        let remove = async {
            for _ in 0..round % 4 {
                tokio::task::yield_now().await;
            }
            suite.remove(ada, bob).await
        };
        let (_, followed) = tokio::join!(remove, suite.service.follow(by(bob, louder)));
        assert!(followed.is_ok());
        suite.settled().await;
        let expected = !is_cut_by_the_log(&suite, bob, ada).await;
        assert_eq!(suite.relationship(bob, ada, "").await.following, expected, "round {round}");
        stood += usize::from(expected);
        was_cut += usize::from(!expected);
        suite.unfollow(bob, ada).await;
        suite.settled().await;
    }
    assert!(was_cut > 0, "{stood} follows stood, {was_cut} were cut");
}

#[tokio::test]
async fn a_mute_is_known_to_its_owner_alone_and_ends_by_itself() {
    let suite = Suite::new().await;
    let (ada, bob) = apart(&suite, "one").await;
    let eve = suite.account("eve").await;
    let followed = suite.follow(bob, ada).await.unwrap();
    let before = suite.relationship(bob, ada, &followed).await;
    let now_us = suite.world.ports.runtime.now_ms() * 1_000;
    let (over, ahead) = (now_us - 1_000_000, now_us + 3_600_000_000);
    let token = suite.mute(ada, bob, MuteScopes::default(), Some(ahead)).await.unwrap();
    suite.mute(ada, eve, POSTS, Some(over)).await.unwrap();
    let heads = suite.settled().await;
    suite.mute(ada, bob, MuteScopes::default(), Some(ahead)).await.unwrap();
    assert_eq!(suite.settled().await, heads, "it is muted so already");

    let told = suite.relationship(ada, bob, &token).await;
    assert!(told.muting && told.followed_by && told.mute_time.is_some());
    assert_eq!(told.mute_end_time, Some(time::of_us(ahead)));
    let all = MuteScopes { posts: true, shares: true, replies: true, notifications: true, conversations: true };
    assert_eq!(told.mute_scopes, Some(all), "none asked for are all");
    assert!(!suite.relationship(ada, eve, "").await.muting, "it has ended");
    assert_eq!(suite.relationship(bob, ada, &token).await, before, "nobody else is told");
    for page_size in [1, 50] {
        let (listed, omitted) = suite.mutes(ada, page_size).await;
        let of = |entry: &MuteEntry| {
            let mute = entry.mute.clone().unwrap();
            (entry.account.as_ref().unwrap().account_id.clone(), mute.ended, mute.scopes)
        };
        let expected = [(eve.to_string(), true, Some(POSTS)), (bob.to_string(), false, Some(all))];
        assert_eq!((listed.iter().map(of).collect::<Vec<_>>(), omitted), (expected.to_vec(), 0));
    }
    assert_eq!(suite.mutes(bob, 50).await, (Vec::new(), 0));

    suite.block(eve, ada).await;
    suite.settled().await;
    assert_eq!(suite.mutes(ada, 50).await.1, 1, "who blocks is not there");
    assert_eq!(suite.mute(ada, eve, all, None).await, Err("ACCOUNT_NOT_FOUND".into()));
    assert_eq!(suite.mute(ada, ada, all, None).await, Err("SELF_NOT_ALLOWED".into()));
    let unmute = UnmuteRequest { target_id: bob.to_string(), ..UnmuteRequest::default() };
    suite.service.unmute(by(ada, unmute.clone())).await.unwrap();
    let heads = suite.settled().await;
    suite.service.unmute(by(ada, unmute)).await.unwrap();
    assert_eq!((suite.settled().await, suite.mutes(ada, 50).await.0), (heads, Vec::new()));
}

#[tokio::test]
async fn own_lists_are_newest_first_and_counts_are_the_same_for_everybody() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    let mut all = Vec::new();
    for n in 0..6 {
        all.push(suite.account(&format!("person_{n}")).await);
    }
    for &other in &all {
        suite.follow(ada, other).await.unwrap();
        suite.follow(other, ada).await.unwrap();
    }
    suite.unfollow(all[1], ada).await;
    suite.unfollow(ada, all[2]).await;
    suite.follow(ada, all[2]).await.unwrap();
    for blocked in [all[3], all[5], all[4]] {
        suite.block(ada, blocked).await;
    }
    suite.unblock(ada, all[5]).await;
    suite.settled().await;
    let named = |numbers: &[usize]| numbers.iter().map(|&n| all[n].to_string()).collect::<Vec<_>>();
    for page_size in [1, 2, 50] {
        let (mut mutuals, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListMutualsRequest { page_size, page_token, ..ListMutualsRequest::default() };
            let page = suite.service.list_mutuals(by(ada, request)).await.unwrap().into_inner();
            mutuals.extend(ids(page.mutuals));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(mutuals, named(&[2, 0]), "in pages of {page_size}");
    }
    let page = suite.service.list_blocks(by(ada, ListBlocksRequest::default())).await.unwrap().into_inner();
    let blocked: Vec<String> = page.blocks.into_iter().map(|entry| entry.account.unwrap().account_id).collect();
    assert_eq!(blocked, named(&[4, 3]));
    // 0, 1 and 2 are followed, 0 and 2 follow back.
    assert_eq!(suite.counts(ada, ada).await, (2, 3));
    assert_eq!(listed_following(&suite, ada).await, 3);
    suite.block(all[0], all[2]).await;
    suite.settled().await;
    assert_eq!(suite.counts(all[2], ada).await, (2, 3), "the same for who is in a block");
    let (listed, omitted) = listed_followers(&suite, all[2], ada, 50).await;
    assert_eq!((ids(listed), omitted), (named(&[2]), 1), "what is listed and what is left out are the count");
    // Who blocks the caller too is in no list of the caller's.
    suite.block(all[4], ada).await;
    suite.settled().await;
    let page = suite.service.list_blocks(by(ada, ListBlocksRequest::default())).await.unwrap().into_inner();
    assert_eq!((page.blocks.len(), page.omitted_count), (1, 1));
}
