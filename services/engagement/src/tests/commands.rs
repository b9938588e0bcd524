use kith_proto::engagement::v1 as proto;
use kith_stage::places;
use proto::comment_service_server::CommentService;
use proto::engagement_service_server::EngagementService as _;
use proto::reaction_service_server::ReactionService;
use proto::share_service_server::ShareService;
use proto::{
    BatchGetCountsRequest, BatchGetViewerStatesRequest, Counts, CreateCommentRequest, ReactRequest, ReactionKind,
    ShareRequest, Subject, UnreactRequest, UnshareRequest, ViewerState,
};

use super::suite::{ADA, BOB, EVE, Suite, by, hex, ok, on_comment, on_post, reason};

const POST: u8 = 1;

fn react(subject: Subject, kind: ReactionKind, request_id: &str, at_least: &[&String]) -> ReactRequest {
    let at_least = at_least.iter().map(|&token| token.clone()).collect();
    ReactRequest { subject: Some(subject), kind: kind.into(), request_id: request_id.into(), at_least }
}

async fn counts(suite: &Suite, subject: Subject, at_least: &str) -> Counts {
    let request = BatchGetCountsRequest { subjects: vec![subject], at_least: vec![at_least.to_owned()] };
    let mut answer = ok(suite.service.batch_get_counts(by(EVE, request)).await);
    answer.entries.remove(0).counts.unwrap()
}

async fn viewer_state(suite: &Suite, viewer: u8, subject: Subject, at_least: &str) -> ViewerState {
    let request = BatchGetViewerStatesRequest { subjects: vec![subject], at_least: vec![at_least.to_owned()] };
    let mut answer = ok(suite.service.batch_get_viewer_states(by(viewer, request)).await);
    answer.entries.remove(0).viewer_state.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reaction_is_seen_with_its_token_replaced_and_taken_back() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let liked = ok(suite.service.react(by(BOB, react(on_post(POST), ReactionKind::Like, "r1", &[&posted]))).await);
    let reaction = liked.reaction.unwrap();
    assert_eq!((reaction.actor_id.as_str(), reaction.kind()), (hex(BOB).as_str(), ReactionKind::Like));
    assert!(reaction.create_time.unwrap().seconds > 1_700_000_000);
    let one = counts(&suite, on_post(POST), &liked.consistency_token).await;
    assert_eq!((one.reaction_count, one.reactions_by_kind[0].kind()), (1, ReactionKind::Like));

    let ada = ok(suite.service.react(by(ADA, react(on_post(POST), ReactionKind::Sad, "", &[&posted]))).await);
    let token = &liked.consistency_token;
    let loved = ok(suite
        .service
        .react(by(BOB, react(on_post(POST), ReactionKind::Love, "r2", &[token, &ada.consistency_token])))
        .await);
    let two = counts(&suite, on_post(POST), &loved.consistency_token).await;
    let kinds: Vec<_> = two.reactions_by_kind.iter().map(|one| (one.kind(), one.count)).collect();
    assert_eq!(kinds, [(ReactionKind::Love, 1), (ReactionKind::Sad, 1)]);
    let bobs = viewer_state(&suite, BOB, on_post(POST), &loved.consistency_token).await;
    assert_eq!(bobs.reaction(), ReactionKind::Love);

    let request =
        UnreactRequest { subject: Some(on_post(POST)), at_least: vec![loved.consistency_token], ..Default::default() };
    let none = ok(suite.service.unreact(by(BOB, request)).await);
    assert_eq!(counts(&suite, on_post(POST), &none.consistency_token).await.reaction_count, 1);
    assert_eq!(viewer_state(&suite, BOB, on_post(POST), &none.consistency_token).await, ViewerState::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_repeated_appends_nothing_and_gets_its_answer() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let like = |kind, id: &str, token: &String| by(BOB, react(on_post(POST), kind, id, &[token]));
    let first = ok(suite.service.react(like(ReactionKind::Like, "r1", &posted)).await);
    let love = ok(suite.service.react(like(ReactionKind::Love, "r2", &first.consistency_token)).await);
    let share = |via: String| ShareRequest {
        post_id: hex(POST),
        via_account_id: via,
        request_id: "s".into(),
        at_least: vec![posted.clone()],
    };
    let shared = ok(suite.service.share(by(BOB, share(String::new()))).await);
    suite.settle().await;
    let heads = suite.everything().await;

    let again = ok(suite.service.react(like(ReactionKind::Like, "r1", &love.consistency_token)).await);
    assert_eq!(again.reaction, love.reaction, "a copy is answered with what now stands");
    assert_eq!(viewer_state(&suite, BOB, on_post(POST), &again.consistency_token).await.reaction(), ReactionKind::Love);
    assert_eq!(reason(suite.service.react(like(ReactionKind::Wow, "r1", &posted)).await), "REQUEST_ID_REUSED");
    let already = ok(suite.service.react(like(ReactionKind::Love, "r3", &posted)).await);
    let [row, said] = [&love, &already].map(|answer| places(&answer.consistency_token));
    assert_eq!(said, row, "the position of the row that says so");
    let again = ok(suite.service.share(by(BOB, share(String::new()))).await);
    let tokens = [&again, &shared].map(|answer| kith_stage::opened(&answer.consistency_token));
    assert_eq!((again.share, &tokens[0]), (shared.share, &tokens[1]));
    assert_eq!(reason(suite.service.share(by(BOB, share(hex(EVE)))).await), "REQUEST_ID_REUSED");
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_is_made_once_also_by_a_process_that_came_back() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let say = |text: &str| CreateCommentRequest {
        post_id: hex(POST),
        text: text.into(),
        request_id: "c".into(),
        at_least: vec![posted.clone()],
        ..CreateCommentRequest::default()
    };
    let made = ok(suite.service.create_comment(by(BOB, say("he\u{301}llo"))).await);
    let comment = made.comment.unwrap();
    assert_eq!((comment.text.as_str(), comment.author_id), ("h\u{e9}llo", hex(BOB)));
    assert_eq!(counts(&suite, on_post(POST), &made.consistency_token).await.comment_count, 1);
    let heads = suite.everything().await;
    let suite = suite.restart(false).await;
    let again = ok(suite.service.create_comment(by(BOB, say("he\u{301}llo"))).await);
    assert_eq!(again.comment.unwrap().create_time, comment.create_time);
    assert_eq!(reason(suite.service.create_comment(by(BOB, say("bye"))).await), "REQUEST_ID_REUSED");
    assert_eq!(suite.everything().await, heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_are_reacted_to_on_their_own() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let request =
        CreateCommentRequest { post_id: hex(POST), text: "hi".into(), at_least: vec![posted], ..Default::default() };
    let made = ok(suite.service.create_comment(by(BOB, request)).await);
    let comment_id = made.comment.unwrap().comment_id;
    let on_it = || on_comment(POST, &comment_id);
    let token = &made.consistency_token;
    let liked = ok(suite.service.react(by(ADA, react(on_it(), ReactionKind::Support, "", &[token]))).await);
    assert_eq!(counts(&suite, on_it(), &liked.consistency_token).await.reaction_count, 1);
    assert_eq!(counts(&suite, on_post(POST), &liked.consistency_token).await.reaction_count, 0);
    let adas = viewer_state(&suite, ADA, on_it(), &liked.consistency_token).await;
    assert_eq!((adas.reaction(), adas.shared), (ReactionKind::Support, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_one_an_account_and_post() {
    let suite = Suite::start().await;
    let posted = suite.post(POST, ADA).await;
    let request = ShareRequest { post_id: hex(POST), at_least: vec![posted], ..ShareRequest::default() };
    let mut token = ok(suite.service.share(by(EVE, request)).await).consistency_token;
    let mut ids = Vec::new();
    for (request_id, via) in [("s1", hex(EVE)), ("s2", String::new())] {
        let at_least = vec![token.clone()];
        let request = ShareRequest { post_id: hex(POST), via_account_id: via, request_id: request_id.into(), at_least };
        let answer = ok(suite.service.share(by(BOB, request)).await);
        let share = answer.share.unwrap();
        assert_eq!(share.via_account_id, hex(EVE), "the first one stands");
        ids.push(share.share_id);
        token = answer.consistency_token;
        assert_eq!(counts(&suite, on_post(POST), &token).await.share_count, 2);
    }
    assert_eq!(ids[0], ids[1]);
    assert!(viewer_state(&suite, BOB, on_post(POST), &token).await.shared);
    for _ in 0..2 {
        let request = UnshareRequest { post_id: hex(POST), at_least: vec![token.clone()], ..UnshareRequest::default() };
        token = ok(suite.service.unshare(by(BOB, request)).await).consistency_token;
        assert_eq!(counts(&suite, on_post(POST), &token).await.share_count, 1);
    }
    let at_least = vec![token.clone()];
    let request = ShareRequest { post_id: hex(POST), request_id: "s3".into(), at_least, ..ShareRequest::default() };
    assert_ne!(ok(suite.service.share(by(BOB, request)).await).share.unwrap().share_id, ids[0]);
}
