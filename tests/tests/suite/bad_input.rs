//! What bad input gets, through the wire from the running suite: a canonical code with a reason, the field where there is
//! one, and nothing written.

mod caller;

use kith_proto::engagement::v1 as engagement;
use kith_proto::feeds::v1 as feeds;
use kith_proto::identity::v1 as identity;
use kith_proto::messaging::v1 as messaging;
use kith_proto::posts::v1 as posts;
use kith_runtime::Runtime;
use tonic::Code;

use caller::{Account, Caller, World};

const NOBODY: &str = "00000000000000000000000000000000";
/// 501 graphemes of a byte; 2,000 of four.
const LONG: [(char, usize); 2] = [('a', 501), ('👩', 2_000)];

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
    ids_and_tokens(&ada, &bob).await;
    bearers(&world, &ada).await;
    bytes_and_bounds(&world, &ada).await;
    who_may(&ada, &bob, &eve, &post, &gone, &talk).await;
    assert_eq!(world.heads().await, before, "nothing was written");
}

async fn accounts(world: &World, bob: &Caller) {
    let anyone = world.anyone();
    let create = |handle: &str, password: &str| identity::CreateAccountRequest {
        handle: handle.into(),
        password: password.into(),
        request_id: "another".into(),
        ..Default::default()
    };
    let taken = anyone.create_account(create("ADA", "correct horse")).await;
    taken.is(Code::AlreadyExists, "HANDLE_TAKEN", Some("handle"));
    for handle in ["ab", "a b", "ä_ä_ä", &"a".repeat(31)] {
        anyone.create_account(create(handle, "correct horse")).await.is(
            Code::InvalidArgument,
            "HANDLE_INVALID",
            Some("handle"),
        );
    }
    for password in ["short", &"x".repeat(129)] {
        let refused = anyone.create_account(create("someone", password)).await;
        refused.is(Code::InvalidArgument, "FIELD_INVALID", Some("password"));
    }
    let unknown = identity::ResolveHandleRequest { handle: "nobody".into(), ..Default::default() };
    bob.resolve_handle(unknown).await.is(Code::NotFound, "ACCOUNT_NOT_FOUND", None);
    for (handle, password) in [("ada", "wrong horse"), ("nobody", "correct horse")] {
        let session =
            identity::CreateSessionRequest { handle: handle.into(), password: password.into(), ..Default::default() };
        anyone.create_session(session).await.is(Code::Unauthenticated, "CREDENTIALS_INVALID", None);
    }
}

async fn texts(ada: &Caller) {
    let create = |text: String| ada.create_post(posts::CreatePostRequest { text, ..Default::default() });
    for empty in ["", " \n\t", "\u{200b}"] {
        create(empty.into()).await.is(Code::InvalidArgument, "TEXT_EMPTY", Some("text"));
    }
    for (of, count) in LONG {
        create(of.to_string().repeat(count)).await.is(Code::InvalidArgument, "TEXT_TOO_LONG", Some("text"));
    }
    // 450 graphemes of 12 bytes in NFC.
    let bytes = "a\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}".repeat(450);
    create(bytes).await.is(Code::InvalidArgument, "TEXT_TOO_LONG", Some("text"));
}

async fn ids_and_tokens(ada: &Caller, bob: &Caller) {
    for post_id in ["", "x", &NOBODY[1..], &NOBODY.replace('0', "A")] {
        let get = posts::GetPostRequest { post_id: post_id.into(), ..Default::default() };
        ada.get_post(get).await.is(Code::InvalidArgument, "ID_MALFORMED", Some("post_id"));
    }
    let get = |at_least: Vec<String>| ada.get_post(posts::GetPostRequest { post_id: NOBODY.into(), at_least });
    for token in ["", "AQ", "not a token", &"A".repeat(30_000)] {
        let refused = get(vec![token.into()]).await;
        refused.is(Code::InvalidArgument, "CONSISTENCY_TOKEN_INVALID", Some("at_least"));
    }
    get(vec![ada.token.clone(); 9]).await.is(Code::InvalidArgument, "TOO_MANY_TOKENS", Some("at_least"));

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
    for token in ["x", "AAAA", &of_another_query] {
        let refused = ada.author_feed(list(token)).await;
        refused.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID", Some("page_token"));
    }
    let of_bob = feeds::GetAuthorFeedRequest { account_id: bob.account_id.clone(), ..list(&of_another_account) };
    ada.author_feed(of_bob).await.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID", Some("page_token"));
    let page_size = feeds::GetAuthorFeedRequest { page_size: -1, ..list("") };
    ada.author_feed(page_size).await.is(Code::InvalidArgument, "FIELD_INVALID", Some("page_size"));
}

async fn bearers(world: &World, ada: &Caller) {
    let get = || identity::GetAccountRequest { account_id: ada.account_id.clone(), ..Default::default() };
    world.anyone().get_account(get()).await.is(Code::Unauthenticated, "UNAUTHENTICATED", None);
    let long_ago = Runtime::simulated(1, 1_700_000_000_000);
    let expired = world.token_at(&ada.account_id, long_ago);
    ada.with_bearer(&expired).get_account(get()).await.is(Code::Unauthenticated, "TOKEN_EXPIRED", None);
    let forged = World::token_of_another_suite(&ada.account_id);
    let (head, signature) = ada.bearer.rsplit_once('.').unwrap();
    let altered = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for bearer in [&forged, &altered, "a.b.c", ""] {
        ada.with_bearer(bearer).get_account(get()).await.is(Code::Unauthenticated, "UNAUTHENTICATED", None);
    }
}

async fn bytes_and_bounds(world: &World, ada: &Caller) {
    let get = posts::GetPostRequest { post_id: NOBODY.into(), ..Default::default() };
    world.in_a_hurry(ada, get).await.is(Code::DeadlineExceeded, "DEADLINE_TOO_SHORT", None);
    let post_ids = vec![NOBODY.to_owned(); 101];
    let batch = posts::BatchGetPostsRequest { post_ids, ..Default::default() };
    ada.batch_get_posts(batch).await.is(Code::InvalidArgument, "BATCH_TOO_LONG", Some("post_ids"));
    let large = posts::CreatePostRequest { text: "a".repeat(300_000), ..Default::default() };
    ada.create_post(large).await.is(Code::InvalidArgument, "REQUEST_TOO_LARGE", None);
    for bytes in [&b"\x0a\x02\xff\xfe"[..], b"\x0a\x7f", b"\xff"] {
        let refused = ada.raw("/kith.posts.v1.PostService/CreatePost", bytes).await;
        refused.is(Code::InvalidArgument, "REQUEST_MALFORMED", None);
    }
    ada.raw("/kith.posts.v1.PostService/Nothing", b"").await.is(Code::Unimplemented, "METHOD_UNKNOWN", None);
    ada.raw("/kith.nobody.v1.NoService/Nothing", b"").await.is(Code::Unimplemented, "METHOD_UNKNOWN", None);
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
    for kind in [0, 99] {
        let unknown = engagement::ReactRequest { kind, ..react(post) };
        bob.react(unknown).await.is(Code::InvalidArgument, "FIELD_INVALID", Some("kind"));
    }
    let delete = posts::DeletePostRequest { post_id: post.into(), ..Default::default() };
    bob.delete_post(delete.clone()).await.is(Code::PermissionDenied, "NOT_THE_AUTHOR", None);
    eve.delete_post(delete).await.is(Code::NotFound, "POST_NOT_FOUND", None);

    let write = messaging::SendMessageRequest { conversation_id: talk.into(), text: "hi".into(), ..Default::default() };
    eve.send_message(write.clone()).await.is(Code::NotFound, "CONVERSATION_NOT_FOUND", None);
    let nowhere = messaging::SendMessageRequest { conversation_id: NOBODY.into(), ..write };
    ada.send_message(nowhere).await.is(Code::NotFound, "CONVERSATION_NOT_FOUND", None);
}
