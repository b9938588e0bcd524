//! The service over embedded log and tables: handlers, folds and arbiter together.

mod harness;

use kith_fold::Token;
use kith_log::{RecordId, topics};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountCreated, Blocked};
use kith_proto::posts::v1::post_service_server::PostService;
use kith_proto::posts::v1::*;
use kith_stage::{by, places, refusal};
use tonic::Code;

use harness::{ADA, BOB, World};

fn creation(text: &str, request_id: &str) -> CreatePostRequest {
    CreatePostRequest { text: text.into(), request_id: request_id.into(), ..CreatePostRequest::default() }
}

fn edition(post: &Post, text: &str, expected_revision: u32, request_id: &str) -> EditPostRequest {
    let (post_id, text, request_id) = (post.post_id.clone(), text.into(), request_id.into());
    EditPostRequest { post_id, text, expected_revision, request_id, at_least: Vec::new() }
}

fn deletion(post_id: &str, request_id: &str) -> DeletePostRequest {
    DeletePostRequest { post_id: post_id.into(), request_id: request_id.into(), at_least: Vec::new() }
}

async fn published(world: &World, who: RecordId, text: &str, request_id: &str) -> (Post, String) {
    let made = world.posts.create_post(by(who, creation(text, request_id))).await.unwrap().into_inner();
    (made.post.unwrap(), made.consistency_token)
}

async fn got(world: &World, who: RecordId, post_id: &str, token: &str) -> Result<Post, (Code, String)> {
    let request = GetPostRequest { post_id: post_id.into(), at_least: vec![token.into()] };
    let answer = world.posts.get_post(by(who, request)).await;
    answer.map(|answer| answer.into_inner().post.unwrap()).map_err(|status| refusal(&status))
}

/// Gives the account its handle, and the token for it.
async fn named(world: &World, account: RecordId, handle: &str) -> String {
    let (account_id, handle_key) = (account.to_string(), handle.to_owned());
    let event = AccountCreated { account_id, handle_key, ..AccountCreated::default() };
    world.publish(account, Identity::AccountCreated(event)).await
}

#[tokio::test]
async fn a_post_is_read_with_its_token_as_it_was_written() {
    let world = World::start().await;
    let bob_is_there = named(&world, BOB, "bob").await;
    let request = CreatePostRequest {
        text: "Hi @bob and @nobody: #Rust".into(),
        languages: vec!["en".into()],
        at_least: vec![bob_is_there],
        request_id: String::new(),
    };
    let made = world.posts.create_post(by(ADA, request)).await.unwrap().into_inner();
    let post = made.post.unwrap();
    let read = got(&world, BOB, &post.post_id, &made.consistency_token).await.unwrap();
    assert_eq!(read, post);
    assert_eq!((read.author_id, read.revision, read.edit_time), (ADA.to_string(), 1, None));
    let features: Vec<_> = read.facets.into_iter().map(|facet| facet.feature.unwrap()).collect();
    let mention = facet::Mention { account_id: BOB.to_string(), handle: "bob".into() };
    let nobody = facet::Mention { account_id: String::new(), handle: "nobody".into() };
    let hashtag = facet::Hashtag { tag: "rust".into() };
    let [mention, nobody] = [mention, nobody].map(facet::Feature::Mention);
    assert_eq!(features, [mention, nobody, facet::Feature::Hashtag(hashtag)]);
}

#[tokio::test]
async fn a_private_account_is_mentioned_by_who_does_not_follow_it() {
    let world = World::start().await;
    let (account_id, handle_key) = (BOB.to_string(), "bob".to_owned());
    let event = AccountCreated { account_id, handle_key, private: true, ..AccountCreated::default() };
    world.publish(BOB, Identity::AccountCreated(event)).await;
    world.settle().await;
    let (post, _) = published(&world, ADA, "Hi @bob", "r-1").await;
    let mention = facet::Mention { account_id: BOB.to_string(), handle: "bob".into() };
    assert_eq!(post.facets[0].feature, Some(facet::Feature::Mention(mention)));
}

#[tokio::test]
async fn a_repeated_command_appends_nothing_and_another_payload_is_refused() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    let heads = world.everything().await;
    let (again, token_again) = published(&world, ADA, "one", "r-1").await;
    assert_eq!((again, kith_stage::opened(&token_again)), (post.clone(), kith_stage::opened(&token)));
    let reused = world.posts.create_post(by(ADA, creation("two", "r-1"))).await.unwrap_err();
    assert_eq!(refusal(&reused), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
    assert_eq!(world.everything().await, heads);
    let (by_another, _) = published(&world, BOB, "one", "r-1").await;
    assert_ne!(by_another.post_id, post.post_id);
}

#[tokio::test]
async fn of_two_edits_from_one_revision_the_first_in_the_log_wins() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    let edit = |text: &str, request_id: &str| {
        let request = EditPostRequest { at_least: vec![token.clone()], ..edition(&post, text, 1, request_id) };
        world.posts.edit_post(by(ADA, request))
    };
    let (left, right) = tokio::join!(edit("left", "e-1"), edit("right", "e-2"));
    let (won, lost) = if left.is_ok() { (left, right) } else { (right, left) };
    let (won, lost) = (won.unwrap().into_inner(), lost.unwrap_err());
    assert_eq!(refusal(&lost), (Code::Aborted, "REVISION_STALE".into()));
    assert_eq!(harness::metadata(&lost, "current_revision"), Some("2".into()));
    let edited = won.post.unwrap();
    assert_eq!(edited.revision, 2);
    assert!(edited.edit_time.is_some());
    assert_eq!(got(&world, BOB, &post.post_id, &won.consistency_token).await.unwrap(), edited);
}

#[tokio::test]
async fn an_edit_repeated_gets_its_verdict_again_won_or_lost() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    let edit = |text: &str, expected, id: &str| world.posts.edit_post(by(ADA, edition(&post, text, expected, id)));
    let won = edit("two", 1, "e-1").await.unwrap().into_inner();
    let from_the_future = edit("three", 9, "e-2").await.unwrap_err();
    assert_eq!(refusal(&from_the_future), (Code::Aborted, "REVISION_STALE".into()));
    let heads = world.everything().await;
    let again = edit("two", 1, "e-1").await.unwrap().into_inner();
    assert_eq!((again.post, places(&again.consistency_token)), (won.post, places(&won.consistency_token)));
    assert_eq!(refusal(&edit("three", 9, "e-2").await.unwrap_err()).1, "REVISION_STALE");
    assert_eq!(refusal(&edit("other", 1, "e-1").await.unwrap_err()).1, "REQUEST_ID_REUSED");
    assert_eq!(refusal(&edit("late", 1, "e-3").await.unwrap_err()).1, "REVISION_STALE");
    assert_eq!(world.everything().await, heads);
    assert_eq!(edit("whatever it is", 0, "e-4").await.unwrap().into_inner().post.unwrap().revision, 3);
}

#[tokio::test]
async fn a_copy_of_a_won_intent_makes_no_second_fact() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    let won = world.posts.edit_post(by(ADA, edition(&post, "two", 0, "e-1"))).await.unwrap().into_inner();
    let copied = world.copy_last(topics::POSTS_PRIVATE, &post.post_id).await;
    let read = got(&world, ADA, &post.post_id, &copied).await.unwrap();
    assert_eq!(read, won.post.unwrap());
    assert_eq!(world.head(topics::POSTS, &post.post_id).await, 2);
}

#[tokio::test]
async fn a_deleted_post_is_gone_for_all_and_for_ever() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    let delete = |who, id: &str| world.posts.delete_post(by(who, deletion(&post.post_id, id)));
    assert_eq!(refusal(&delete(BOB, "d-0").await.unwrap_err()), (Code::PermissionDenied, "NOT_THE_AUTHOR".into()));
    let gone = delete(ADA, "d-1").await.unwrap().into_inner();
    let not_found = Err((Code::NotFound, "POST_NOT_FOUND".to_owned()));
    assert_eq!(got(&world, ADA, &post.post_id, &gone.consistency_token).await, not_found);
    let heads = world.everything().await;
    let again = delete(ADA, "d-2").await.unwrap().into_inner();
    let [token, token_again] = [&gone, &again].map(|answer| kith_stage::opened(&answer.consistency_token));
    assert_eq!((again.delete_time, token_again), (gone.delete_time, token));
    assert_eq!(refusal(&delete(BOB, "d-3").await.unwrap_err()).1, "POST_NOT_FOUND");
    let edited = world.posts.edit_post(by(ADA, edition(&post, "two", 0, "e-1"))).await;
    assert_eq!(refusal(&edited.unwrap_err()).1, "POST_NOT_FOUND");
    assert_eq!(published(&world, ADA, "one", "r-1").await.0, post, "a late repeat gets the answer it had");
    assert_eq!(world.everything().await, heads);
}

#[tokio::test]
async fn across_a_block_a_post_looks_like_none_either_way() {
    let world = World::start().await;
    let (by_ada, _) = published(&world, ADA, "by ada", "r-1").await;
    let (by_bob, _) = published(&world, BOB, "by bob", "r-1").await;
    let block = Blocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    let token = world.publish(RecordId([60; 16]), Identity::Blocked(block)).await;
    world.settle().await;
    let not_found = Err((Code::NotFound, "POST_NOT_FOUND".to_owned()));
    assert_eq!(got(&world, BOB, &by_ada.post_id, &token).await, not_found);
    assert_eq!(got(&world, ADA, &by_bob.post_id, &token).await, not_found);
    let unknown = RecordId([99; 16]).to_string();
    let ids = vec![by_bob.post_id.clone(), by_ada.post_id.clone(), unknown.clone(), by_bob.post_id.clone()];
    let request = BatchGetPostsRequest { post_ids: ids.clone(), at_least: vec![token] };
    let batch = world.posts.batch_get_posts(by(BOB, request)).await.unwrap().into_inner();
    assert_eq!(batch.entries.iter().map(|entry| entry.post_id.clone()).collect::<Vec<_>>(), ids);
    let found: Vec<_> = batch.entries.into_iter().map(|entry| entry.post).collect();
    assert_eq!(found, [Some(by_bob.clone()), None, None, Some(by_bob)]);
    let delete = world.posts.delete_post(by(BOB, deletion(&by_ada.post_id, "d-1"))).await;
    assert_eq!(refusal(&delete.unwrap_err()).1, "POST_NOT_FOUND");

    named(&world, ADA, "ada").await;
    world.settle().await;
    let (mentions, _) = published(&world, BOB, "hello @ada", "r-2").await;
    let (of_nobody, _) = published(&world, BOB, "hello @eve", "r-3").await;
    let features_of = |post: Post| post.facets.into_iter().map(|facet| facet.feature.unwrap()).collect::<Vec<_>>();
    let mention = |handle: &str| facet::Mention { account_id: String::new(), handle: handle.into() };
    assert_eq!(features_of(of_nobody), [facet::Feature::Mention(mention("eve"))]);
    let looks_like_nobody = [facet::Feature::Mention(mention("ada"))];
    assert_eq!(features_of(mentions), looks_like_nobody, "a handle tells nobody whom it is of across a block");
}

#[tokio::test]
async fn bad_input_gets_its_reason_and_appends_nothing() {
    let world = World::start().await;
    let (post, token) = published(&world, ADA, "one", "r-1").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    let heads = world.everything().await;
    let long = "é".repeat(501);
    for (text, expected) in [("", "TEXT_EMPTY"), (" \u{200b}", "TEXT_EMPTY"), (long.as_str(), "TEXT_TOO_LONG")] {
        let created = world.posts.create_post(by(ADA, creation(text, "r-2"))).await.unwrap_err();
        assert_eq!(refusal(&created), (Code::InvalidArgument, expected.into()), "{text}");
        let edited = world.posts.edit_post(by(ADA, edition(&post, text, 0, "e-1"))).await.unwrap_err();
        assert_eq!(refusal(&edited).1, expected);
    }
    let languages = CreatePostRequest { languages: vec!["x".into()], ..creation("a", "r-2") };
    assert_eq!(refusal(&world.posts.create_post(by(ADA, languages)).await.unwrap_err()).1, "FIELD_INVALID");
    let at_least = CreatePostRequest { at_least: vec!["?".into()], ..creation("a", "r-2") };
    let refused = world.posts.create_post(by(ADA, at_least)).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "CONSISTENCY_TOKEN_INVALID");
    let request_id = creation("a", &"r".repeat(65));
    assert_eq!(refusal(&world.posts.create_post(by(ADA, request_id)).await.unwrap_err()).1, "FIELD_INVALID");
    assert_eq!(got(&world, ADA, "nonsense", &token).await.unwrap_err().1, "ID_MALFORMED");
    let by_bob = world.posts.edit_post(by(BOB, edition(&post, "two", 0, "e-1"))).await.unwrap_err();
    assert_eq!(refusal(&by_bob), (Code::PermissionDenied, "NOT_THE_AUTHOR".into()));
    let unknown = Post { post_id: RecordId([99; 16]).to_string(), ..Post::default() };
    let edited = world.posts.edit_post(by(ADA, edition(&unknown, "two", 0, "e-1"))).await.unwrap_err();
    assert_eq!(refusal(&edited), (Code::NotFound, "POST_NOT_FOUND".into()));
    let many = BatchGetPostsRequest { post_ids: vec![post.post_id.clone(); 101], at_least: Vec::new() };
    assert_eq!(refusal(&world.posts.batch_get_posts(by(ADA, many)).await.unwrap_err()).1, "BATCH_TOO_LONG");
    let anonymous = tonic::Request::new(creation("a", "r-2"));
    assert_eq!(world.posts.create_post(anonymous).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(world.everything().await, heads);
}

#[tokio::test]
async fn tables_folded_again_are_the_same_and_no_fact_is_made_twice() {
    let mut world = World::start().await;
    for n in 0..6 {
        let (post, token) = published(&world, ADA, &format!("post {n} #tag"), &format!("r-{n}")).await;
        got(&world, ADA, &post.post_id, &token).await.unwrap();
        let edits = (0..3)
            .map(|e| world.posts.edit_post(by(ADA, edition(&post, &format!("edit {e}"), 1, &format!("{n}-{e}")))));
        futures::future::join_all(edits).await;
        if n % 3 == 0 {
            world.posts.delete_post(by(ADA, deletion(&post.post_id, &format!("d-{n}")))).await.unwrap();
        }
    }
    world.settle().await;
    let (before, heads) = (world.digest().await, world.everything().await);
    assert!(before.rows > 20);
    world.fold_again().await;
    assert_eq!(world.digest().await, before);
    // The sweep for appends not made is over when a new edit has got its fact.
    let (post, token) = published(&world, ADA, "last", "r-last").await;
    got(&world, ADA, &post.post_id, &token).await.unwrap();
    world.posts.edit_post(by(ADA, edition(&post, "edited", 1, "e-last"))).await.unwrap();
    let records = |all: Token| all.positions().map(|last| last.offset + 1).sum::<u64>();
    assert_eq!(records(world.everything().await), records(heads) + 3);
}
