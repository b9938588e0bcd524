//! Sessions through the wire: they are kept up, listed and ended, and what was ended is soon accepted nowhere.

use std::path::Path;
use std::time::Duration;

use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{
    ChangePasswordRequest, ClientClass, CreateAccountRequest, CreateSessionRequest, CreateSessionResponse,
    ListSessionsRequest, RefreshSessionRequest, RefreshSessionResponse, RevokeAllSessionsRequest, RevokeSessionRequest,
};
use kith_service::limits::REVOCATIONS_KNOWN_SECONDS;
use kith_tests::kith::PORT;
use kith_tests::suite::Suite;
use kith_tests::{servers, wait};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::embedded;

const HANDLE: &str = "ada";
pub const PASSWORD: &str = "correct horse battery";
const OTHER_PASSWORD: &str = "staple of another kind";
/// Once the broker answers again.
const HEARS_AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// Every process refuses by then; a busy machine gets a little longer to ask.
const REFUSED_WITHIN: Duration = Duration::from_secs(REVOCATIONS_KNOWN_SECONDS + 5);

/// A caller: of identity, and of another service.
#[derive(Clone)]
pub struct Person {
    pub identity: Channel,
    pub feeds: Channel,
}

impl Person {
    pub fn at(identity: &str, feeds: &str) -> Self {
        let channel = |address: &str| Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { identity: channel(identity), feeds: channel(feeds) }
    }

    fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.identity.clone())
    }

    pub async fn sign_up(&self) -> String {
        let request = CreateAccountRequest { handle: HANDLE.into(), password: PASSWORD.into(), ..Default::default() };
        AccountServiceClient::new(self.identity.clone())
            .create_account(request)
            .await
            .unwrap()
            .into_inner()
            .consistency_token
    }

    pub async fn sign_in(&self, password: &str, at_least: &str) -> Result<CreateSessionResponse, Status> {
        let request = CreateSessionRequest {
            handle: HANDLE.into(),
            password: password.into(),
            client: ClientClass::Browser.into(),
            at_least: Some(at_least.to_owned()).filter(|token| !token.is_empty()).into_iter().collect(),
            ..Default::default()
        };
        Ok(self.sessions().create_session(request).await?.into_inner())
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<RefreshSessionResponse, Status> {
        let request = RefreshSessionRequest { refresh_token: refresh_token.to_owned(), at_least: Vec::new() };
        Ok(self.sessions().refresh_session(request).await?.into_inner())
    }

    /// The ids of the sessions that stand.
    pub async fn listed(&self, bearer: &str, at_least: &str) -> Result<Vec<String>, Status> {
        let request = ListSessionsRequest { at_least: vec![at_least.to_owned()], ..Default::default() };
        let page = self.sessions().list_sessions(signed(bearer, request)).await?.into_inner();
        assert!(page.sessions.iter().all(|session| session.client() == ClientClass::Browser));
        Ok(page.sessions.into_iter().map(|session| session.session_id).collect())
    }

    pub async fn revoke(&self, bearer: &str, session_id: &str) -> Result<String, Status> {
        let request = RevokeSessionRequest { session_id: session_id.to_owned(), ..Default::default() };
        Ok(self.sessions().revoke_session(signed(bearer, request)).await?.into_inner().consistency_token)
    }

    async fn revoke_all(&self, bearer: &str, include_current: bool) -> Result<String, Status> {
        let request = RevokeAllSessionsRequest { include_current, ..Default::default() };
        Ok(self.sessions().revoke_all_sessions(signed(bearer, request)).await?.into_inner().consistency_token)
    }

    async fn change_password(&self, bearer: &str, current: &str, request_id: &str) -> Result<String, Status> {
        let request = ChangePasswordRequest {
            current_password: current.into(),
            new_password: OTHER_PASSWORD.into(),
            request_id: request_id.into(),
            at_least: Vec::new(),
        };
        Ok(self.sessions().change_password(signed(bearer, request)).await?.into_inner().consistency_token)
    }

    /// Whether the other service takes the token.
    pub async fn reads(&self, bearer: &str) -> Result<(), Status> {
        FeedServiceClient::new(self.feeds.clone()).get_home_feed(signed(bearer, GetHomeFeedRequest::default())).await?;
        Ok(())
    }

    /// Waits until the other service takes it no more.
    pub async fn until_refused(&self, bearer: &str) {
        let refused = async || Ok(self.reads(bearer).await.err().filter(|status| reason(status) == "SESSION_ENDED"));
        let status = wait::until("a refusal of an ended session", REFUSED_WITHIN, refused).await.unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
}

pub fn signed<T>(bearer: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    request
}

pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_else(|| format!("{status:?}"))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_up_until_it_is_ended_and_then_accepted_nowhere() {
    let mut suite = Suite::embedded(10_000).await.unwrap();
    let address = suite.addresses();
    let person = Person::at(&address, &address);
    let created = person.sign_up().await;
    let phone = person.sign_in(PASSWORD, &created).await.unwrap();
    let laptop = person.sign_in(PASSWORD, &created).await.unwrap();
    let mut both = [phone.session_id.clone(), laptop.session_id.clone()];
    both.sort();
    let mut listed = person.listed(&phone.access_token, &laptop.consistency_token).await.unwrap();
    assert_eq!(listed[0], laptop.session_id, "newest first");
    listed.sort();
    assert_eq!(listed, both);

    let first = person.refresh(&phone.refresh_token).await.unwrap();
    let again = person.refresh(&phone.refresh_token).await.unwrap();
    assert_eq!((&first.refresh_token, &again.refresh_token), (&phone.refresh_token, &phone.refresh_token));
    assert_eq!((first.session_id, first.account_id), (phone.session_id.clone(), phone.account_id.clone()));
    assert_ne!(first.access_token, phone.access_token);
    person.reads(&first.access_token).await.unwrap();
    let mut forged = phone.refresh_token.clone().into_bytes();
    forged[30] ^= 1;
    let forged = String::from_utf8(forged).unwrap();
    assert!(["REFRESH_TOKEN_INVALID", "FIELD_INVALID"].contains(&&*refused(person.refresh(&forged).await)));

    let ended = person.revoke(&laptop.access_token, &phone.session_id).await.unwrap();
    assert!(person.revoke(&laptop.access_token, &phone.session_id).await.is_ok(), "it is over already");
    assert_eq!(refused(person.revoke(&laptop.access_token, &"0".repeat(32)).await), "SESSION_NOT_FOUND");
    for bearer in [&phone.access_token, &first.access_token, &again.access_token] {
        person.until_refused(bearer).await;
    }
    assert_eq!(refused(person.refresh(&phone.refresh_token).await), "SESSION_ENDED");
    assert_eq!(person.listed(&laptop.access_token, &ended).await.unwrap(), std::slice::from_ref(&laptop.session_id));

    suite.process("suite").unwrap().kill_9().unwrap();
    suite.process("suite").unwrap().restart().await.unwrap();
    assert_eq!(refused(person.reads(&phone.access_token).await), "SESSION_ENDED", "a new process knows it");
    person.reads(&laptop.access_token).await.unwrap();
    person.refresh(&laptop.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_the_other_sessions_and_no_secret_is_written() {
    let mut suite = Suite::embedded(10_000).await.unwrap();
    let address = suite.addresses();
    let person = Person::at(&address, &address);
    let created = person.sign_up().await;
    let [thief, owner] =
        [person.sign_in(PASSWORD, &created).await.unwrap(), person.sign_in(PASSWORD, &created).await.unwrap()];
    assert_eq!(refused(person.change_password(&owner.access_token, "a guess", "one").await), "CREDENTIALS_INVALID");
    let changed = person.change_password(&owner.access_token, PASSWORD, "one").await.unwrap();
    assert!(person.change_password(&owner.access_token, "a guess", "one").await.is_ok(), "a repeat compares nothing");
    person.until_refused(&thief.access_token).await;
    assert_eq!(refused(person.refresh(&thief.refresh_token).await), "SESSION_ENDED");
    person.reads(&owner.access_token).await.unwrap();
    person.refresh(&owner.refresh_token).await.unwrap();
    assert_eq!(refused(person.sign_in(PASSWORD, &changed).await), "CREDENTIALS_INVALID");
    let later = person.sign_in(OTHER_PASSWORD, &changed).await.unwrap();

    person.revoke_all(&owner.access_token, false).await.unwrap();
    person.until_refused(&later.access_token).await;
    let ended = person.revoke_all(&owner.access_token, true).await.unwrap();
    person.until_refused(&owner.access_token).await;
    let last = person.sign_in(OTHER_PASSWORD, &ended).await.unwrap();
    person.reads(&last.access_token).await.unwrap();

    embedded::stop(&mut suite).await;
    let tokens = [&thief, &owner, &later, &last].map(|session| [&*session.refresh_token, &session.access_token]);
    let secrets: Vec<&str> = tokens.into_iter().flatten().chain([PASSWORD, OTHER_PASSWORD]).collect();
    let (mut files, mut found) = (0, Vec::new());
    look_through(suite.process("suite").unwrap().folder(), &mut |path, bytes| {
        files += 1;
        let has = |secret: &&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        found.extend(secrets.iter().filter(|secret| has(secret)).map(|_| path.to_owned()));
    });
    assert!(files > 5 && found.is_empty(), "of {files} files, these hold a secret: {found:?}");
}

/// Over a broker: identity ends the session, and the projector's process hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_hears_of_an_end_and_one_that_hears_nothing_accepts_no_token() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    let [identity, feeds] = ["identity", "projector"].map(|name| suite.process(name).unwrap().socket(PORT).to_string());
    let person = Person::at(&identity, &feeds);
    let created = person.sign_up().await;
    let phone = person.sign_in(PASSWORD, &created).await.unwrap();
    let laptop = person.sign_in(PASSWORD, &created).await.unwrap();
    person.reads(&phone.access_token).await.unwrap();
    person.revoke(&laptop.access_token, &phone.session_id).await.unwrap();
    person.until_refused(&phone.access_token).await;
    person.reads(&laptop.access_token).await.unwrap();

    kafka.pause().await.unwrap();
    let behind = async || {
        let refused = person.reads(&laptop.access_token).await.err();
        Ok(refused.filter(|status| reason(status) == "REVOCATIONS_BEHIND"))
    };
    let status = wait::until("a process that hears nothing refuses", REFUSED_WITHIN, behind).await.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    kafka.resume().unwrap();
    let reads = async || Ok(person.reads(&laptop.access_token).await.ok());
    wait::until("it hears again", HEARS_AGAIN_WITHIN, reads).await.unwrap();
    assert_eq!(refused(person.reads(&phone.access_token).await), "SESSION_ENDED");
}

fn look_through(folder: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => look_through(&path, look),
            false => look(&path, &std::fs::read(&path).unwrap()),
        }
    }
}
