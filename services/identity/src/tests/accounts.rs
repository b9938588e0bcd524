use kith_proto::identity::v1::session_service_server::SessionService;
use kith_proto::identity::v1::{
    BatchGetAccountsRequest, CreateSessionRequest, GetSigningKeysRequest, ResolveHandleRequest,
};

use super::*;

fn resolve(handle: &str, at_least: Vec<String>) -> ResolveHandleRequest {
    ResolveHandleRequest { handle: handle.to_owned(), at_least }
}

fn get(account_id: RecordId) -> GetAccountRequest {
    GetAccountRequest { account_id: account_id.to_string(), at_least: Vec::new() }
}

fn session(handle: &str, password: &str) -> CreateSessionRequest {
    CreateSessionRequest { handle: handle.to_owned(), password: password.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_account_created_is_found_by_its_token_everywhere() {
    let suite = Suite::new().await;
    let created = suite.created("Ada").await;
    let account = created.account.unwrap();
    assert_eq!(account.handle, "ada");
    let id = RecordId::parse(&account.account_id).unwrap();
    let at_least = vec![created.consistency_token];
    let resolved = suite.service.resolve_handle(by(id, resolve("ADA", at_least))).await.unwrap().into_inner();
    assert_eq!(resolved.account.as_ref(), Some(&account));
    assert!(!resolved.as_of.is_empty());
    let found = suite.service.get_account(by(id, get(id))).await.unwrap().into_inner();
    assert_eq!(found.account.as_ref(), Some(&account));
    let ids = vec![account.account_id.clone(), "0".repeat(32), account.account_id.clone()];
    let batch = BatchGetAccountsRequest { account_ids: ids.clone(), at_least: Vec::new() };
    let entries = suite.service.batch_get_accounts(by(id, batch)).await.unwrap().into_inner().entries;
    assert_eq!(entries.iter().map(|e| e.account_id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!([0, 1, 2].map(|at: usize| entries[at].account.is_some()), [true, false, true]);
}

/// Tokens of one content differ.
fn in_clear(created: &CreateAccountResponse) -> (CreateAccountResponse, Token) {
    let token = kith_stage::opened(&created.consistency_token);
    (CreateAccountResponse { consistency_token: String::new(), ..created.clone() }, token)
}

#[tokio::test]
async fn a_repeated_request_does_nothing_and_gets_the_same_answer() {
    let suite = Suite::new().await;
    let first = suite.created("ada").await;
    let heads = suite.settled().await;
    let again = suite.created("ada").await;
    assert_eq!(in_clear(&again), in_clear(&first));
    let other_password = CreateAccountRequest { password: "battery staple".into(), ..new_account("ada", "r-1") };
    let told = suite.service.create_account(anonymous(other_password)).await.unwrap().into_inner();
    assert_eq!(in_clear(&told), in_clear(&first), "whether a password fits is not told");
    let other_profile = CreateAccountRequest { profile: None, ..new_account("ada", "r-1") };
    let refused = suite.service.create_account(anonymous(other_profile)).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let taken = suite.service.create_account(anonymous(new_account("ada", "r-2"))).await.unwrap_err();
    assert_eq!((taken.code(), &*reason(&taken)), (tonic::Code::AlreadyExists, "HANDLE_TAKEN"));
    assert_eq!(suite.settled().await, heads, "nothing was appended");
}

#[tokio::test]
async fn of_many_who_want_one_handle_one_gets_it() {
    let suite = Suite::new().await;
    for round in 0..8 {
        let handle = format!("handle_{round}");
        let create = |n: usize| suite.service.create_account(anonymous(new_account(&handle, &format!("r-{n}"))));
        let answers = futures::future::join_all((0..4).map(create)).await;
        let won: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let lost: Vec<String> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(reason).collect();
        assert_eq!(lost, ["HANDLE_TAKEN"; 3]);
        suite.settled().await;
        assert_eq!(suite.world.accounts_created(&handle).await, 1);
        let account = won[0].get_ref().account.clone().unwrap();
        let id = RecordId::parse(&account.account_id).unwrap();
        let resolved = suite.service.resolve_handle(by(id, resolve(&handle, Vec::new()))).await.unwrap().into_inner();
        assert_eq!(resolved.account, Some(account));
    }
    let intents = suite.world.records(topics::IDENTITY_PRIVATE).await.len();
    assert!(intents > 8, "at least one race was decided by the log: {intents} intents for 8 handles");
}

#[tokio::test]
async fn a_session_is_for_whoever_knows_the_password() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    let session_of = |request| suite.service.create_session(anonymous(request));
    let made = session_of(session("Ada", "correct horse")).await.unwrap().into_inner();
    assert_eq!(made.account_id, id.to_string());
    let verifier = Verifier::open(suite.world.jwks.clone(), Runtime::system()).unwrap();
    let caller = verifier.verify(&made.access_token).unwrap();
    let of = caller.session.map(|session| session.id.to_string());
    assert_eq!((caller.account_id, of), (id, Some(made.session_id)));
    let keys = suite.service.get_signing_keys(anonymous(GetSigningKeysRequest {})).await.unwrap().into_inner().keys;
    let published = verifier.public_keys().keys;
    assert_eq!(keys.iter().map(|key| (&key.kid, &key.x)).collect::<Vec<_>>(), [(&published[0].kid, &published[0].x)]);
    for (handle, password) in [("ada", "correct Horse"), ("bob", "correct horse"), ("ada", "x")] {
        let refused = session_of(session(handle, password)).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::Unauthenticated, "CREDENTIALS_INVALID"));
    }
    for (handle, password, expected) in [
        ("a", "correct horse", "HANDLE_INVALID"),
        ("ada", "", "FIELD_INVALID"),
        ("ada", &"x".repeat(129), "FIELD_INVALID"),
    ] {
        assert_eq!(reason(&session_of(session(handle, password)).await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn bad_requests_get_their_reason_and_write_nothing() {
    let suite = Suite::new().await;
    let id = suite.account("ada").await;
    let heads = suite.settled().await;
    let good = || new_account("bob", "r-1");
    let long_bio = Some(Profile { bio: "x".repeat(257), ..Profile::default() });
    for (request, expected) in [
        (CreateAccountRequest { handle: "b!b".into(), ..good() }, "HANDLE_INVALID"),
        (CreateAccountRequest { handle: "Admin".into(), ..good() }, "HANDLE_RESERVED"),
        (CreateAccountRequest { password: "1234567".into(), ..good() }, "FIELD_INVALID"),
        (CreateAccountRequest { profile: long_bio, ..good() }, "TEXT_TOO_LONG"),
        (CreateAccountRequest { request_id: "x".repeat(65), ..good() }, "FIELD_INVALID"),
        (CreateAccountRequest { at_least: vec!["?".into()], ..good() }, "CONSISTENCY_TOKEN_INVALID"),
        (CreateAccountRequest { at_least: vec![String::new(); 9], ..good() }, "TOO_MANY_TOKENS"),
        (CreateAccountRequest { handle: "ADA".into(), request_id: "r-2".into(), ..good() }, "HANDLE_TAKEN"),
    ] {
        let status = suite.service.create_account(anonymous(request)).await.unwrap_err();
        assert_eq!(reason(&status), expected);
    }
    let nobody = RecordId([0; 16]);
    assert_eq!(reason(&suite.service.get_account(anonymous(get(id))).await.unwrap_err()), "UNAUTHENTICATED");
    assert_eq!(reason(&suite.service.get_account(by(id, get(nobody))).await.unwrap_err()), "ACCOUNT_NOT_FOUND");
    let malformed = GetAccountRequest { account_id: "ada".into(), at_least: Vec::new() };
    assert_eq!(reason(&suite.service.get_account(by(id, malformed)).await.unwrap_err()), "ID_MALFORMED");
    let unknown = suite.service.resolve_handle(by(id, resolve("bob", Vec::new()))).await.unwrap_err();
    assert_eq!((unknown.code(), &*reason(&unknown)), (tonic::Code::NotFound, "ACCOUNT_NOT_FOUND"));
    let many = BatchGetAccountsRequest { account_ids: vec![id.to_string(); 101], at_least: Vec::new() };
    assert_eq!(reason(&suite.service.batch_get_accounts(by(id, many)).await.unwrap_err()), "BATCH_TOO_LONG");
    assert_eq!(suite.settled().await, heads);
}

#[tokio::test]
async fn who_has_a_handle_from_before_it_was_reserved_keeps_it() {
    let suite = Suite::new().await;
    let before = suite.created("ada").await;
    suite.settled().await;
    let (_running, service) = suite.world.reserving(false, &["ada", "bob"]).await;
    let again = service.create_account(anonymous(new_account("ada", "r-1"))).await.unwrap().into_inner();
    assert_eq!(in_clear(&again), in_clear(&before));
    let refused = |request| async { service.create_account(anonymous(request)).await.unwrap_err() };
    assert_eq!(reason(&refused(new_account("ada", "r-2")).await), "HANDLE_TAKEN");
    let reserved = refused(new_account("bob", "r-1")).await;
    assert_eq!((reserved.code(), &*reason(&reserved)), (tonic::Code::InvalidArgument, "HANDLE_RESERVED"));
    assert_eq!(reserved.get_details_bad_request().unwrap().field_violations[0].field, "handle");
}

#[tokio::test]
async fn every_bad_field_of_a_new_account_is_named() {
    let suite = Suite::new().await;
    let bad = CreateAccountRequest {
        handle: "b!b".into(),
        password: "1234567".into(),
        profile: Some(Profile { display_name: "a\0".into(), bio: "x".repeat(257), ..Profile::default() }),
        request_id: "x".repeat(65),
        at_least: Vec::new(),
        subject_token: String::new(),
    };
    let status = suite.service.create_account(anonymous(bad)).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (tonic::Code::InvalidArgument, "HANDLE_INVALID"));
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["handle", "password", "profile.display_name", "profile.bio", "request_id"]);
}

#[tokio::test]
async fn who_blocks_a_caller_is_not_there_for_it() {
    let suite = Suite::new().await;
    let (ada, bob) = (suite.account("ada").await, suite.account("bob").await);
    suite.block(ada, bob).await;
    suite.settled().await;
    for status in [
        suite.service.get_account(by(bob, get(ada))).await.map(|_| ()).unwrap_err(),
        suite.service.resolve_handle(by(bob, resolve("ada", Vec::new()))).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(reason(&status), "ACCOUNT_NOT_FOUND");
    }
    assert!(suite.service.get_account(by(ada, get(bob))).await.is_ok(), "to take the block back, it must be seen");
}

#[tokio::test]
async fn tables_that_are_filled_again_answer_nobody() {
    let suite = Suite::new().await;
    suite.account("ada").await;
    suite.settled().await;
    let world = suite.kill();
    world.ports.tables.drop_keyspace(&group(1).keyspace()).await.unwrap();
    create(&world.ports, &group(1)).await.unwrap();
    let (_running, service) = world.replica(false).await;
    let mut log_in = anonymous(session("ada", "correct horse"));
    log_in.extensions_mut().insert(Deadline::after(Duration::from_millis(50)));
    let refused = service.create_session(log_in).await.unwrap_err();
    assert_eq!(reason(&refused), "BEHIND_TOKEN", "nobody has folded the account");
    let (_folding, service) = world.replica(true).await;
    assert!(service.create_session(anonymous(session("ada", "correct horse"))).await.is_ok());
}
