//! Why a post is in a home feed, or is not, and what of it is told to whom.

use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::feeds::v1::{
    CitedEvent, CitedFor, ExplainFeedEntryRequest, ExplainFeedEntryResponse, FeedFinding, FeedOutcome,
};
use kith_proto::identity::v1::Followed;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_tables::MAX_SLICE_ROWS;

use super::feeds::{ADA, BOB, EVE, follow, scene, stop_a_fold, write};
use super::history::{Op, Writer, person};
use super::suite::{Suite, as_caller};
use crate::explain::{FINDINGS_MAX, FOLLOWS_MAX};
use crate::rpcs::EVENT_TIMES_MAX;
/// Ada follows all up to the last, but eve; nobody needs an account for that here.
async fn follow_up_to(suite: &Suite, writer: &mut Writer, last: usize) {
    writer.people = last + 1;
    let follower_id = person(ADA).to_string();
    let appends = (EVE + 1..=last).map(|whom| {
        let (follower_id, target_id) = (follower_id.clone(), person(whom).to_string());
        let followed = Followed { follower_id, target_id, shows_shares: true, ..Followed::default() };
        suite.append(person(100_000 + whom), Identity::Followed(followed))
    });
    futures::future::join_all(appends.collect::<Vec<_>>()).await;
}

/// The id of a new post, shared by these.
async fn post(suite: &Suite, writer: &mut Writer, who: usize, shared_by: impl IntoIterator<Item = usize>) -> String {
    write(suite, writer, Op::Post { who }).await;
    let Some((_, kith_proto::Event::Posts(Posts::PostCreated(created)))) = writer.records.last().cloned() else {
        panic!("no post");
    };
    for who in shared_by {
        write(suite, writer, Op::Share { who, post: writer.post_count() - 1 }).await;
    }
    suite.settle().await;
    created.post_id
}

async fn why(suite: &Suite, reader: usize, post_id: &str) -> Option<ExplainFeedEntryResponse> {
    suite.explain(person(reader), post_id, true).await
}

/// Of each finding.
fn outcomes(why: &ExplainFeedEntryResponse) -> Vec<FeedOutcome> {
    why.findings.iter().map(FeedFinding::outcome).collect()
}

/// What the events of the first finding, the author's, are cited for.
fn cited(why: &ExplainFeedEntryResponse) -> Vec<CitedFor> {
    why.findings[0].events.iter().map(CitedEvent::cited_for).collect()
}

#[tokio::test(start_paused = true)]
async fn follows_beyond_the_first_page_are_known() {
    let (suite, mut writer) = scene().await;
    let last = MAX_SLICE_ROWS + 50;
    follow_up_to(&suite, &mut writer, last).await;
    let own = post(&suite, &mut writer, last, []).await;
    let shared = post(&suite, &mut writer, EVE, [BOB, last - 1]).await;
    let told = why(&suite, ADA, &own).await.unwrap();
    assert_eq!((told.shown, told.incomplete, outcomes(&told)), (true, false, vec![FeedOutcome::Shown]));
    let told = why(&suite, ADA, &shared).await.unwrap();
    let expected = vec![FeedOutcome::NotFollowed, FeedOutcome::Shown, FeedOutcome::Shown];
    assert_eq!((told.shown, told.incomplete, outcomes(&told)), (true, false, expected));
    assert_eq!(told.findings[2].account_id, person(last - 1).to_string());
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_that_not_all_follows_were_looked_at() {
    let (suite, mut writer) = scene().await;
    let last = FOLLOWS_MAX + EVE;
    follow_up_to(&suite, &mut writer, last).await;
    // The author's follow is known even so.
    let own = post(&suite, &mut writer, last, []).await;
    let told = why(&suite, ADA, &own).await.unwrap();
    assert_eq!((told.shown, told.incomplete), (true, true));
    let shared = post(&suite, &mut writer, EVE, [last]).await;
    let told = why(&suite, ADA, &shared).await.unwrap();
    assert_eq!((told.shown, told.incomplete, outcomes(&told)), (false, true, vec![FeedOutcome::NotFollowed]));
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_that_it_leaves_findings_out() {
    let (suite, mut writer) = scene().await;
    let last = EVE + FINDINGS_MAX;
    follow_up_to(&suite, &mut writer, last).await;
    let few = post(&suite, &mut writer, BOB, EVE + 1..last).await;
    let told = why(&suite, ADA, &few).await.unwrap();
    assert_eq!((told.findings.len(), told.incomplete), (FINDINGS_MAX, false));
    let many = post(&suite, &mut writer, BOB, EVE + 1..=last).await;
    let told = why(&suite, ADA, &many).await.unwrap();
    assert_eq!((told.findings.len(), told.incomplete), (FINDINGS_MAX, true));
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_that_a_part_of_the_log_stands_still() {
    let (suite, mut writer) = scene().await;
    let post_id = post(&suite, &mut writer, BOB, []).await;
    stop_a_fold(&suite).await;
    let told = why(&suite, ADA, &post_id).await.unwrap();
    assert_eq!((told.shown, told.incomplete), (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_was_taken_back_is_not_told_to_whom_it_was_against() {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, follow(EVE, BOB)).await;
    let post_id = post(&suite, &mut writer, BOB, []).await;
    let block = write(&suite, &mut writer, Op::Block { who: BOB, whom: ADA }).await;
    write(&suite, &mut writer, Op::Cut { who: ADA, whom: BOB, block_offset: block.offset }).await;
    suite.settle().await;
    assert_eq!(why(&suite, ADA, &post_id).await, None);
    write(&suite, &mut writer, Op::Unblock { who: BOB, whom: ADA }).await;
    // Eve's follow ended by her own will.
    write(&suite, &mut writer, Op::Unfollow { who: EVE, whom: BOB }).await;
    suite.settle().await;
    let told = why(&suite, ADA, &post_id).await.unwrap();
    assert_eq!((outcomes(&told), cited(&told)), (vec![FeedOutcome::NotFollowed], vec![CitedFor::Made]));
    assert_eq!(why(&suite, EVE, &post_id).await.unwrap().findings, told.findings);
}

#[tokio::test(start_paused = true)]
async fn no_record_is_cited_for_the_end_of_a_follow_that_it_did_not_end() {
    let (suite, mut writer) = scene().await;
    let post_id = post(&suite, &mut writer, BOB, []).await;
    let told = why(&suite, ADA, &post_id).await.unwrap();
    assert_eq!(cited(&told), [CitedFor::Made, CitedFor::Follow]);
    let with_block = vec![CitedFor::Made, CitedFor::Block];
    // Eve never followed: her row is there for her block.
    for who in [ADA, EVE] {
        write(&suite, &mut writer, Op::Unfollow { who: ADA, whom: BOB }).await;
        write(&suite, &mut writer, Op::Block { who, whom: BOB }).await;
        suite.settle().await;
        let told = why(&suite, who, &post_id).await.unwrap();
        assert_eq!((outcomes(&told), cited(&told)), (vec![FeedOutcome::Blocked], with_block.clone()));
        write(&suite, &mut writer, Op::Unblock { who, whom: BOB }).await;
        suite.settle().await;
        let told = why(&suite, who, &post_id).await.unwrap();
        assert_eq!((outcomes(&told), cited(&told)), (vec![FeedOutcome::NotFollowed], vec![CitedFor::Made]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_post_is_explained_only_to_whom_it_may_have_reached() {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, Op::Block { who: EVE, whom: BOB }).await;
    write(&suite, &mut writer, Op::Unblock { who: EVE, whom: BOB }).await;
    let post_id = post(&suite, &mut writer, BOB, [ADA]).await;
    assert!(why(&suite, EVE, &post_id).await.is_some());
    write(&suite, &mut writer, Op::Delete { post: 0 }).await;
    suite.settle().await;
    // A stranger, and the author's own: as where posts are read.
    assert_eq!((why(&suite, EVE, &post_id).await, why(&suite, BOB, &post_id).await), (None, None));
    let told = why(&suite, ADA, &post_id).await.unwrap();
    let all = [CitedFor::Made, CitedFor::Ended, CitedFor::Follow];
    assert_eq!((outcomes(&told), cited(&told)), (vec![FeedOutcome::PostDeleted], all.to_vec()));
    write(&suite, &mut writer, Op::Unfollow { who: ADA, whom: BOB }).await;
    write(&suite, &mut writer, follow(EVE, ADA)).await;
    suite.settle().await;
    assert_eq!(cited(&why(&suite, ADA, &post_id).await.unwrap()), all[..2]);
    assert_eq!(outcomes(&why(&suite, EVE, &post_id).await.unwrap()), [FeedOutcome::PostDeleted; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_times_of_events_are_read_a_few_at_a_time_whoever_asks() {
    let (suite, mut writer) = scene().await;
    follow_up_to(&suite, &mut writer, EVE + 20).await;
    let post_id = post(&suite, &mut writer, BOB, EVE + 1..=EVE + 20).await;
    let feeds = suite.feeds();
    suite.log.take();
    let ask = || {
        let ask = ExplainFeedEntryRequest { post_id: post_id.clone(), include_shares: true, at_least: Vec::new() };
        feeds.explain_feed_entry(as_caller(person(ADA), ask))
    };
    for told in futures::future::join_all((0..3).map(|_| ask())).await {
        let findings = told.unwrap().into_inner().findings;
        let times: Vec<bool> =
            findings.iter().flat_map(|f| &f.events).map(|event| event.event_time.is_some()).collect();
        assert_eq!(times, (0..2 * 21).map(|n| n < EVENT_TIMES_MAX).collect::<Vec<_>>());
    }
    assert_eq!(suite.log.take(), (3 * EVENT_TIMES_MAX, 4));
}
