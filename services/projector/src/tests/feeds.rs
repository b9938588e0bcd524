//! The RPCs: what they answer, what they refuse.

use std::time::Duration;

use kith_log::headers;
use kith_log::{NewRecord, Position, topics};
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::feeds::v1::{GetAuthorFeedRequest, GetAuthorFeedResponse, GetHomeFeedRequest, WaitForRequest};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountCreated, Blocked, Followed};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_service::deadline::Deadline;
use tonic::{Code, Request, Status};

use super::history::{Op, Writer, person};
use super::suite::{Suite, as_caller, reason};
use crate::group;

pub(super) const ADA: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const EVE: usize = 2;

/// Three people at rest: ada follows bob, shares included; eve is there.
pub(super) async fn scene() -> (Suite, Writer) {
    let suite = Suite::start(10_000, 1).await;
    suite.store.rest();
    let mut writer = Writer::new(3);
    for (id, event) in writer.records.clone() {
        suite.append(id, event).await;
    }
    write(&suite, &mut writer, follow(ADA, BOB)).await;
    suite.settle().await;
    (suite, writer)
}

pub(super) async fn write(suite: &Suite, writer: &mut Writer, op: Op) -> Position {
    let (id, event) = writer.write(&op).unwrap();
    suite.append(id, event).await
}

pub(super) fn follow(who: usize, whom: usize) -> Op {
    Op::Follow { who, whom, shows_shares: true, window_hours: 10_000, seen: 0 }
}

pub(super) fn ask(page_size: i32, page_token: &str) -> GetHomeFeedRequest {
    GetHomeFeedRequest { include_shares: true, page_size, page_token: page_token.to_owned(), at_least: Vec::new() }
}

fn ask_author(whose: usize, page_token: &str) -> GetAuthorFeedRequest {
    let account_id = person(whose).to_string();
    GetAuthorFeedRequest {
        account_id,
        include_shares: true,
        page_size: 1,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

async fn author_page(suite: &Suite, viewer: usize, ask: GetAuthorFeedRequest) -> Result<GetAuthorFeedResponse, Status> {
    Ok(suite.feeds().get_author_feed(as_caller(person(viewer), ask)).await?.into_inner())
}

fn token(position: Position) -> Vec<String> {
    vec![kith_stage::sealed(&position.into())]
}

#[tokio::test(start_paused = true)]
async fn a_token_makes_a_feed_hold_what_it_stands_for() {
    let (suite, mut writer) = scene().await;
    suite.store.stir();
    let posted = write(&suite, &mut writer, Op::Post { who: BOB }).await;
    let request = WaitForRequest { at_least: token(posted) };
    let waited = suite.feeds().wait_for(as_caller(person(EVE), request)).await.unwrap().into_inner();
    suite.store.rest();
    assert_eq!(suite.home_page(person(ADA), ask(1, "")).await.unwrap().items.len(), 1);

    let posted = write(&suite, &mut writer, Op::Post { who: BOB }).await;
    let page =
        suite.home_page(person(ADA), GetHomeFeedRequest { at_least: token(posted), ..ask(9, "") }).await.unwrap();
    assert_eq!((page.items.len(), page.omitted_count, page.incomplete), (2, 0, false));
    assert_eq!(page.items[0].post.as_ref().unwrap().text, "post 1");
    assert_ne!(kith_stage::opened(&page.as_of), kith_stage::opened(&waited.as_of));
    let nobodys = suite.home_page(person(EVE), ask(9, "")).await.unwrap();
    assert_eq!((nobodys.items.len(), &*nobodys.next_page_token), (0, ""));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_reached_in_time_says_roughly_how_far_it_is() {
    let (suite, mut writer) = scene().await;
    let posted = write(&suite, &mut writer, Op::Post { who: BOB }).await;
    let ahead = Position { offset: posted.offset + 41, ..posted };
    suite.settle().await;
    let mut request = as_caller(person(ADA), WaitForRequest { at_least: token(ahead) });
    request.extensions_mut().insert(Deadline::after(Duration::from_millis(300)));
    let status = suite.feeds().wait_for(request).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "BEHIND_TOKEN"));
    assert!(status.message().contains("up to 100 records"), "{}", status.message());
}

#[tokio::test(start_paused = true)]
async fn an_author_feed_is_what_the_author_wrote_and_shared() {
    let (suite, mut writer) = scene().await;
    // Two steps share a moment: each is followed by one that no feed shows.
    for op in [Op::Post { who: EVE }, Op::Post { who: BOB }, Op::Share { who: BOB, post: 0 }, Op::Post { who: BOB }] {
        write(&suite, &mut writer, op).await;
        write(&suite, &mut writer, Op::Comment { who: ADA, post: 0 }).await;
    }
    suite.settle().await;
    let (mut texts, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = author_page(&suite, ADA, ask_author(BOB, &page_token)).await.unwrap();
        texts.extend(page.items.iter().map(|item| (item.post.clone().unwrap().text, item.reason.is_some())));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(texts, [("post 2", false), ("post 0", true), ("post 1", false)].map(|(t, r)| (t.to_owned(), r)));
    let without = GetAuthorFeedRequest { include_shares: false, page_size: 9, ..ask_author(BOB, "") };
    assert_eq!(author_page(&suite, ADA, without).await.unwrap().items.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_post_with_three_reasons_is_shown_once_per_walk() {
    let (suite, mut writer) = scene().await;
    for op in [follow(ADA, EVE), Op::Post { who: BOB }, Op::Share { who: BOB, post: 0 }, Op::Post { who: EVE }] {
        write(&suite, &mut writer, op).await;
    }
    write(&suite, &mut writer, Op::Share { who: EVE, post: 0 }).await;
    suite.settle().await;
    let (mut texts, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = suite.home_page(person(ADA), ask(1, &page_token)).await.unwrap();
        texts.extend(page.items.into_iter().map(|item| item.post.unwrap().text));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(texts, ["post 0", "post 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_account_in_a_block_is_not_there_or_shows_nothing() {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, Op::Post { who: BOB }).await;
    write(&suite, &mut writer, Op::Block { who: BOB, whom: EVE }).await;
    suite.settle().await;
    let status = author_page(&suite, EVE, ask_author(BOB, "")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::NotFound, "ACCOUNT_NOT_FOUND"));
    write(&suite, &mut writer, Op::Block { who: ADA, whom: BOB }).await;
    suite.settle().await;
    let page = author_page(&suite, ADA, ask_author(BOB, "")).await.unwrap();
    assert_eq!((page.items.len(), page.omitted_count), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_by_name_and_write_nothing() {
    let (suite, mut writer) = scene().await;
    for _ in 0..3 {
        write(&suite, &mut writer, Op::Post { who: BOB }).await;
    }
    suite.settle().await;
    let heads = suite.everything().await;
    let next = suite.home_page(person(ADA), ask(1, "")).await.unwrap().next_page_token;
    assert!(!next.is_empty());
    let without_shares = GetHomeFeedRequest { include_shares: false, ..ask(1, &next) };
    let garbled = GetHomeFeedRequest { at_least: vec!["garbled".to_owned()], ..ask(1, "") };
    let too_many = GetHomeFeedRequest { at_least: vec![String::new(); 9], ..ask(1, "") };
    for (reader, ask, expected) in [
        (ADA, ask(-1, ""), "FIELD_INVALID"),
        (ADA, ask(1, "garbled"), "PAGE_TOKEN_INVALID"),
        (EVE, ask(1, &next), "PAGE_TOKEN_INVALID"),
        (ADA, without_shares, "PAGE_TOKEN_INVALID"),
        (ADA, garbled, "CONSISTENCY_TOKEN_INVALID"),
        (ADA, too_many, "TOO_MANY_TOKENS"),
    ] {
        let status = suite.home_page(person(reader), ask).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, expected.to_owned()));
    }
    let malformed = GetAuthorFeedRequest { account_id: "bob".into(), ..ask_author(BOB, "") };
    for (ask, expected) in [
        (ask_author(BOB, &next), "PAGE_TOKEN_INVALID"),
        (ask_author(9, ""), "ACCOUNT_NOT_FOUND"),
        (malformed, "ID_MALFORMED"),
    ] {
        assert_eq!(reason(&author_page(&suite, ADA, ask).await.unwrap_err()), expected);
    }
    let anonymous = suite.feeds().get_home_feed(Request::new(ask(1, ""))).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_only_serves_sees_what_another_folds() {
    let (suite, mut writer) = scene().await;
    let serving = kith_stage::projection(&suite.ports, group(1, suite.settings), false).await.unwrap();
    let posted = write(&suite, &mut writer, Op::Post { who: BOB }).await;
    let request = GetHomeFeedRequest { at_least: token(posted), ..ask(1, "") };
    let feeds = Suite::feeds_of(&serving);
    let page = feeds.get_home_feed(as_caller(person(ADA), request)).await.unwrap().into_inner();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hostile_records_stop_no_fold() {
    let (suite, mut writer) = scene().await;
    let hostile: [kith_proto::Event; 6] = [
        Identity::AccountCreated(AccountCreated::default()).into(),
        Identity::Followed(Followed { follower_id: person(ADA).to_string(), ..Followed::default() }).into(),
        Identity::Blocked(Blocked { actor_id: "a".repeat(20_000), ..Blocked::default() }).into(),
        Identity::Blocked(Blocked::default()).into(),
        Posts::PostCreated(PostCreated::default()).into(),
        Posts::PostCreated(PostCreated { post_id: "p".repeat(20_000), author_id: "x".into(), ..Default::default() })
            .into(),
    ];
    for (n, event) in (100..).zip(hostile) {
        suite.append(person(n), event).await;
    }
    let key = person(BOB).to_string();
    let value = bytes::Bytes::from_static(b"\xff\xff not protobuf");
    let id = kith_log::Header { name: headers::ID.into(), value: person(200).to_string().into() };
    let poison = NewRecord { topic: topics::POSTS, key, headers: vec![id], value };
    suite.ports.log.append(poison).await.unwrap();
    write(&suite, &mut writer, Op::Post { who: BOB }).await;
    suite.settle().await;
    let page = suite.home_page(person(ADA), ask(9, "")).await.unwrap();
    assert_eq!((page.items.len(), page.incomplete), (1, false));
}

pub(super) async fn stop_a_fold(suite: &Suite) {
    // Field 15 of the topic's message: an event newer than this build.
    let value = bytes::Bytes::from_static(&[0x7a, 0x00]);
    let id = kith_log::Header { name: headers::ID.into(), value: person(201).to_string().into() };
    let newer = NewRecord { topic: topics::ENGAGEMENT, key: "any".to_owned(), headers: vec![id], value };
    let at = suite.ports.log.append(newer).await.unwrap();
    let status =
        suite.home_page(person(ADA), GetHomeFeedRequest { at_least: token(at), ..ask(9, "") }).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "FOLD_STOPPED"));
}

#[tokio::test(start_paused = true)]
async fn a_page_says_that_a_part_of_the_log_stands_still() {
    let (suite, mut writer) = scene().await;
    write(&suite, &mut writer, Op::Post { who: BOB }).await;
    suite.settle().await;
    stop_a_fold(&suite).await;
    let page = suite.home_page(person(ADA), ask(9, "")).await.unwrap();
    assert_eq!((page.items.len(), page.incomplete), (1, true));
}
