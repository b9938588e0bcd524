//! Keys follow each other by `kith keys`, a step at a time, and nobody notices.

use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateSessionResponse, ListSessionsRequest};
use kith_service::keys::rotation::KeyKind;
use kith_tests::kith;
use kith_tests::suite::Suite;
use serde_json::{Value, json};
use tonic::Status;

use crate::sessions::{PASSWORD, Person, reason, signed};

const STEPS: [&str; 3] = ["prepare", "switch", "retire"];

/// One who has what each key made.
struct Holder {
    person: Person,
    session: CreateSessionResponse,
    page_token: String,
}

impl Holder {
    async fn new(person: Person, at_least: &str) -> Self {
        person.sign_in(PASSWORD, at_least).await.unwrap();
        let session = person.sign_in(PASSWORD, at_least).await.unwrap();
        let mut holder = Self { person, session, page_token: String::new() };
        holder.page_token = holder.page(&holder.session.consistency_token).await.unwrap();
        assert!(!holder.page_token.is_empty());
        holder
    }

    /// The token after the first session, or after the one that the page token at hand comes to.
    async fn page(&self, at_least: &str) -> Result<String, Status> {
        let page_token = self.page_token.clone();
        let at_least = Some(at_least.to_owned()).filter(|token| !token.is_empty()).into_iter().collect();
        let request = ListSessionsRequest { page_size: 1, page_token, at_least };
        let mut client = SessionServiceClient::new(self.person.identity.clone());
        let page = client.list_sessions(signed(&self.session.access_token, request)).await?;
        Ok(page.into_inner().next_page_token)
    }

    async fn is_served(&self) {
        self.person.reads(&self.session.access_token).await.unwrap();
        self.page(&self.session.consistency_token).await.unwrap();
        let refreshed = self.person.refresh(&self.session.refresh_token).await.unwrap();
        self.person.reads(&refreshed.access_token).await.unwrap();
    }
}

/// `kith keys` with these arguments, in the folder of the suite: what it prints, or what it says on standard error.
async fn keys(suite: &mut Suite, arguments: &[&str]) -> Result<Value, String> {
    let mut command = kith::command().await.unwrap();
    command.arg("keys").args(arguments).arg("--json").current_dir(suite.process("suite").unwrap().folder());
    let output = command.output().unwrap();
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        Some(1) => Err(String::from_utf8(output.stderr).unwrap()),
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

async fn restart(suite: &mut Suite) {
    let process = suite.process("suite").unwrap();
    process.kill_9().unwrap();
    process.restart().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_each_other_and_nobody_notices() {
    let mut suite = Suite::embedded(10_000).await.unwrap();
    let address = suite.addresses();
    let person = Person::at(&address, &address);
    let created = person.sign_up().await;
    let first = Holder::new(person.clone(), &created).await;
    for step in STEPS {
        for kind in KeyKind::ALL.map(KeyKind::name) {
            if step != "prepare" {
                let refused = keys(&mut suite, &["--rotate", kind]).await.unwrap_err();
                assert!(refused.contains("too early"), "{refused}");
            }
            let said = keys(&mut suite, &["--rotate", kind, "--early"]).await.unwrap();
            assert_eq!(said["made"], json!({"key": kind, "step": step}));
        }
        restart(&mut suite).await;
        if step != "retire" {
            first.is_served().await;
        }
    }
    // Of the first keys nothing is accepted any more.
    let refused = |answer: Result<(), Status>| reason(&answer.unwrap_err());
    assert_eq!(refused(person.reads(&first.session.access_token).await), "UNAUTHENTICATED");
    assert_eq!(refused(person.refresh(&first.session.refresh_token).await.map(drop)), "REFRESH_TOKEN_INVALID");
    let second = Holder::new(person.clone(), "").await;
    second.is_served().await;
    let expired = second.page(&first.session.consistency_token).await;
    assert_eq!(refused(expired.map(drop)), "CONSISTENCY_TOKEN_EXPIRED");
    let stale = Holder { page_token: first.page_token, ..second };
    assert_eq!(refused(stale.page("").await.map(drop)), "PAGE_TOKEN_INVALID");
    let said = keys(&mut suite, &[]).await.unwrap();
    let next: Vec<&Value> = said["keys"].as_array().unwrap().iter().map(|key| &key["next_step"]).collect();
    assert_eq!(next, ["prepare"; 4]);
}
