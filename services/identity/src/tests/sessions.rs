//! Sessions as the service answers them, over replicas that lag.

use kith_proto::identity::v1::session_service_server::SessionService;
use kith_proto::identity::v1::{
    ChangePasswordRequest, CreateSessionRequest, CreateSessionResponse, ListSessionsRequest, RefreshSessionRequest,
    RevokeAllSessionsRequest, RevokeSessionRequest,
};
use kith_service::auth::SessionRef;
use kith_service::limits::GUESSES_FREE;
use kith_service::source::{Source, Sources};
use kith_tables::Key;

use super::*;
use crate::session::{Account, SESSIONS};

const PASSWORD: &str = "correct horse";

fn sign_in(request_id: &str) -> CreateSessionRequest {
    let (handle, password, request_id) = ("ada".to_owned(), PASSWORD.to_owned(), request_id.to_owned());
    CreateSessionRequest { handle, password, request_id, ..Default::default() }
}

fn refresh(token: &str) -> RefreshSessionRequest {
    RefreshSessionRequest { refresh_token: token.to_owned(), at_least: Vec::new() }
}

async fn begun(service: &IdentityService, request_id: &str) -> CreateSessionResponse {
    service.create_session(anonymous(sign_in(request_id))).await.unwrap().into_inner()
}

/// The message with the session's access token.
fn with<T>(suite: &Suite, session: &CreateSessionResponse, message: T) -> Request<T> {
    let verifier = Verifier::open(suite.world.jwks.clone(), Runtime::system()).unwrap();
    let mut request = anonymous(message);
    request.extensions_mut().insert(Authentication::Caller(verifier.verify(&session.access_token).unwrap()));
    request
}

fn session_of(suite: &Suite, session: &CreateSessionResponse) -> SessionRef {
    let verifier = Verifier::open(suite.world.jwks.clone(), Runtime::system()).unwrap();
    verifier.verify(&session.access_token).unwrap().session.unwrap()
}

#[tokio::test]
async fn a_repeat_of_a_sign_in_is_the_same_session() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    let (first, again) = (begun(&suite.service, "one").await, begun(&suite.service, "one").await);
    assert_eq!((&first.session_id, &first.refresh_token), (&again.session_id, &again.refresh_token));
    assert_eq!(session_of(&suite, &first), session_of(&suite, &again));
    let other = begun(&suite.service, "two").await;
    assert_ne!(first.session_id, other.session_id);
    let end = RevokeSessionRequest { session_id: first.session_id.clone(), ..Default::default() };
    suite.service.revoke_session(by(id, end)).await.unwrap();
    let refused = suite.service.create_session(anonymous(sign_in("one"))).await.unwrap_err();
    assert_eq!(reason(&refused), "SESSION_ENDED");
}

#[tokio::test]
async fn a_replica_that_lags_neither_refreshes_what_is_over_nor_lets_an_old_password_in() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    let (one, two) = (begun(&suite.service, "one").await, begun(&suite.service, "two").await);
    suite.settled().await;
    // It folds nothing, and learns from the tables what the other has folded.
    let (_lagging, replica) = suite.world.replica(false).await;
    assert!(replica.refresh_session(anonymous(refresh(&one.refresh_token))).await.is_ok());
    let change = ChangePasswordRequest {
        current_password: PASSWORD.into(),
        new_password: "battery staple".into(),
        ..Default::default()
    };
    suite.service.change_password(with(&suite, &two, change.clone())).await.unwrap();
    let refused = replica.refresh_session(anonymous(refresh(&one.refresh_token))).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::Unauthenticated, "SESSION_ENDED"));
    assert!(replica.refresh_session(anonymous(refresh(&two.refresh_token))).await.is_ok());
    let refused = replica.create_session(anonymous(sign_in("three"))).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIALS_INVALID");
    let refused = replica.change_password(with(&suite, &two, change)).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIALS_INVALID");
    let heads = suite.settled().await;
    let list = by(id, ListSessionsRequest { at_least: vec![kith_stage::sealed(&heads)], ..Default::default() });
    let listed = suite.service.list_sessions(list).await.unwrap().into_inner().sessions;
    assert_eq!(listed.iter().map(|session| &session.session_id).collect::<Vec<_>>(), [&two.session_id]);
}

#[tokio::test]
async fn another_account_has_no_such_session() {
    let suite = Suite::new().await;
    let (_, bob) = (suite.account("ada").await, suite.account("bob").await);
    let session = begun(&suite.service, "one").await;
    let heads = suite.settled().await;
    let end = RevokeSessionRequest { session_id: session.session_id, ..Default::default() };
    let refused = suite.service.revoke_session(by(bob, end)).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::NotFound, "SESSION_NOT_FOUND"));
    assert_eq!(suite.settled().await, heads, "nothing was appended");
    assert!(suite.service.refresh_session(anonymous(refresh(&session.refresh_token))).await.is_ok());
}

#[tokio::test]
async fn a_hash_of_weaker_parameters_is_replaced_at_the_next_sign_in() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    let stored = || async {
        let (key, owner) = (Key::text(&id.to_string()), id.to_string());
        let found = suite.state().summary::<Account>(&SESSIONS, &key, (topics::IDENTITY_PRIVATE, &owner)).await;
        found.unwrap().map(|found| found.row.password_hash).unwrap_or_default()
    };
    begun(&suite.service, "one").await;
    suite.settled().await;
    assert_eq!(stored().await, "", "as strong as configured");
    let (_running, stronger) = suite.world.hashing(64).await;
    begun(&stronger, "two").await;
    suite.settled().await;
    assert!(stored().await.starts_with("$argon2id$v=19$m=64,"), "{}", stored().await);
    assert!(suite.service.create_session(anonymous(sign_in("three"))).await.is_ok(), "also where it is not configured");
}

#[tokio::test]
async fn ends_of_all_are_told_once_and_again_after_a_rebuild_only_if_they_are_not_there() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    begun(&suite.service, "one").await;
    for _ in 0..2 {
        let all = RevokeAllSessionsRequest { request_id: "all".into(), ..Default::default() };
        suite.service.revoke_all_sessions(by(id, all)).await.unwrap();
    }
    suite.settled().await;
    assert_eq!(suite.world.records(topics::REVOCATIONS).await.len(), 1);
    let digest = suite.digest().await;
    let world = suite.kill();
    world.ports.tables.drop_keyspace(&group(1).keyspace()).await.unwrap();
    create(&world.ports, &group(1)).await.unwrap();
    let (projection, service) = world.replica(true).await;
    let suite = Suite { service, projection, world };
    assert_eq!(suite.digest().await, digest);
    assert_eq!(suite.world.records(topics::REVOCATIONS).await.len(), 1);
}

/// Nobody is kept out by another's guesses, and a handle that nobody has is guessed at as any other.
#[tokio::test]
async fn guesses_are_compared_no_more_than_some_times_and_others_sign_in() {
    let suite = Suite::new().await;
    suite.account("ada").await;
    let from = |host: u8, handle: &str, password: &str| {
        let (handle, password) = (handle.to_owned(), password.to_owned());
        let mut request = anonymous(CreateSessionRequest { handle, password, ..Default::default() });
        let origin = Source::of_address([192, 0, 2, host].into());
        request.extensions_mut().insert(Sources { caller: origin.clone(), origin });
        request
    };
    for handle in ["ada", "nobody"] {
        let mut reasons = Vec::new();
        for n in 0..20 {
            let guess = from(1, handle, &format!("a guess {n}"));
            let refused = suite.service.create_session(guess).await.unwrap_err();
            assert_eq!(refused.get_details_retry_info().is_some(), reason(&refused) == "RATE_LIMITED");
            reasons.push(reason(&refused));
        }
        let free = GUESSES_FREE as usize;
        assert_eq!(reasons[..free], vec!["CREDENTIALS_INVALID"; free]);
        assert!(reasons[free..].iter().filter(|reason| *reason == "RATE_LIMITED").count() > 10, "{reasons:?}");
    }
    let refused = suite.service.create_session(from(1, "ada", PASSWORD)).await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED", "it is not compared, right or wrong");
    suite.service.create_session(from(2, "ada", PASSWORD)).await.unwrap();
}
