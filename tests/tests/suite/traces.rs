//! Traces, as a collector gets them over OTLP from the suite in one process.

mod collector;

use std::time::Duration;

use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest, Profile};
use kith_proto::posts::v1::CreatePostRequest;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_tests::kith::{Launch, PORT};
use kith_tests::server::Server;
use kith_tests::suite::groups;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use self::collector::{Collector, Kind, Span};

/// Spans are sent every 5 s.
const SENT_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const CREATE_ACCOUNT: &str = "kith.identity.v1.AccountService/CreateAccount";
const CREATE_POST: &str = "kith.posts.v1.PostService/CreatePost";

const HANDLE: &str = "lovelace_1815";
const PASSWORD: &str = "correct horse battery";
const NAME: &str = "Augusta Ada";
const TEXT: &str = "the engine weaves algebraic patterns";
const REQUEST_ID: &str = "my-request-0001";

/// Whatever is said on standard error, spans are sent.
async fn suite(collector: &Collector) -> (Server, Channel) {
    let launch = Launch::run("suite").set("otlp_endpoint", collector.endpoint()).set("log_level", "error");
    let server = launch.start().await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", server.socket(PORT))).unwrap().connect().await.unwrap();
    (server, channel)
}

fn account() -> Request<CreateAccountRequest> {
    Request::new(CreateAccountRequest {
        handle: HANDLE.into(),
        password: PASSWORD.into(),
        profile: Some(Profile { display_name: NAME.into(), ..Profile::default() }),
        request_id: REQUEST_ID.into(),
        ..CreateAccountRequest::default()
    })
}

/// Gives the access token.
async fn sign_in(channel: &Channel) -> String {
    let request = CreateSessionRequest { handle: HANDLE.into(), password: PASSWORD.into(), ..Default::default() };
    SessionServiceClient::new(channel.clone()).create_session(request).await.unwrap().into_inner().access_token
}

async fn post(channel: &Channel, access_token: &str) {
    let mut request = Request::new(CreatePostRequest { text: TEXT.into(), ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {access_token}").parse().unwrap());
    PostServiceClient::new(channel.clone()).create_post(request).await.unwrap();
}

/// The span that a process writes when it appends to `topic`, and the spans of the groups that fold what it wrote.
fn assert_appended_and_folded(trace: &[Span], cause: &Span, topic: &str, groups: &[&str]) -> Vec<Span> {
    let send = only(trace, |span| span.name == format!("send {topic}"));
    assert_eq!((send.kind, send.parent.as_str()), (Kind::Producer, cause.id.as_str()), "{trace:#?}");
    send.assert_attributes(&[
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.destination.name", topic),
        ("messaging.kafka.offset", "0"),
    ]);
    let folded = groups.iter().map(|group| {
        let process = only(trace, |span| {
            span.name == format!("process {topic}") && span.attribute("messaging.consumer.group.name") == Some(group)
        });
        assert_eq!((process.kind, process.parent.as_str()), (Kind::Consumer, send.id.as_str()), "{trace:#?}");
        process.assert_attributes(&[
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", topic),
            ("messaging.destination.partition.id", send.attribute("messaging.destination.partition.id").unwrap()),
            ("messaging.kafka.offset", "0"),
        ]);
        process.clone()
    });
    folded.collect()
}

fn only(trace: &[Span], which: impl Fn(&Span) -> bool) -> &Span {
    let mut found = trace.iter().filter(|span| which(span));
    let first = found.next().unwrap_or_else(|| panic!("no such span in {trace:#?}"));
    assert!(found.next().is_none(), "more than one like {first:?}");
    first
}

fn assert_serves<'a>(trace: &'a [Span], method: &str, status: &str, parent: &str) -> &'a Span {
    let server = only(trace, |span| span.kind == Kind::Server);
    assert_eq!((server.name.as_str(), server.parent.as_str()), (method, parent));
    server.assert_attributes(&[("rpc.system.name", "grpc"), ("rpc.method", method), ("rpc.status_code", status)]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_rpc_through_the_records_into_the_folds() {
    let collector = Collector::start().await;
    let (mut server, channel) = suite(&collector).await;
    let mut accounts = AccountServiceClient::new(channel.clone());

    let mut traced = account();
    traced.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    accounts.create_account(traced).await.unwrap();
    let access_token = sign_in(&channel).await;
    post(&channel, &access_token).await;

    // The intent, then the fact that the arbiter makes of it, which every group folds.
    let trace = collector.trace(SENT_WITHIN, |span| span.trace == TRACE, 9).await;
    let rpc = assert_serves(&trace, CREATE_ACCOUNT, "OK", CALLER);
    let arbiter = assert_appended_and_folded(&trace, rpc, "kith.identity.private.v1", &["kith.identity.g1"]);
    let groups: Vec<String> = groups().unwrap().iter().map(|(group, _)| format!("kith.{group}.g1")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    assert_appended_and_folded(&trace, &arbiter[0], "kith.identity.v1", &groups);

    let own = collector.trace(SENT_WITHIN, |span| span.name == CREATE_POST, 1).await.remove(0).trace;
    assert_ne!(own, TRACE, "a call that brings no trace gets one of its own");
    let trace = collector.trace(SENT_WITHIN, |span| span.trace == own, 5).await;
    let rpc = assert_serves(&trace, CREATE_POST, "OK", "");
    assert_appended_and_folded(&trace, rpc, "kith.posts.v1", &["kith.posts.g1", "kith.engagement.g1", "kith.feeds.g1"]);

    // What is not sent yet is sent at the end.
    let taken = CreateAccountRequest { request_id: "another".into(), ..account().into_inner() };
    accounts.create_account(taken).await.unwrap_err();
    assert!(server.stop(STOP_WITHIN).await.unwrap().success());
    let refused = |span: &Span| span.name == CREATE_ACCOUNT && span.trace != TRACE;
    let trace = collector.trace(Duration::ZERO, refused, 1).await;
    assert_serves(&trace, CREATE_ACCOUNT, "ALREADY_EXISTS", "");

    for personal in [HANDLE, PASSWORD, NAME, TEXT, REQUEST_ID, &access_token] {
        assert!(!collector.was_sent(personal), "a span tells `{personal}`");
    }
}
