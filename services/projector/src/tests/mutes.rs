//! Mutes in a home feed: what they keep away, when they end, what they cost.

use std::time::Duration;

use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::feeds::v1::{CitedEvent, CitedFor, FeedFinding, FeedOutcome};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{MuteScopes, Muted};
use kith_proto::time;
use kith_relations::mute::MUTES;

use super::feeds::{ADA, BOB, EVE, ask, follow, scene, write};
use super::history::{Op, Writer, person};
use super::suite::Suite;

fn mute(whom: usize, posts: bool, shares: bool) -> Op {
    Op::Mute { who: ADA, whom, posts, shares, ended: None }
}

/// The posts on ada's first page, by number, each with who shared it.
async fn home(suite: &Suite) -> Vec<(String, Option<String>)> {
    suite.settle().await;
    let page = suite.home_page(person(ADA), ask(50, "")).await.unwrap();
    assert_eq!(page.omitted_count, 0, "what is muted is no part of it");
    let item = |item: kith_proto::feeds::v1::FeedItem| {
        let shared_by = match item.reason.and_then(|reason| reason.reason) {
            Some(Reason::SharedBy(by)) => Some(by.account_id),
            _ => None,
        };
        (item.post.unwrap().text, shared_by)
    };
    page.items.into_iter().map(item).collect()
}

/// Ada follows both; bob wrote a post, eve shared it and wrote one, which bob shared.
async fn two_who_share() -> (Suite, Writer) {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, follow(ADA, EVE)).await;
    for (post, (who, sharer)) in [(BOB, EVE), (EVE, BOB)].into_iter().enumerate() {
        write(&suite, &mut writer, Op::Post { who }).await;
        write(&suite, &mut writer, Op::Share { who: sharer, post }).await;
    }
    (suite, writer)
}

fn own(text: &str) -> (String, Option<String>) {
    (text.to_owned(), None)
}

#[tokio::test(start_paused = true)]
async fn a_mute_keeps_away_posts_whoever_shares_them_and_shares_of_whom_it_is_about() {
    let (suite, mut writer) = two_who_share().await;
    let all = vec![own("post 1"), own("post 0")];
    assert_eq!(home(&suite).await, all);
    write(&suite, &mut writer, mute(BOB, true, false)).await;
    assert_eq!(home(&suite).await, [own("post 1")], "eve's share of it too");
    write(&suite, &mut writer, mute(BOB, false, true)).await;
    assert_eq!(home(&suite).await, all);
    write(&suite, &mut writer, Op::Unfollow { who: ADA, whom: EVE }).await;
    assert_eq!(home(&suite).await, [own("post 0")], "only bob's share would show the other");
    write(&suite, &mut writer, Op::Unmute { who: ADA, whom: BOB }).await;
    assert_eq!(home(&suite).await, [("post 1".to_owned(), Some(person(BOB).to_string())), own("post 0")]);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_a_muted_and_another_account_share_is_shown_by_the_other() {
    let (suite, mut writer) = scene().await;
    writer.people = 4;
    let joe = 3;
    for whom in [EVE, joe] {
        write(&suite, &mut writer, follow(ADA, whom)).await;
    }
    write(&suite, &mut writer, Op::Unfollow { who: ADA, whom: BOB }).await;
    write(&suite, &mut writer, Op::Post { who: BOB }).await;
    for who in [EVE, joe] {
        write(&suite, &mut writer, Op::Share { who, post: 0 }).await;
    }
    let by = |who: usize| vec![("post 0".to_owned(), Some(person(who).to_string()))];
    assert_eq!(home(&suite).await, by(joe), "the newest share");
    write(&suite, &mut writer, mute(joe, false, true)).await;
    assert_eq!(home(&suite).await, by(EVE));
}

/// The page is remembered meanwhile, and no record says that the time has come.
#[tokio::test(start_paused = true)]
async fn a_mute_ends_by_itself_on_a_page_that_is_remembered() {
    let (suite, mut writer) = two_who_share().await;
    let now_ms = suite.ports.runtime.now_ms();
    let muted = |whom: usize, after_ms: i64| Muted {
        actor_id: person(ADA).to_string(),
        target_id: person(whom).to_string(),
        scopes: Some(MuteScopes { posts: true, shares: true, ..MuteScopes::default() }),
        end_time: Some(time::timestamp(now_ms + after_ms)),
        create_time: Some(time::timestamp(now_ms)),
    };
    suite.append(person(901), Identity::Muted(muted(BOB, 60_000))).await;
    suite.append(person(902), Identity::Muted(muted(EVE, 120_000))).await;
    let heads = suite.everything().await;
    for (after_ms, expected) in
        [(0, vec![]), (60_000, vec![own("post 0")]), (60_000, vec![own("post 1"), own("post 0")])]
    {
        suite.ports.runtime.sleep(Duration::from_millis(after_ms)).await;
        for _ in 0..2 {
            assert_eq!(home(&suite).await, expected);
        }
    }
    assert_eq!(suite.everything().await, heads, "nothing was appended");
    let told = suite.explain(person(ADA), writer.first_post(), true).await.unwrap();
    assert!(told.shown);
    write(&suite, &mut writer, mute(BOB, true, true)).await;
    suite.settle().await;
    let told = suite.explain(person(ADA), writer.first_post(), true).await.unwrap();
    let outcomes: Vec<FeedOutcome> = told.findings.iter().map(FeedFinding::outcome).collect();
    assert_eq!((told.shown, outcomes), (false, vec![FeedOutcome::Muted; 2]), "eve's share of it too");
    let cited: Vec<CitedFor> = told.findings[0].events.iter().map(CitedEvent::cited_for).collect();
    assert_eq!(cited, [CitedFor::Made, CitedFor::Follow, CitedFor::Mute]);
}

#[tokio::test(start_paused = true)]
async fn a_page_asks_for_mutes_once_and_never_for_whoever_mutes_nobody() {
    let (suite, mut writer) = two_who_share().await;
    suite.settle().await;
    let reads = || async {
        suite.store.take_reads();
        home(&suite).await;
        suite.store.take_reads()
    };
    let before = reads().await;
    assert_eq!((before.get(MUTES.name), before.get("home") > Some(&0)), (None, true), "{before:?}");
    assert_eq!(reads().await.values().sum::<usize>(), 0, "it is remembered");
    // Of somebody who is on no page: what is read is the same, but for the mutes.
    write(&suite, &mut writer, Op::Mute { who: ADA, whom: 2, posts: false, shares: false, ended: Some(false) }).await;
    suite.settle().await;
    let mut after = reads().await;
    assert_eq!(after.remove(MUTES.name), Some(1), "{after:?}");
    assert!(after.iter().all(|(table, reads)| before.get(table).is_some_and(|known| reads <= known)), "{after:?}");
    assert_eq!(reads().await.values().sum::<usize>(), 0, "it is remembered");
}
