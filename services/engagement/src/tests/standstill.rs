//! Folds that stand still: answers say so, and nothing is refused that may only not have been folded.

use kith_proto::engagement::v1 as proto;
use proto::comment_service_server::CommentService;
use proto::engagement_service_server::EngagementService as _;
use proto::reaction_service_server::ReactionService;
use proto::{BatchGetCountsRequest, BatchGetViewerStatesRequest, ListCommentsRequest, ReactRequest};

use super::suite::{ADA, BOB, Suite, by, hex, ok, on_post, reason};

const POST: u8 = 1;
const LATER: u8 = 2;

fn like(post: u8) -> ReactRequest {
    ReactRequest { subject: Some(on_post(post)), kind: 1, ..ReactRequest::default() }
}

async fn are_incomplete(suite: &Suite) -> [bool; 3] {
    let counts = BatchGetCountsRequest { subjects: vec![on_post(POST)], ..BatchGetCountsRequest::default() };
    let states =
        BatchGetViewerStatesRequest { subjects: vec![on_post(POST)], ..BatchGetViewerStatesRequest::default() };
    let comments = ListCommentsRequest { post_id: hex(POST), ..ListCommentsRequest::default() };
    [
        ok(suite.service.batch_get_counts(by(BOB, counts)).await).incomplete,
        ok(suite.service.batch_get_viewer_states(by(BOB, states)).await).incomplete,
        ok(suite.service.list_comments(by(BOB, comments)).await).incomplete,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_came_during_a_pause_is_not_said_to_be_none() {
    let suite = Suite::start().await;
    suite.post(POST, ADA).await;
    suite.settle().await;
    assert_eq!(are_incomplete(&suite).await, [false; 3]);
    suite.pause().await;
    // Also while the tables have all that there is: the log may have grown since anybody looked.
    assert_eq!(are_incomplete(&suite).await, [true; 3]);
    suite.post(LATER, ADA).await;
    assert_eq!(reason(suite.service.react(by(BOB, like(LATER))).await), "FOLD_STOPPED");
    let bad = ReactRequest { kind: 0, ..like(LATER) };
    assert_eq!(reason(suite.service.react(by(BOB, bad)).await), "FIELD_INVALID", "whatever the tables lack");
    suite.resume().await;
    assert_eq!(are_incomplete(&suite).await, [false; 3]);
    ok(suite.service.react(by(BOB, like(LATER))).await);
    assert_eq!(reason(suite.service.react(by(BOB, like(3))).await), "POST_NOT_FOUND");
}
