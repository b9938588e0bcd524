//! Folds that stand still: pages and explanations say so, on replicas that only serve too.

use kith_fold::Standstill;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::feeds::v1::{ExplainFeedEntryRequest, GetAuthorFeedRequest};

use super::feeds::{ADA, BOB, ask, scene, write};
use super::history::{Op, person};
use super::suite::{Suite, as_caller, reason};
use crate::{Feeds, group};

async fn are_incomplete(feeds: &Feeds, post_id: &str) -> [bool; 3] {
    let author = GetAuthorFeedRequest { account_id: person(BOB).to_string(), ..GetAuthorFeedRequest::default() };
    let explain = ExplainFeedEntryRequest { post_id: post_id.to_owned(), ..ExplainFeedEntryRequest::default() };
    [
        feeds.get_home_feed(as_caller(person(ADA), ask(9, ""))).await.unwrap().into_inner().incomplete,
        feeds.get_author_feed(as_caller(person(ADA), author)).await.unwrap().into_inner().incomplete,
        feeds.explain_feed_entry(as_caller(person(ADA), explain)).await.unwrap().into_inner().incomplete,
    ]
}

#[tokio::test(start_paused = true)]
async fn paused_feeds_are_not_whole() {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, Op::Post { who: BOB }).await;
    suite.settle().await;
    let page = suite.home_page(person(ADA), ask(9, "")).await.unwrap();
    let post_id = page.items[0].post.clone().unwrap().post_id;
    let serving = kith_stage::projection(&suite.ports, group(1, suite.settings), false).await.unwrap();
    let (here, there) = (suite.feeds(), Suite::feeds_of(&serving));
    for feeds in [&here, &there] {
        assert_eq!(are_incomplete(feeds, &post_id).await, [false; 3]);
    }
    kith_stage::pause(suite.projection()).await;
    kith_stage::until_standstill(&serving, Some(&Standstill::Paused)).await;
    for feeds in [&here, &there] {
        assert_eq!(are_incomplete(feeds, &post_id).await, [true; 3]);
        let unknown = ExplainFeedEntryRequest { post_id: "f".repeat(32), ..ExplainFeedEntryRequest::default() };
        let refused = feeds.explain_feed_entry(as_caller(person(ADA), unknown)).await.unwrap_err();
        assert_eq!(reason(&refused), "FOLD_STOPPED");
    }
    kith_stage::resume(suite.projection()).await;
    kith_stage::until_standstill(&serving, None).await;
    for feeds in [&here, &there] {
        assert_eq!(are_incomplete(feeds, &post_id).await, [false; 3]);
    }
}
