//! Calling services, through the wire: what each may do, for whom, and what is said of it in the log.

mod away;
mod by_url;
pub mod issuer;

use std::time::Duration;

use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_tests::kith::{ADMIN_PORT, Launch, PORT};
use kith_tests::suite::{self, Suite};
use kith_tests::{http, servers, wait};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use issuer::{Issuer, PEOPLE, STAFF, principal};

const PASSWORD: &str = "correct horse";
const NOBODY: &str = "00000000000000000000000000000000";
/// Files are read again every 5 s.
const READ_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// A suite that trusts an issuer.
struct World {
    suite: Suite,
    issuer: Issuer,
    channel: Channel,
}

/// Somebody with a way to call.
#[derive(Clone)]
struct Caller {
    channel: Channel,
    bearer: Option<String>,
    on_behalf_of: Option<String>,
}

fn all_principals(web: &[&str]) -> String {
    let web = principal("web", web, "any");
    web + &principal("app", &["act-as"], "any")
        + &principal("idle", &[], STAFF)
        + &principal("reader", &["read"], STAFF)
        + &principal("portal", &["act-as", "create-accounts", "reset-passwords"], PEOPLE)
}

impl World {
    async fn embedded() -> Self {
        Self::over(|launch| launch).await
    }

    async fn over(settings: impl FnOnce(Launch) -> Launch) -> Self {
        let issuer = Issuer::new();
        issuer.trust(&all_principals(&["read", "act-as", "create-accounts"]));
        let launch = settings(Launch::run("suite")).set("callers_file", issuer.file().display().to_string());
        let suite = Suite::of("suite", launch).await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", suite.processes["suite"].socket(PORT))).unwrap();
        Self { suite, issuer, channel: channel.connect_lazy() }
    }

    fn anyone(&self) -> Caller {
        Caller { channel: self.channel.clone(), bearer: None, on_behalf_of: None }
    }

    fn service(&self, name: &str) -> Caller {
        self.anyone().with(&self.issuer.token(STAFF, name, &[]))
    }

    /// An account with a password, its id and its access token.
    async fn person(&self, handle: &str) -> (String, Caller) {
        let (name, password) = (handle.to_owned(), PASSWORD.to_owned());
        let create = identity::CreateAccountRequest { handle: name, password, ..Default::default() };
        let token = self.anyone().create_account(create).await.unwrap().consistency_token;
        let session = self.anyone().sign_in(handle, PASSWORD, &token).await.unwrap();
        (session.account_id, self.anyone().with(&session.access_token))
    }

    async fn events(&self, topic: &str) -> Vec<Value> {
        let said = self.suite.operate("suite", &["events", "--topic", topic, "--limit", "1000"]).await.unwrap();
        serde_json::from_str::<Value>(&said).unwrap()["events"].as_array().unwrap().clone()
    }

    async fn metric(&self, line: &str) -> bool {
        let metrics = http::get(self.suite.processes["suite"].socket(ADMIN_PORT), "/metrics").await.unwrap();
        metrics.body.lines().any(|found| found.starts_with(line))
    }
}

impl Caller {
    fn with(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    fn for_account(&self, account_id: &str) -> Self {
        Self { on_behalf_of: Some(account_id.to_owned()), ..self.clone() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        }
        if let Some(account_id) = &self.on_behalf_of {
            request.metadata_mut().insert("kith-on-behalf-of", account_id.parse().unwrap());
        }
        request
    }

    async fn create_account(
        &self,
        create: identity::CreateAccountRequest,
    ) -> Result<identity::CreateAccountResponse, Status> {
        let mut client = AccountServiceClient::new(self.channel.clone());
        client.create_account(self.request(create)).await.map(tonic::Response::into_inner)
    }

    async fn link(&self, subject_token: &str) -> Result<identity::LinkIdentityResponse, Status> {
        let link = identity::LinkIdentityRequest { subject_token: subject_token.into(), ..Default::default() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.link_identity(self.request(link)).await.map(tonic::Response::into_inner)
    }

    async fn unlink(&self, identity: &str) -> Result<identity::UnlinkIdentityResponse, Status> {
        let unlink = identity::UnlinkIdentityRequest { identity: identity.into(), ..Default::default() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.unlink_identity(self.request(unlink)).await.map(tonic::Response::into_inner)
    }

    async fn sign_in(
        &self,
        handle: &str,
        password: &str,
        token: &str,
    ) -> Result<identity::CreateSessionResponse, Status> {
        let (handle, password, at_least) = (handle.into(), password.into(), vec![token.into()]);
        let create = identity::CreateSessionRequest { handle, password, at_least, ..Default::default() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.create_session(self.request(create)).await.map(tonic::Response::into_inner)
    }

    async fn reset_password(&self, password: &str, request_id: &str) -> Result<String, Status> {
        let (new_password, request_id) = (password.into(), request_id.into());
        let reset = identity::ResetPasswordRequest { new_password, request_id, at_least: Vec::new() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.reset_password(self.request(reset)).await.map(|answer| answer.into_inner().consistency_token)
    }

    async fn sessions_after(&self, token: &str) -> Result<Vec<identity::Session>, Status> {
        let request = identity::ListSessionsRequest { at_least: vec![token.into()], ..Default::default() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.list_sessions(self.request(request)).await.map(|answer| answer.into_inner().sessions)
    }

    async fn exchange(&self, subject_token: &str, request_id: &str) -> Result<identity::ExchangeTokenResponse, Status> {
        let (subject_token, request_id) = (subject_token.into(), request_id.into());
        let exchange = identity::ExchangeTokenRequest { subject_token, request_id, ..Default::default() };
        let mut client = SessionServiceClient::new(self.channel.clone());
        client.exchange_token(self.request(exchange)).await.map(tonic::Response::into_inner)
    }

    async fn post_after(&self, text: &str, token: &str) -> Result<posts::Post, Status> {
        let create = posts::CreatePostRequest { text: text.into(), at_least: vec![token.into()], ..Default::default() };
        let created =
            PostServiceClient::new(self.channel.clone()).create_post(self.request(create)).await?.into_inner();
        Ok(created.post.unwrap())
    }

    async fn post(&self, text: &str, request_id: &str) -> Result<posts::Post, Status> {
        let create =
            posts::CreatePostRequest { text: text.into(), request_id: request_id.into(), ..Default::default() };
        let created =
            PostServiceClient::new(self.channel.clone()).create_post(self.request(create)).await?.into_inner();
        Ok(created.post.unwrap())
    }

    async fn get_post(&self, post_id: &str) -> Result<posts::Post, Status> {
        let get = posts::GetPostRequest { post_id: post_id.into(), ..Default::default() };
        let got = PostServiceClient::new(self.channel.clone()).get_post(self.request(get)).await?.into_inner();
        Ok(got.post.unwrap())
    }

    async fn home(&self) -> Result<feeds::GetHomeFeedResponse, Status> {
        let mut client = FeedServiceClient::new(self.channel.clone());
        let get = feeds::GetHomeFeedRequest::default();
        client.get_home_feed(self.request(get)).await.map(tonic::Response::into_inner)
    }

    async fn author_feed(&self, account_id: &str) -> Result<feeds::GetAuthorFeedResponse, Status> {
        let mut client = FeedServiceClient::new(self.channel.clone());
        let get = feeds::GetAuthorFeedRequest { account_id: account_id.into(), ..Default::default() };
        client.get_author_feed(self.request(get)).await.map(tonic::Response::into_inner)
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = answer.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), &*info.reason), (code, reason), "{status:?}");
    status
}

#[track_caller]
fn refused_right<T: std::fmt::Debug>(answer: Result<T, Status>, right: &str) {
    let status = refused(answer, Code::PermissionDenied, "RIGHT_MISSING");
    assert_eq!(status.get_details_error_info().unwrap().metadata["right"], right);
}

/// What holds on both adapters.
async fn services_act_for_accounts(world: &World) {
    let (ada_id, ada) = world.person("ada").await;
    let [web, app] = ["web", "app"].map(|name| world.service(name).for_account(&ada_id));
    let own = ada.post("by herself", "1").await.unwrap();
    let by_web = web.post("for her", "1").await.unwrap();
    let by_app = app.post("for her too", "1").await.unwrap();
    assert_eq!([&own, &by_web, &by_app].map(|post| &*post.author_id), [&*ada_id; 3]);
    assert_eq!(web.post("for her", "1").await.unwrap().post_id, by_web.post_id, "a repeat");
    let ids = [&own, &by_web, &by_app].map(|post| &*post.post_id);
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "one request id of each: {ids:?}");
    refused(app.post("another text", "1").await, Code::AlreadyExists, "REQUEST_ID_REUSED");

    let events = world.events("kith.posts.v1").await;
    let principal_of =
        |post_id: &str| events.iter().find(|event| event["key"] == post_id).unwrap()["principal"].clone();
    assert_eq!(ids.map(principal_of), ["", "web", "app"].map(Value::from));
}

/// What holds on both adapters of people who come by the company's own sign-in.
async fn people_come_by_their_issuer(world: &World) {
    let portal = world.service("portal");
    let token = |subject: &str, client: &str| world.issuer.token(PEOPLE, subject, &[("azp", client.into())]);
    let sign_up = |handle: &str, subject_token: String, request_id: &str| identity::CreateAccountRequest {
        handle: handle.into(),
        subject_token,
        request_id: request_id.into(),
        ..Default::default()
    };
    let made = portal.create_account(sign_up("grace", token("grace", "portal"), "1")).await.unwrap();
    let again = portal.create_account(sign_up("grace", token("grace", "portal"), "1")).await.unwrap();
    let grace = made.account.as_ref().unwrap().account_id.clone();
    assert_eq!(again.account, made.account, "a repeat, with another token of the same person");
    let other = portal.create_account(sign_up("grace_2", token("grace", "portal"), "2")).await;
    refused(other, Code::AlreadyExists, "IDENTITY_TAKEN");
    let stolen = portal.create_account(sign_up("mallory", token("mallory", "web"), "3")).await;
    refused(stolen, Code::InvalidArgument, "IDENTITY_TOKEN_INVALID");
    let person = world.anyone().create_account(sign_up("mallory", token("mallory", "portal"), "3")).await;
    refused(person, Code::InvalidArgument, "FIELD_INVALID");

    // In another service, which has to have folded the link.
    let (for_grace, seen) = (portal.for_account(&grace), &made.consistency_token);
    assert_eq!(for_grace.post_after("hello", seen).await.unwrap().author_id, grace);
    let (ada_id, ada) = world.person("ada_by_password").await;
    refused_right(portal.for_account(&ada_id).post_after("hello", seen).await, "act-as");

    let subject_token = token("grace", "portal");
    let exchanged = portal.exchange(&subject_token, "1").await.unwrap();
    assert_eq!(exchanged.account_id, grace);
    assert_eq!(portal.exchange(&subject_token, "1").await.unwrap().account_id, grace, "a repeat");
    refused(portal.exchange(&subject_token, "2").await, Code::FailedPrecondition, "TOKEN_EXCHANGED");
    refused(portal.exchange(&token("nobody", "portal"), "3").await, Code::NotFound, "IDENTITY_NOT_FOUND");
    refused(portal.exchange(&token("grace", "web"), "4").await, Code::InvalidArgument, "IDENTITY_TOKEN_INVALID");
    refused(ada.exchange(&token("grace", "portal"), "5").await, Code::PermissionDenied, "RIGHT_MISSING");
    let herself = world.anyone().with(&exchanged.access_token);
    assert_eq!(herself.post("by herself", "").await.unwrap().author_id, grace);
    let mut sessions = herself.sessions_after(&exchanged.consistency_token).await.unwrap();
    let session = sessions.pop().unwrap();
    assert_eq!((session.session_id, &*session.principal), (exchanged.session_id.clone(), "portal"));
    assert!(sessions.is_empty(), "a repeat begins no second one: {sessions:?}");

    refused(ada.link(&token("grace", "portal")).await, Code::AlreadyExists, "IDENTITY_TAKEN");
    refused(ada.link("a.b.c").await, Code::InvalidArgument, "IDENTITY_TOKEN_INVALID");
    ada.unlink(&exchanged.identity).await.unwrap();
    for_grace.post_after("still hers", seen).await.unwrap();
    let unlinked = herself.unlink(&exchanged.identity).await.unwrap().consistency_token;
    refused_right(for_grace.post_after("no longer", &unlinked).await, "act-as");
    let linked = ada.link(&token("grace", "portal")).await.unwrap();
    assert_eq!(linked.identity, exchanged.identity);
    let for_ada = portal.for_account(&ada_id);
    assert_eq!(for_ada.post_after("hers now", &linked.consistency_token).await.unwrap().author_id, ada_id);

    refused(ada.reset_password("by herself", "1").await, Code::PermissionDenied, "RIGHT_MISSING");
    refused_right(world.service("web").for_account(&ada_id).reset_password("by another", "1").await, "reset-passwords");
    refused_right(for_grace.reset_password("of a stranger", "1").await, "act-as");
    let reset = for_ada.reset_password("a new phrase", "1").await.unwrap();
    for_ada.reset_password("a repeat", "1").await.unwrap();
    let old = world.anyone().sign_in("ada_by_password", PASSWORD, &reset).await;
    refused(old, Code::Unauthenticated, "CREDENTIALS_INVALID");
    let session = world.anyone().sign_in("ada_by_password", "a new phrase", &reset).await.unwrap();
    let sessions = world.anyone().with(&session.access_token).sessions_after(&session.consistency_token).await.unwrap();
    assert_eq!(sessions.len(), 1, "the one before the reset is over: {sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_act_for_accounts_over_embedded_stores() {
    services_act_for_accounts(&World::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_by_their_issuer_over_embedded_stores() {
    people_come_by_their_issuer(&World::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_act_for_accounts_over_kafka_and_cassandra() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    tokio::try_join!(kafka.wipe(), cassandra.wipe()).unwrap();
    let keys = tempfile::tempdir().unwrap();
    suite::init(&kafka, &cassandra, keys.path()).await.unwrap();
    let places = suite::places(&kafka, &cassandra, keys.path());
    let over = |launch: Launch| places.into_iter().fold(launch, |launch, (key, value)| launch.set(key, value));
    let world = World::over(over).await;
    services_act_for_accounts(&world).await;
    people_come_by_their_issuer(&world).await;
    away::an_account_leaves_and_comes_back_whole(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_has_no_right_to_is_refused_and_counted() {
    let world = World::embedded().await;
    let (ada_id, ada) = world.person("ada").await;
    let post = ada.post("hello", "").await.unwrap();
    let (reader, idle) = (world.service("reader"), world.service("idle"));
    // Without a token a reader sees what is folded by now.
    let shown =
        wait::until("the post is folded", READ_AGAIN_WITHIN, async || match reader.get_post(&post.post_id).await {
            Err(status) if status.code() == Code::NotFound => Ok(None),
            read => Ok(Some(read?)),
        });
    assert_eq!(shown.await.unwrap().text, "hello");
    refused(reader.home().await, Code::InvalidArgument, "FIELD_INVALID");
    refused_right(reader.for_account(&ada_id).get_post(&post.post_id).await, "act-as");
    refused_right(idle.get_post(&post.post_id).await, "read");
    refused_right(idle.for_account(&ada_id).home().await, "act-as");
    let create =
        identity::CreateAccountRequest { handle: "bob".into(), password: "correct horse".into(), ..Default::default() };
    refused_right(reader.create_account(create.clone()).await, "create-accounts");
    world.service("web").create_account(create).await.unwrap();
    refused_right(world.service("web").for_account(NOBODY).post("hello", "").await, "act-as");
    refused(world.service("web").for_account("ada").home().await, Code::InvalidArgument, "ID_MALFORMED");

    // A gateway passes its users' headers on.
    for caller in [ada.for_account(&ada_id), world.anyone().for_account(&ada_id)] {
        refused(caller.get_post(&post.post_id).await, Code::PermissionDenied, "ON_BEHALF_OF_REFUSED");
        refused(caller.create_account(Default::default()).await, Code::PermissionDenied, "ON_BEHALF_OF_REFUSED");
    }
    let nobody = world.anyone().with(&world.issuer.token(STAFF, "nobody", &[]));
    refused(nobody.get_post(&post.post_id).await, Code::Unauthenticated, "UNAUTHENTICATED");
    let long_ago = world.anyone().with(&world.issuer.token(STAFF, "web", &[("exp", 1_700_000_000.into())]));
    refused(long_ago.get_post(&post.post_id).await, Code::Unauthenticated, "TOKEN_EXPIRED");
    assert!(world.metric(r#"kith_rights_refused_total{principal="reader",right="act-as"} 1"#).await);
    assert!(world.metric(r#"kith_rights_refused_total{principal="web",right="act-as"} 1"#).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_particular_reads_what_is_public() {
    let world = World::embedded().await;
    let (ada_id, ada) = world.person("ada").await;
    ada.post("hello", "").await.unwrap();
    let reader = world.service("reader");
    let shown = wait::until("the post is in the author's feed", READ_AGAIN_WITHIN, async || {
        Ok(reader.author_feed(&ada_id).await?.items.into_iter().next())
    });
    assert_eq!(shown.await.unwrap().post.unwrap().text, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_gone_soon() {
    let world = World::embedded().await;
    let (ada_id, _) = world.person("ada").await;
    let web = world.service("web").for_account(&ada_id);
    web.home().await.unwrap();
    world.issuer.trust(&all_principals(&["read"]));
    wait::until("the right is gone", READ_AGAIN_WITHIN, async || Ok(web.home().await.err())).await.unwrap();
    refused_right(web.home().await, "act-as");
}
