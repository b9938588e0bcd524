use kith_proto::engagement::v1 as proto;
use proto::comment_service_server::CommentService;
use proto::engagement_service_server::EngagementService as _;
use proto::reaction_service_server::ReactionService;
use proto::{
    BatchGetCountsRequest, BatchGetViewerStatesRequest, CreateCommentRequest, ListCommentsRequest,
    ListCommentsResponse, ReactRequest, UnreactRequest,
};

use super::suite::{ADA, BOB, EVE, Suite, by, hex, ok, on_comment, on_post, reason};

const POST: u8 = 1;

async fn comment(suite: &Suite, author: u8, parent: &str, text: &str, at_least: &str) -> (String, String) {
    let request = CreateCommentRequest {
        post_id: hex(POST),
        parent_comment_id: parent.into(),
        text: text.into(),
        at_least: vec![at_least.to_owned()],
        ..CreateCommentRequest::default()
    };
    let made = ok(suite.service.create_comment(by(author, request)).await);
    (made.comment.unwrap().comment_id, made.consistency_token)
}

fn list(parent: &str, page_size: i32, page_token: &str, at_least: &str) -> ListCommentsRequest {
    ListCommentsRequest {
        post_id: hex(POST),
        parent_comment_id: parent.into(),
        page_size,
        page_token: page_token.into(),
        at_least: vec![at_least.into()],
    }
}

fn texts(page: &ListCommentsResponse) -> Vec<&str> {
    page.comments.iter().map(|comment| comment.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_is_listed_oldest_first_page_by_page() {
    let suite = Suite::start().await;
    let mut token = suite.post(POST, ADA).await;
    let mut first = String::new();
    for n in 0..5 {
        let (id, made) = comment(&suite, BOB, "", &format!("c{n}"), &token).await;
        (first, token) = (if n == 0 { id } else { first }, made);
        // Two comments of one millisecond are ordered by id, which is no order of writing.
        let since = suite.ports.runtime.now_ms();
        while suite.ports.runtime.now_ms() == since {
            tokio::task::yield_now().await;
        }
    }
    let (_, token) = comment(&suite, ADA, &first, "reply", &token).await;
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = ok(suite.service.list_comments(by(EVE, list("", 2, &page_token, &token))).await);
        page_token = page.next_page_token.clone();
        pages.push(page);
        if page_token.is_empty() {
            break;
        }
    }
    let listed: Vec<Vec<&str>> = pages.iter().map(texts).collect();
    assert_eq!(listed, [vec!["c0", "c1"], vec!["c2", "c3"], vec!["c4"]]);
    let replies = ok(suite.service.list_comments(by(EVE, list(&first, 0, "", &token))).await);
    assert_eq!((texts(&replies), replies.comments[0].parent_comment_id.as_str()), (vec!["reply"], first.as_str()));
    let others = list(&first, 2, &pages[0].next_page_token, &token);
    assert_eq!(reason(suite.service.list_comments(by(EVE, others)).await), "PAGE_TOKEN_INVALID");

    let request =
        BatchGetCountsRequest { subjects: vec![on_post(POST), on_comment(POST, &first)], at_least: vec![token] };
    let entries = ok(suite.service.batch_get_counts(by(EVE, request)).await).entries;
    let comments: Vec<u64> = entries.into_iter().map(|entry| entry.counts.unwrap().comment_count).collect();
    assert_eq!(comments, [6, 1], "all levels of the post, direct replies of the comment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_hides_each_from_the_other_at_once() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let (bobs, token) = comment(&suite, BOB, "", "bob's", &posted).await;
    let (_, token) = comment(&suite, EVE, "", "eve's", &token).await;
    let react =
        |subject| ReactRequest { subject: Some(subject), kind: 1, at_least: vec![token.clone()], ..Default::default() };
    let liked = ok(suite.service.react(by(EVE, react(on_comment(POST, &bobs)))).await).consistency_token;
    let blocked = suite.block(BOB, EVE).await;
    let seen = |viewer| {
        by(viewer, ListCommentsRequest { at_least: vec![token.clone(), blocked.clone()], ..list("", 0, "", &token) })
    };
    for (viewer, expected, omitted) in
        [(EVE, vec!["eve's"], 1), (BOB, vec!["bob's"], 1), (ADA, vec!["bob's", "eve's"], 0)]
    {
        let page = ok(suite.service.list_comments(seen(viewer)).await);
        let mut shown = texts(&page);
        // Both may be of one millisecond: then their ids order them.
        shown.sort_unstable();
        assert_eq!((shown, page.omitted_count), (expected, omitted), "{viewer}");
    }
    assert_eq!(reason(suite.service.react(by(EVE, react(on_comment(POST, &bobs)))).await), "COMMENT_NOT_FOUND");
    let reply = CreateCommentRequest {
        post_id: hex(POST),
        parent_comment_id: bobs.clone(),
        text: "!".into(),
        ..Default::default()
    };
    assert_eq!(reason(suite.service.create_comment(by(EVE, reply)).await), "COMMENT_NOT_FOUND");
    let subjects = vec![on_comment(POST, &bobs), on_post(POST)];
    let request = BatchGetCountsRequest { subjects: subjects.clone(), at_least: vec![liked.clone()] };
    let entries = ok(suite.service.batch_get_counts(by(EVE, request)).await).entries;
    assert_eq!(entries.iter().map(|entry| entry.counts.is_some()).collect::<Vec<_>>(), [false, true]);

    let request = BatchGetViewerStatesRequest { subjects, at_least: vec![liked] };
    let states = ok(suite.service.batch_get_viewer_states(by(EVE, request)).await).entries;
    assert_eq!(states[0].viewer_state.unwrap().reaction, 1, "what one did oneself can be seen, and taken back");
    let request = UnreactRequest { subject: Some(on_comment(POST, &bobs)), ..UnreactRequest::default() };
    assert_eq!(reason(suite.service.unreact(by(EVE, request)).await), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_answers_in_the_order_asked() {
    let suite = Suite::start().await;
    let mut at_least = vec![suite.post(POST, ADA).await];
    let (id, token) = comment(&suite, BOB, "", "c", &at_least[0]).await;
    at_least.extend([suite.post(2, ADA).await, suite.delete(2, ADA).await, token]);
    let unknown = on_comment(POST, &hex(9));
    let subjects = vec![on_post(POST), on_post(2), on_post(3), on_comment(POST, &id), unknown, on_post(POST)];
    let request = BatchGetCountsRequest { subjects: subjects.clone(), at_least: at_least.clone() };
    let answer = ok(suite.service.batch_get_counts(by(EVE, request)).await);
    let asked: Vec<_> = answer.entries.iter().map(|entry| entry.subject.clone().unwrap()).collect();
    assert_eq!(asked, subjects);
    let comments: Vec<_> =
        answer.entries.iter().map(|entry| entry.counts.as_ref().map(|counts| counts.comment_count)).collect();
    assert_eq!(comments, [Some(1), None, None, Some(0), None, Some(1)]);
    let request = BatchGetViewerStatesRequest { subjects: subjects.clone(), at_least: vec![answer.as_of] };
    assert_eq!(ok(suite.service.batch_get_viewer_states(by(EVE, request)).await).entries.len(), subjects.len());
}
