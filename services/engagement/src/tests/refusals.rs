//! What bad input gets: its reason, and nothing in the log.

use kith_fold::Token;
use kith_proto::engagement::v1 as proto;
use kith_service::Failure;
use proto::comment_service_server::CommentService;
use proto::engagement_service_server::EngagementService as _;
use proto::reaction_service_server::ReactionService;
use proto::share_service_server::ShareService;
use proto::{
    BatchGetCountsRequest, CreateCommentRequest, ListCommentsRequest, ReactRequest, ShareRequest, Subject,
    UnreactRequest, UnshareRequest,
};

use super::suite::{ADA, BOB, EVE, Suite, by, hex, ok, on_comment, on_post, reason};
use crate::Rejection;

const POST: u8 = 1;
const GONE: u8 = 2;
const NEVER: u8 = 3;

async fn suite() -> (Suite, Token) {
    let suite = Suite::start().await;
    suite.post(POST, ADA).await;
    suite.post(GONE, ADA).await;
    suite.delete(GONE, ADA).await;
    suite.settle().await;
    let heads = suite.everything().await;
    (suite, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_reactions_are_refused() {
    let (suite, heads) = suite().await;
    let good = ReactRequest { subject: Some(on_post(POST)), kind: 1, ..ReactRequest::default() };
    let subject = |subject: Subject| ReactRequest { subject: Some(subject), ..good.clone() };
    let bad_subject = Subject { post_id: hex(POST), comment_id: "c".into() };
    for (bad, expected) in [
        (subject(on_post(NEVER)), "POST_NOT_FOUND"),
        (subject(on_post(GONE)), "POST_NOT_FOUND"),
        (subject(on_comment(POST, &hex(9))), "COMMENT_NOT_FOUND"),
        (subject(on_comment(NEVER, &hex(9))), "POST_NOT_FOUND"),
        (subject(Subject::default()), "ID_MALFORMED"),
        (subject(bad_subject), "ID_MALFORMED"),
        (ReactRequest { subject: None, ..good.clone() }, "FIELD_INVALID"),
        (ReactRequest { kind: 0, ..good.clone() }, "FIELD_INVALID"),
        (ReactRequest { kind: 7, ..good.clone() }, "FIELD_INVALID"),
        (ReactRequest { request_id: "r".repeat(65), ..good.clone() }, "FIELD_INVALID"),
        (ReactRequest { at_least: vec!["no token".into()], ..good.clone() }, "CONSISTENCY_TOKEN_INVALID"),
        (
            ReactRequest { at_least: vec![kith_stage::sealed(&suite.state().as_of()); 9], ..good.clone() },
            "TOO_MANY_TOKENS",
        ),
    ] {
        assert_eq!(reason(suite.service.react(by(BOB, bad.clone())).await), expected, "{bad:?}");
    }
    let nobody = tonic::Request::new(good);
    assert_eq!(reason(suite.service.react(nobody).await), "UNAUTHENTICATED");
    let unreact = UnreactRequest { subject: Some(on_post(GONE)), ..UnreactRequest::default() };
    assert_eq!(reason(suite.service.unreact(by(BOB, unreact)).await), "POST_NOT_FOUND");
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_comments_are_refused() {
    let (suite, heads) = suite().await;
    let good = CreateCommentRequest { post_id: hex(POST), text: "hi".into(), ..CreateCommentRequest::default() };
    let text = |text: &str| CreateCommentRequest { text: text.into(), ..good.clone() };
    let parent = |parent: String| CreateCommentRequest { parent_comment_id: parent, ..good.clone() };
    for (bad, expected) in [
        (text(""), "TEXT_EMPTY"),
        (text(" \n"), "TEXT_EMPTY"),
        (text(&"x".repeat(501)), "TEXT_TOO_LONG"),
        (text("a\0b"), "FIELD_INVALID"),
        (parent(hex(9)), "COMMENT_NOT_FOUND"),
        (parent("9".into()), "ID_MALFORMED"),
        (CreateCommentRequest { post_id: hex(GONE), ..good.clone() }, "POST_NOT_FOUND"),
        (CreateCommentRequest { post_id: hex(NEVER).to_uppercase() + "x", ..good.clone() }, "ID_MALFORMED"),
    ] {
        assert_eq!(reason(suite.service.create_comment(by(BOB, bad.clone())).await), expected, "{bad:?}");
    }
    let list = ListCommentsRequest { post_id: hex(POST), ..ListCommentsRequest::default() };
    for (bad, expected) in [
        (ListCommentsRequest { post_id: hex(GONE), ..list.clone() }, "POST_NOT_FOUND"),
        (ListCommentsRequest { parent_comment_id: hex(9), ..list.clone() }, "COMMENT_NOT_FOUND"),
        (ListCommentsRequest { page_size: -1, ..list.clone() }, "FIELD_INVALID"),
        (ListCommentsRequest { page_token: "nonsense".into(), ..list }, "PAGE_TOKEN_INVALID"),
    ] {
        assert_eq!(reason(suite.service.list_comments(by(BOB, bad.clone())).await), expected, "{bad:?}");
    }
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_shares_and_batches_are_refused() {
    let (suite, heads) = suite().await;
    let share =
        |post: String, via: &str| ShareRequest { post_id: post, via_account_id: via.into(), ..ShareRequest::default() };
    for (bad, expected) in [
        (share(hex(NEVER), ""), "POST_NOT_FOUND"),
        (share(hex(GONE), ""), "POST_NOT_FOUND"),
        (share(String::new(), ""), "ID_MALFORMED"),
        (share(hex(POST), "someone"), "ID_MALFORMED"),
        (share(hex(POST), &hex(EVE)), "ACCOUNT_NOT_FOUND"),
    ] {
        assert_eq!(reason(suite.service.share(by(BOB, bad.clone())).await), expected, "{bad:?}");
    }
    let unshare = UnshareRequest { post_id: hex(NEVER), ..UnshareRequest::default() };
    assert_eq!(reason(suite.service.unshare(by(BOB, unshare)).await), "POST_NOT_FOUND");
    for (subjects, expected) in
        [(vec![on_post(POST); 101], "BATCH_TOO_LONG"), (vec![on_comment(POST, "x")], "ID_MALFORMED")]
    {
        let request = BatchGetCountsRequest { subjects, ..BatchGetCountsRequest::default() };
        assert_eq!(reason(suite.service.batch_get_counts(by(BOB, request)).await), expected);
    }
    let request = BatchGetCountsRequest { subjects: vec![on_post(POST); 100], ..BatchGetCountsRequest::default() };
    assert_eq!(reason(suite.service.batch_get_counts(by(BOB, request)).await), "OK");
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn across_a_block_a_post_is_not_there() {
    let (suite, _) = suite().await;
    suite.block(ADA, BOB).await;
    suite.settle().await;
    let heads = suite.everything().await;
    let react = ReactRequest { subject: Some(on_post(POST)), kind: 1, ..ReactRequest::default() };
    assert_eq!(reason(suite.service.react(by(BOB, react)).await), "POST_NOT_FOUND");
    let share = ShareRequest { post_id: hex(POST), ..ShareRequest::default() };
    assert_eq!(reason(suite.service.share(by(BOB, share)).await), "POST_NOT_FOUND");
    let comment = CreateCommentRequest { post_id: hex(POST), text: "hi".into(), ..CreateCommentRequest::default() };
    assert_eq!(reason(suite.service.create_comment(by(BOB, comment)).await), "POST_NOT_FOUND");
    let list = ListCommentsRequest { post_id: hex(POST), ..ListCommentsRequest::default() };
    assert_eq!(reason(suite.service.list_comments(by(BOB, list)).await), "POST_NOT_FOUND");
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn across_a_block_nobody_is_credited() {
    let (suite, _) = suite().await;
    let share = ShareRequest { post_id: hex(POST), ..ShareRequest::default() };
    ok(suite.service.share(by(EVE, share.clone())).await);
    suite.block(EVE, BOB).await;
    suite.settle().await;
    let heads = suite.everything().await;
    let via = ShareRequest { via_account_id: hex(EVE), ..share };
    assert_eq!(reason(suite.service.share(by(BOB, via)).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(Failure::from(Rejection::ViaNotFound).field_violations()[0].field, "via_account_id");
    assert_eq!(suite.everything().await, heads);
}
