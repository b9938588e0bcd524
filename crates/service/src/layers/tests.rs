use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use kith_log::RecordId;
use kith_runtime::Runtime;
use tonic_types::StatusExt;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::auth::{Authentication, Operator, Principals, SessionRef, TokenIssuer};
use crate::deadline::Deadline;
use crate::keys::{JWKS_FILE, KeyFolder};
use crate::limits::RPCS_IN_FLIGHT;
use crate::rate::{Rate, Rates, Refused};

struct Suite {
    metrics: Metrics,
    edge: Edge,
    /// The value of the `authorization` of somebody who is known.
    bearer: String,
    _keys: tempfile::TempDir,
}

fn suite() -> Suite {
    suite_with(EdgeRules::default())
}

fn suite_with(rules: EdgeRules) -> Suite {
    let runtime = Runtime::simulated(1, 1_700_000_000_000);
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::at(folder.path());
    keys.create_missing(&runtime).unwrap();
    let verifier = Verifier::open(folder.path().join(JWKS_FILE), runtime.clone()).unwrap();
    let issuer = TokenIssuer::new(keys.signing_key().unwrap(), runtime.clone());
    let metrics = Metrics::default();
    let edge = Edge::new(&metrics, (&runtime, Refused::default()), verifier, Principals::default(), rules).unwrap();
    let session = SessionRef { id: RecordId([3; 16]), made_at: 0 };
    let bearer = format!("Bearer {}", issuer.issue(RecordId([7; 16]), session).unwrap().text);
    Suite { metrics, edge, bearer, _keys: folder }
}

async fn call<S>(edge: &Edge, headers: &[(&str, &str)], handler: S) -> Status
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let response = edge.layer(handler).oneshot(request(headers, Body::empty())).await.unwrap();
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
}

fn request(headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let request = Request::post("/kith.identity.v1.AccountService/GetAccount");
    let request = request.header("content-type", "application/grpc");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body).unwrap()
}

/// A request of which these pieces come, and nothing more while the sender is kept.
fn unfinished(pieces: &[&'static [u8]]) -> (tokio::sync::mpsc::Sender<Result<http_body::Frame<Bytes>, Status>>, Body) {
    let (sender, waiting) = tokio::sync::mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(Ok(http_body::Frame::data(Bytes::from_static(piece)))).unwrap();
    }
    (sender, Body::new(http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(waiting))))
}

/// All places, taken by many.
fn crowd(suite: &Suite, who: Who) -> Vec<Taken> {
    let sources = (0_u32..).map(|n| Source::of_address(Ipv4Addr::from_bits(n).into()));
    sources.map_while(|source| suite.edge.shared.admission.admit(who, &source)).collect()
}

async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::empty()))
}

async fn never(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    std::future::pending().await
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn handlers_find_their_deadline_and_their_caller() {
    let suite = suite();
    let handler = service_fn(|request: Request<Body>| {
        let deadline = request.extensions().get::<Deadline>().copied().unwrap();
        assert_eq!(deadline.remaining(), Duration::from_millis(980));
        let authentication = request.extensions().get::<Authentication>().cloned().unwrap();
        assert!(matches!(authentication, Authentication::Caller(caller) if caller.account_id == RecordId([7; 16])));
        ok(request)
    });
    let headers = [("grpc-timeout", "1S"), ("authorization", &*suite.bearer)];
    assert_eq!(call(&suite.edge, &headers, handler).await.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_handler_loses_to_its_deadline() {
    let suite = suite();
    let started = Instant::now();
    let status = call(&suite.edge, &[("grpc-timeout", "2S")], service_fn(never)).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!((1_990..2_000).contains(&started.elapsed().as_millis()), "before the caller gives up");
}

#[tokio::test(start_paused = true)]
async fn a_bad_deadline_never_reaches_the_handler() {
    let suite = suite();
    let handler = service_fn(|_| async { panic!("called") });
    let status = call(&suite.edge, &[("grpc-timeout", "5x")], handler).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "FIELD_INVALID"));
    let status = call(&suite.edge, &[("grpc-timeout", "1m")], handler).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_TOO_SHORT"));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_shed_at_once_and_counted() {
    let suite = suite();
    let held = crowd(&suite, Who::Known);
    let headers = [("authorization", &*suite.bearer)];
    let status = call(&suite.edge, &headers, service_fn(ok)).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(status.get_details_retry_info().is_some());
    drop(held);
    assert_eq!(call(&suite.edge, &headers, service_fn(ok)).await.code(), Code::Ok);
    let text = suite.metrics.encode().unwrap();
    for status in ["OK", "RESOURCE_EXHAUSTED"] {
        let labels = format!(r#"rpc_method="kith.identity.v1.AccountService/GetAccount",rpc_status_code="{status}""#);
        assert!(text.contains(&format!("duration_seconds_count{{{labels}}} 1")), "{text}");
    }
}

/// h2 counts streams that are answered before their end, and closes their connection in the end.
#[tokio::test(start_paused = true)]
async fn a_refused_request_is_taken_first_but_not_waited_for() {
    let suite = suite();
    let _held = crowd(&suite, Who::Known);
    let (sender, body) = unfinished(&[b"piece", b"piece"]);
    let started = Instant::now();
    let request = request(&[("authorization", &*suite.bearer)], body);
    let response = suite.edge.layer(service_fn(ok)).oneshot(request).await.unwrap();
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::ResourceExhausted);
    assert_eq!(sender.capacity(), 2, "what came is taken");
    assert_eq!(started.elapsed().as_millis() / 10, REFUSED_TAKEN_WITHIN.as_millis() / 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_goes_away_is_counted_and_gives_its_place_back() {
    let suite = suite();
    let gone = tokio::time::timeout(Duration::from_millis(50), call(&suite.edge, &[], service_fn(never))).await;
    assert!(gone.is_err());
    assert_eq!(suite.edge.shared.admission.in_flight(), 0);
    assert!(suite.metrics.encode().unwrap().contains(r#"rpc_status_code="CANCELLED""#));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_answer_is_taken() {
    let suite = suite();
    let in_flight = || suite.edge.shared.admission.in_flight();
    let handler = service_fn(|_| async { Ok(Response::new(Body::new(Full::from("answer")))) });
    let response = suite.edge.layer(handler).oneshot(request(&[], Body::empty())).await.unwrap();
    assert_eq!(in_flight(), 1);
    let idle = suite.edge.idle();
    assert!(tokio::time::timeout(Duration::from_secs(1), idle).await.is_err());
    drop(response);
    assert_eq!(in_flight(), 0);
    suite.edge.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_holds_no_place_and_is_given_up() {
    let suite = suite();
    let admission = &suite.edge.shared.admission;
    let (mut senders, mut calls) = (Vec::new(), Vec::new());
    for n in 0..2 * RPCS_IN_FLIGHT {
        let (sender, body) = unfinished(&[b"piece"]);
        senders.push(sender);
        let headers = [("grpc-timeout", "30S"), ("authorization", &*suite.bearer)];
        let headers = &headers[..1 + n % 2];
        calls.push(suite.edge.layer(service_fn(|_| async { panic!("called") })).oneshot(request(headers, body)));
    }
    let started = Instant::now();
    let mut calls = futures::future::join_all(calls);
    assert!(futures::poll!(&mut calls).is_pending());
    assert!(admission.has_room(Who::Known) && admission.has_room(Who::Anonymous));
    assert_eq!(admission.in_flight(), 2 * RPCS_IN_FLIGHT, "the end of the process waits for them all the same");
    assert_eq!(call(&suite.edge, &[("authorization", &*suite.bearer)], service_fn(ok)).await.code(), Code::Ok);
    for response in calls.await {
        let status = Status::from_header_map(response.unwrap().headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, late_request().message()));
    }
    assert_eq!(started.elapsed().as_secs(), REQUEST_ARRIVES_SECONDS);
    assert_eq!(admission.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_while_its_request_comes_is_counted_so() {
    let suite = suite();
    let (sender, body) = unfinished(&[]);
    sender.send(Err(Status::cancelled("reset"))).await.unwrap();
    let call = suite.edge.layer(service_fn(ok)).oneshot(request(&[], body));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    assert_eq!(suite.edge.shared.admission.in_flight(), 0);
    assert!(suite.metrics.encode().unwrap().contains(r#"rpc_status_code="CANCELLED""#));
}

#[tokio::test(start_paused = true)]
async fn who_has_no_good_token_finds_places_of_their_own() {
    let suite = suite();
    let forged = suite.bearer.replace('.', "");
    let held = crowd(&suite, Who::Anonymous);
    for headers in [&[][..], &[("authorization", &*forged)]] {
        assert_eq!(reason(&call(&suite.edge, headers, service_fn(ok)).await), "OVERLOADED");
    }
    assert_eq!(call(&suite.edge, &[("authorization", &*suite.bearer)], service_fn(ok)).await.code(), Code::Ok);
    drop(held);
    for headers in [&[][..], &[("authorization", &*forged)]] {
        assert_eq!(call(&suite.edge, headers, service_fn(ok)).await.code(), Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_of_each_source_and_refuses_before_the_handler() {
    let account = Rate { points_per_hour: 3_600, burst: 2 };
    let address = Rate { points_per_hour: 3_600, burst: 1 };
    let suite = suite_with(EdgeRules { rates: Rates { account, address, ..Rates::default() }, ..EdgeRules::default() });
    let known = [("authorization", &*suite.bearer)];
    for _ in 0..2 {
        assert_eq!(call(&suite.edge, &known, service_fn(ok)).await.code(), Code::Ok);
    }
    let status = call(&suite.edge, &known, service_fn(|_| async { panic!("called") })).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    assert_eq!(suite.edge.shared.admission.in_flight(), 0);
    assert_eq!(call(&suite.edge, &[], service_fn(ok)).await.code(), Code::Ok, "somebody else");
    let operators = suite.edge.for_operators(&Runtime::simulated(1, 0));
    for _ in 0..3 {
        assert_eq!(call(&operators, &[], service_fn(ok)).await.code(), Code::Ok, "operators have none");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(call(&suite.edge, &known, service_fn(ok)).await.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_stream_costs_points_and_is_in_flight_until_it_begins() {
    let account = Rate { points_per_hour: 3_600, burst: 39 };
    let suite = suite_with(EdgeRules { rates: Rates { account, ..Rates::default() }, ..EdgeRules::default() });
    let stream = || {
        let mut request = request(&[("authorization", &*suite.bearer)], Body::empty());
        *request.uri_mut() = "/kith.messaging.v1.UpdateService/StreamUpdates".parse().unwrap();
        request
    };
    let shared = suite.edge.shared.clone();
    let handler = service_fn(move |request| {
        assert_eq!(shared.admission.in_flight(), 1);
        ok(request)
    });
    let opened = suite.edge.layer(handler).oneshot(stream()).await.unwrap();
    assert_eq!(Status::from_header_map(opened.headers()).map(|status| status.code()), None);
    assert_eq!(suite.edge.shared.admission.in_flight(), 0, "an open one is not");
    let refused = suite.edge.layer(service_fn(|_| async { panic!("called") })).oneshot(stream()).await.unwrap();
    let refused = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "RATE_LIMITED"));
    let places = crowd(&suite, Who::Known);
    let shed = suite.edge.layer(service_fn(|_| async { panic!("called") })).oneshot(stream()).await.unwrap();
    assert_eq!(&*reason(&Status::from_header_map(shed.headers()).unwrap()), "OVERLOADED");
    drop(places);
}

#[tokio::test(start_paused = true)]
async fn the_port_of_operators_lets_in_operators_only_and_says_who_they_are() {
    let proven = OperatorRules { proven: true, by_rights: false };
    let suite = suite_with(EdgeRules { operators: proven, ..EdgeRules::default() });
    let operators = suite.edge.for_operators(&Runtime::simulated(1, 0));
    let called = || service_fn(|_| async { panic!("called") });
    let known = [("authorization", &*suite.bearer)];
    for (headers, code, expected) in [
        (&known[..], Code::PermissionDenied, "RIGHT_MISSING"),
        (&[], Code::Unauthenticated, "UNAUTHENTICATED"),
        (&[("authorization", "Bearer a.b.c")], Code::Unauthenticated, "UNAUTHENTICATED"),
    ] {
        let status = call(&operators, headers, called()).await;
        assert_eq!((status.code(), &*reason(&status)), (code, expected));
    }
    let name = "spiffe://example/ada";
    let mut request = request(&[], Body::empty());
    request.extensions_mut().insert(PeerIdentity { names: vec![name.to_owned()] });
    let handler = service_fn(move |request: Request<Body>| async move {
        assert_eq!(request.extensions().get::<Operator>().map(|operator| &**operator.name()), Some(name));
        Ok(Status::ok("").into_http())
    });
    operators.layer(handler).oneshot(request).await.unwrap();
    assert_eq!(call(&suite.edge, &[], service_fn(ok)).await.code(), Code::Ok, "callers are not asked");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_grpc_is_told_what_is_spoken() {
    let suite = suite();
    for (content_type, expected) in
        [("application/json", 415), ("application/grpc-web", 415), ("application/grpc+json", 200)]
    {
        let mut request = request(&[], Body::empty());
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let handler = service_fn(|_| async { panic!("called") });
        let response = suite.edge.layer(handler).oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{content_type}");
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((status.code(), &*reason(&status)), (Code::Unimplemented, "CONTENT_TYPE_UNKNOWN"));
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&text).contains("gRPC over HTTP/2"), expected == 415);
    }
}

#[tokio::test(start_paused = true)]
async fn headers_over_the_limit_never_reach_the_handler() {
    let suite = suite();
    let handler = service_fn(|_| async { panic!("called") });
    let status = call(&suite.edge, &[("x-large", &"x".repeat(REQUEST_HEADER_BYTES))], handler).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "HEADERS_TOO_LARGE"));
}

#[tokio::test(start_paused = true)]
async fn what_tonic_answers_by_itself_gets_a_reason() {
    let suite = suite();
    for (status, code, expected) in [
        (Status::unimplemented(""), Code::Unimplemented, "METHOD_UNKNOWN"),
        (Status::unimplemented("Content is compressed with `gzip` ..."), Code::Unimplemented, "COMPRESSION_UNKNOWN"),
        (Status::internal("failed to decode Protobuf message: x"), Code::InvalidArgument, "REQUEST_MALFORMED"),
        (
            Status::out_of_range("Error, decoded message length too large: found 9 bytes"),
            Code::InvalidArgument,
            "REQUEST_TOO_LARGE",
        ),
        (Status::from(Failure::text_empty("text")), Code::InvalidArgument, "TEXT_EMPTY"),
        (Status::internal("a defect"), Code::Internal, ""),
    ] {
        let handler = service_fn(move |_| std::future::ready(Ok(status.clone().into_http())));
        let status = call(&suite.edge, &[], handler).await;
        assert_eq!((status.code(), &*reason(&status)), (code, expected));
    }
}
