//! What bad input gets, through the wire from the running suite: a canonical code with a reason, the field where there is
//! one, and nothing written. What follows from a request's proto alone is tried of every RPC (`walk`); here is what depends
//! on what there is, and what only some requests can have.

pub mod caller;
mod limits;
pub mod rules;
mod spoil;
mod walk;

use kith_proto::engagement::v1 as engagement;
use kith_proto::feeds::v1 as feeds;
use kith_proto::identity::v1 as identity;
use kith_proto::messaging::v1 as messaging;
use kith_proto::posts::v1 as posts;
use kith_runtime::Runtime;
use tonic::Code;

use caller::{Account, Caller, World};

const NOBODY: &str = "00000000000000000000000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_its_reason_and_writes_nothing() {
    let mut world = World::start().await;
    let [ada, bob, eve, joe] = world.accounts(["ada", "bob", "eve", "joe"]).await;
    for follower in [&bob, &joe] {
        world.follow(follower, &ada).await;
    }
    let post = world.post(&ada, "hello").await;
    let gone = world.post(&ada, "not for long").await;
    world.delete(&ada, &gone).await;
    world.block(&ada, &eve).await;
    let talk = world.talk(&ada, &bob).await;
    let before = world.heads().await;
    let (ada, bob, eve) = (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve));

    accounts(&world, &bob).await;
    texts(&ada).await;
    page_tokens(&ada, &bob).await;
    bearers(&world, &ada).await;
    bytes_and_bounds(&world, &ada).await;
    who_may(&ada, &bob, &eve, &post, &gone, &talk).await;
    assert_eq!(world.heads().await, before, "nothing was written");
}

async fn accounts(world: &World, bob: &Caller) {
    let anyone = world.anyone();
    let create = identity::CreateAccountRequest {
        handle: "ADA".into(),
        password: "correct horse".into(),
        request_id: "another".into(),
        ..Default::default()
    };
    anyone.create_account(create).await.is(Code::AlreadyExists, "HANDLE_TAKEN", Some("handle"));
    let unknown = identity::ResolveHandleRequest { handle: "nobody".into(), ..Default::default() };
    bob.resolve_handle(unknown).await.is(Code::NotFound, "ACCOUNT_NOT_FOUND", None);
    for (handle, password) in [("ada", "wrong horse"), ("nobody", "correct horse")] {
        let session =
            identity::CreateSessionRequest { handle: handle.into(), password: password.into(), ..Default::default() };
        anyone.create_session(session).await.is(Code::Unauthenticated, "CREDENTIALS_INVALID", None);
    }
}

async fn texts(ada: &Caller) {
    // 450 graphemes of 12 bytes in NFC.
    let text = "a\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}".repeat(450);
    let create = posts::CreatePostRequest { text, ..Default::default() };
    ada.create_post(create).await.is(Code::InvalidArgument, "TEXT_TOO_LONG", Some("text"));
}

async fn page_tokens(ada: &Caller, bob: &Caller) {
    let list = |page_token: &str| feeds::GetAuthorFeedRequest {
        account_id: ada.account_id.clone(),
        page_size: 1,
        page_token: page_token.into(),
        ..Default::default()
    };
    let of_another = |account: &Account| identity::ListFollowersRequest {
        account_id: account.account_id.clone(),
        page_size: 1,
        ..Default::default()
    };
    let of_another_query = ada.followers(of_another(ada)).await.ok().next_page_token;
    let of_another_account = ada.author_feed(list("")).await.ok().next_page_token;
    assert!(!of_another_query.is_empty() && !of_another_account.is_empty());
    let of_bob = feeds::GetAuthorFeedRequest { account_id: bob.account_id.clone(), ..list(&of_another_account) };
    for request in [list(&of_another_query), of_bob] {
        ada.author_feed(request).await.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID", Some("page_token"));
    }
}

async fn bearers(world: &World, ada: &Caller) {
    let get = || identity::GetAccountRequest { account_id: ada.account_id.clone(), ..Default::default() };
    let long_ago = Runtime::simulated(1, 1_700_000_000_000);
    let expired = world.token_at(&ada.account_id, long_ago);
    ada.with_bearer(&expired).get_account(get()).await.is(Code::Unauthenticated, "TOKEN_EXPIRED", None);
    let (head, signature) = ada.bearer.rsplit_once('.').unwrap();
    let altered = format!("{head}.{}", signature.chars().rev().collect::<String>());
    ada.with_bearer(&altered).get_account(get()).await.is(Code::Unauthenticated, "UNAUTHENTICATED", None);
}

async fn bytes_and_bounds(world: &World, ada: &Caller) {
    let get = posts::GetPostRequest { post_id: NOBODY.into(), ..Default::default() };
    world.in_a_hurry(ada, get).await.is(Code::DeadlineExceeded, "DEADLINE_TOO_SHORT", None);
    let large = posts::CreatePostRequest { text: "a".repeat(300_000), ..Default::default() };
    ada.create_post(large).await.is(Code::InvalidArgument, "REQUEST_TOO_LARGE", None);
    for bytes in [&b"\x0a\x02\xff\xfe"[..], b"\x0a\x7f"] {
        let refused = ada.raw("kith.posts.v1.PostService/CreatePost", bytes).await;
        refused.is(Code::InvalidArgument, "REQUEST_MALFORMED", None);
    }
    ada.raw("kith.posts.v1.PostService/Nothing", b"").await.is(Code::Unimplemented, "METHOD_UNKNOWN", None);
    ada.raw("kith.nobody.v1.NoService/Nothing", b"").await.is(Code::Unimplemented, "METHOD_UNKNOWN", None);
}

/// `eve` is blocked by `ada`; `gone` is deleted; `talk` is between `ada` and `bob`.
async fn who_may(ada: &Caller, bob: &Caller, eve: &Caller, post: &str, gone: &str, talk: &str) {
    let follow =
        |target: &Account| identity::FollowRequest { target_id: target.account_id.clone(), ..Default::default() };
    ada.follow(follow(ada)).await.is(Code::FailedPrecondition, "SELF_NOT_ALLOWED", None);
    ada.follow(follow(eve)).await.is(Code::FailedPrecondition, "BLOCKED", None);
    eve.follow(follow(ada)).await.is(Code::NotFound, "ACCOUNT_NOT_FOUND", None);

    let react = |post_id: &str| engagement::ReactRequest {
        subject: Some(engagement::Subject { post_id: post_id.into(), comment_id: String::new() }),
        kind: engagement::ReactionKind::Like.into(),
        ..Default::default()
    };
    for (who, post_id) in [(bob, NOBODY), (bob, gone), (eve, post)] {
        who.react(react(post_id)).await.is(Code::NotFound, "POST_NOT_FOUND", None);
    }
    let delete = posts::DeletePostRequest { post_id: post.into(), ..Default::default() };
    bob.delete_post(delete.clone()).await.is(Code::PermissionDenied, "NOT_THE_AUTHOR", None);
    eve.delete_post(delete).await.is(Code::NotFound, "POST_NOT_FOUND", None);

    let write = messaging::SendMessageRequest { conversation_id: talk.into(), text: "hi".into(), ..Default::default() };
    eve.send_message(write.clone()).await.is(Code::NotFound, "CONVERSATION_NOT_FOUND", None);
    let nowhere = messaging::SendMessageRequest { conversation_id: NOBODY.into(), ..write };
    ada.send_message(nowhere).await.is(Code::NotFound, "CONVERSATION_NOT_FOUND", None);
}
