use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::session_service_server::SessionService;
use kith_proto::identity::v1::{
    Account, ChangeHandleRequest, ChangePasswordRequest, CreateSessionRequest, ResolveHandleRequest,
};
use tonic::Code;

use super::*;

fn to(handle: &str, request_id: &str) -> ChangeHandleRequest {
    ChangeHandleRequest { handle: handle.into(), request_id: request_id.into(), ..Default::default() }
}

impl Suite {
    async fn changed(&self, who: RecordId, request: ChangeHandleRequest) -> Result<(Account, String), Status> {
        let answer = self.service.change_handle(by(who, request)).await?.into_inner();
        Ok((answer.account.unwrap(), answer.consistency_token))
    }

    async fn refused(&self, who: RecordId, request: ChangeHandleRequest) -> (Code, String) {
        let status = self.changed(who, request).await.unwrap_err();
        (status.code(), reason(&status))
    }

    async fn resolved(&self, who: RecordId, handle: &str, token: &str) -> Option<Account> {
        let request = ResolveHandleRequest { handle: handle.into(), at_least: tokens(token) };
        match self.service.resolve_handle(by(who, request)).await {
            Ok(answer) => answer.into_inner().account,
            Err(status) => {
                assert_eq!(reason(&status), "ACCOUNT_NOT_FOUND");
                None
            }
        }
    }

    async fn signs_in(&self, handle: &str, password: &str) -> Result<String, String> {
        let request = CreateSessionRequest { handle: handle.into(), password: password.into(), ..Default::default() };
        let answer = self.service.create_session(anonymous(request)).await;
        answer.map(|answer| answer.into_inner().account_id).map_err(|status| reason(&status))
    }
}

fn tokens(token: &str) -> Vec<String> {
    Some(token).filter(|token| !token.is_empty()).map(str::to_owned).into_iter().collect()
}

fn taken() -> (Code, String) {
    (Code::AlreadyExists, "HANDLE_TAKEN".to_owned())
}

#[tokio::test]
async fn a_changed_handle_is_the_one_that_leads_to_the_account() {
    let suite = Suite::new().await;
    let (ada, bob) = (suite.account("ada").await, suite.account("bob").await);
    let (account, token) = suite.changed(ada, to("Countess", "c-1")).await.unwrap();
    assert_eq!((&*account.handle, &*account.account_id), ("countess", &*ada.to_string()));
    assert_eq!(account.profile.as_ref().unwrap().display_name, "Some One");
    assert_eq!(suite.resolved(bob, "countess", &token).await.as_ref(), Some(&account));
    assert_eq!(suite.resolved(bob, "ada", &token).await, None);
    let seen = GetAccountRequest { account_id: ada.to_string(), at_least: vec![token.clone()] };
    let seen = suite.service.get_account(by(bob, seen)).await.unwrap().into_inner().account.unwrap();
    assert_eq!(seen, account);
    assert_eq!(suite.signs_in("countess", "correct horse").await, Ok(ada.to_string()));
    assert_eq!(suite.signs_in("ada", "correct horse").await, Err("CREDENTIALS_INVALID".to_owned()));
    let heads = suite.settled().await;
    let again = suite.changed(ada, to("Countess", "c-1")).await.unwrap();
    assert_eq!(again.0, account);
    assert_eq!(suite.changed(ada, to("countess", "c-2")).await.unwrap().0, account, "it has it");
    assert_eq!(suite.refused(ada, to("other", "c-1")).await.1, "REQUEST_ID_REUSED");
    assert_eq!(suite.settled().await, heads, "nothing was appended");
    let created = suite.service.create_account(anonymous(new_account("ada", "r-1"))).await.unwrap().into_inner();
    assert_eq!(created.account, Some(account), "the request that made the account is answered for ever");
}

#[tokio::test]
async fn a_handle_that_was_given_up_is_held_back_for_its_account() {
    let suite = Suite::new().await;
    let (ada, bob) = (suite.account("ada").await, suite.account("bob").await);
    suite.changed(ada, to("countess", "c-1")).await.unwrap();
    suite.settled().await;
    assert_eq!(suite.refused(bob, to("ada", "c-1")).await, taken());
    let made = suite.service.create_account(anonymous(new_account("ada", "r-9"))).await.unwrap_err();
    assert_eq!((made.code(), reason(&made)), taken());
    let (back, token) = suite.changed(ada, to("ada", "c-2")).await.unwrap();
    assert_eq!((&*back.handle, suite.resolved(bob, "countess", &token).await), ("ada", None));
    assert_eq!(suite.resolved(bob, "ada", &token).await, Some(back));
    assert_eq!(suite.refused(bob, to("countess", "c-2")).await, taken());
    for (n, handle) in ["lady_ada", "lovelace"].into_iter().enumerate() {
        suite.changed(ada, to(handle, &format!("c-{}", n + 3))).await.unwrap();
    }
    let too_often = suite.changed(ada, to("ada", "c-6")).await.unwrap_err();
    assert_eq!((too_often.code(), &*reason(&too_often)), (Code::FailedPrecondition, "HANDLE_CHANGED_TOO_OFTEN"));
    let wait: u64 = too_often.get_details_error_info().unwrap().metadata["retry_after_seconds"].parse().unwrap();
    assert!((29 * 86_400..=30 * 86_400).contains(&wait), "{wait}");
    assert_eq!(suite.signs_in("lovelace", "correct horse").await, Ok(ada.to_string()));
    let digest = suite.digest().await;
    let world = suite.kill();
    world.ports.tables.drop_keyspace(&group(1).keyspace()).await.unwrap();
    assert_eq!(world.start().await.digest().await, digest, "a function of the log");
}

#[tokio::test]
async fn of_many_who_want_one_handle_one_changes_to_it() {
    let suite = Suite::new().await;
    let mut people = Vec::new();
    for n in 0..4 {
        people.push(suite.account(&format!("person_{n}")).await);
    }
    for round in 0..3 {
        let handle = format!("star_{round}");
        let change = |(n, who): (usize, &RecordId)| suite.changed(*who, to(&handle, &format!("{round}-{n}")));
        let changes = futures::future::join_all(people.iter().enumerate().map(change));
        let new = |n: usize| suite.service.create_account(anonymous(new_account(&handle, &format!("r-{n}"))));
        let (changes, made) = tokio::join!(changes, futures::future::join_all((0..2).map(new)));
        let lost = changes.iter().filter_map(|answer| answer.as_ref().err());
        let lost: Vec<_> = lost.chain(made.iter().filter_map(|answer| answer.as_ref().err())).map(reason).collect();
        assert_eq!(lost, ["HANDLE_TAKEN"; 5]);
        suite.settled().await;
        let won = changes.iter().flatten().map(|(account, _)| account.clone());
        let won: Vec<_> = won.chain(made.iter().flatten().filter_map(|made| made.get_ref().account.clone())).collect();
        assert_eq!(suite.resolved(people[0], &handle, "").await.as_slice(), won);
    }
}

#[tokio::test]
async fn an_account_has_one_change_under_way() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    let change = |n: usize| suite.changed(ada, to(&format!("star_{n}"), &format!("c-{n}")));
    let answers = futures::future::join_all((0..4).map(change)).await;
    let lost = answers.iter().filter_map(|answer| answer.as_ref().err());
    let lost: Vec<_> = lost.map(|status| (status.code(), reason(status))).collect();
    assert!(lost.len() < 4 && lost.iter().all(|lost| *lost == (Code::Aborted, "HANDLE_CHANGE_UNDER_WAY".to_owned())));
    suite.settled().await;
    let last = suite.seen_handle(ada).await;
    let won = answers.iter().flatten().any(|(account, _)| account.handle == last);
    assert!(won, "{last} was told to nobody");
}

impl Suite {
    async fn seen_handle(&self, who: RecordId) -> String {
        let request = GetAccountRequest { account_id: who.to_string(), at_least: Vec::new() };
        self.service.get_account(by(who, request)).await.unwrap().into_inner().account.unwrap().handle
    }
}

#[tokio::test]
async fn a_handle_that_cannot_be_had_changes_nothing() {
    let suite = Suite::new().await;
    let (ada, bob) = (suite.account("ada").await, suite.account("bob").await);
    let heads = suite.settled().await;
    for (handle, code, expected) in [
        ("b!b", Code::InvalidArgument, "HANDLE_INVALID"),
        ("Admin", Code::InvalidArgument, "HANDLE_RESERVED"),
        ("adm1n", Code::InvalidArgument, "HANDLE_LOOKS_ALIKE"),
        ("ac_rne", Code::InvalidArgument, "HANDLE_LOOKS_ALIKE"),
        ("BOB", Code::AlreadyExists, "HANDLE_TAKEN"),
    ] {
        assert_eq!(
            suite.refused(ada, to(handle, &format!("c-{handle}"))).await,
            (code, expected.to_owned()),
            "{handle}"
        );
        if code == Code::InvalidArgument {
            let made = suite.service.create_account(anonymous(new_account(handle, "r-2"))).await.unwrap_err();
            assert_eq!(reason(&made), expected);
        }
    }
    assert_eq!(suite.refused(RecordId([9; 16]), to("star", "c-1")).await.1, "ACCOUNT_NOT_FOUND");
    let nobody = suite.service.change_handle(anonymous(to("star", "c-1"))).await.unwrap_err();
    assert_eq!(reason(&nobody), "UNAUTHENTICATED");
    assert_eq!(suite.settled().await, heads);
    assert_eq!(suite.changed(bob, to("acme", "c-1")).await.unwrap().0.handle, "acme", "the name itself");
}

#[tokio::test]
async fn passwords_outlive_changes_of_the_handle() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    suite.changed(ada, to("countess", "c-1")).await.unwrap();
    let change = ChangePasswordRequest {
        current_password: "correct horse".into(),
        new_password: "battery staple".into(),
        ..Default::default()
    };
    suite.service.change_password(by(ada, change)).await.unwrap();
    suite.changed(ada, to("lovelace", "c-2")).await.unwrap();
    assert_eq!(suite.signs_in("lovelace", "battery staple").await, Ok(ada.to_string()));
    assert_eq!(suite.signs_in("lovelace", "correct horse").await, Err("CREDENTIALS_INVALID".to_owned()));
}

/// Whatever of a change a process has left undone when it died, the next one makes, once.
#[tokio::test]
async fn a_change_left_by_a_crash_is_carried_out_once() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    suite.changed(ada, to("countess", "c-1")).await.unwrap();
    suite.settled().await;
    let whole = suite.world.records(topics::IDENTITY_PRIVATE).await;
    let steps: Vec<_> = whole.iter().filter(|record| is_of_change(record)).collect();
    assert_eq!(steps.len(), 4, "{steps:?}");
    // A world whose log ends after the intent.
    let intent = steps.iter().find(|record| is_intent(record)).unwrap();
    let world = World::new();
    world.create().await;
    let publisher = kith_fold::Publisher::new(world.ports.log.clone(), world.ports.runtime.clone(), crate::GROUP);
    let append = |topic, key: String, record: &Record| {
        let (publisher, event, id) = (&publisher, record.event.clone(), record.id);
        async move { publisher.append(topic, &key, id, &event, &kith_fold::Cause::default()).await.unwrap() }
    };
    for record in whole.iter().filter(|record| !is_of_change(record)) {
        let Event::IdentityPrivate(Private::AccountRequested(event)) = &record.event else { continue };
        let key = crate::handle::Handle::normalised(&event.handle_key).unwrap().key();
        append(topics::IDENTITY_PRIVATE, key, record).await;
    }
    append(topics::IDENTITY_PRIVATE, ada.to_string(), intent).await;
    append(topics::IDENTITY_PRIVATE, ada.to_string(), intent).await;
    let suite = world.start().await;
    let until = Instant::now() + PATIENCE;
    while suite.resolved(ada, "countess", "").await.is_none() {
        assert!(Instant::now() < until, "the change was not carried out");
        tokio::task::yield_now().await;
    }
    suite.settled().await;
    let made = suite.world.records(topics::IDENTITY_PRIVATE).await;
    assert_eq!(made.iter().filter(|record| is_of_change(record)).count(), 5, "the intent twice, the others once");
    let facts = suite.world.records(topics::IDENTITY).await;
    let facts = facts
        .iter()
        .filter(|record| matches!(record.event, Event::Identity(Identity::HandleChanged(_) | Identity::HandleLeft(_))));
    assert_eq!(facts.count(), 2);
}

fn is_intent(record: &Record) -> bool {
    matches!(&record.event, Event::IdentityPrivate(Private::HandleChangeRequested(_)))
}

fn is_of_change(record: &Record) -> bool {
    let Event::IdentityPrivate(event) = &record.event else { return false };
    is_intent(record)
        || matches!(
            event,
            Private::HandleClaimRequested(_) | Private::HandleChangeSettled(_) | Private::HandleReleased(_)
        )
}
