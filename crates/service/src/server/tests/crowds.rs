//! Callers that ask for much and take or say little: whoever else calls is answered.

use kith_proto::tokens::v1::MergeTokensRequest;
use kith_proto::tokens::v1::token_service_client::TokenServiceClient;
use tonic::metadata::MetadataValue;

use super::frames::{DATA, END_STREAM, Frames, GOAWAY, call, call_as, cancel, message, short_call};
use super::*;
use crate::limits::{CANCELLED_UNSEEN_PER_CONNECTION, RPCS_IN_FLIGHT, STREAMS_PER_CONNECTION};

const GET_SIGNING_KEYS: &str = "/kith.identity.v1.SessionService/GetSigningKeys";
const CREATE_SESSION: &str = "/kith.identity.v1.SessionService/CreateSession";

fn bearer_of(running: &Running, account: u8) -> String {
    format!("Bearer {}", running.issuer.issue(kith_log::RecordId([account; 16]), SESSION).unwrap().text)
}

fn as_somebody<T>(running: &Running, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = bearer_of(running, 7);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(bearer).unwrap());
    request
}

/// Streams of callers have odd numbers.
fn streams(from: usize) -> impl Iterator<Item = u32> {
    (from as u32..).map(|n| 2 * n + 1)
}

#[tokio::test]
async fn many_cancelled_calls_leave_the_others_of_their_connection_alone() {
    let running = start().await;
    let mut caller = Frames::connect(running.callers).await;
    caller.send([call(1, GET_SIGNING_KEYS), message(1)]).await.unwrap();
    running.sessions.entered.notified().await;
    // The server reads them together: none has been looked at when it is cancelled.
    let cancelled = streams(1).take(CANCELLED_UNSEEN_PER_CONNECTION);
    caller.send(cancelled.flat_map(|stream| [call(stream, CREATE_SESSION), cancel(stream)])).await.unwrap();
    let last = streams(CANCELLED_UNSEEN_PER_CONNECTION + 1).next().unwrap();
    caller.send([call(last, CREATE_SESSION), message(last)]).await.unwrap();
    until_answered(&mut caller, last).await;
    running.sessions.may_leave.notify_one();
    until_answered(&mut caller, 1).await;
}

async fn until_answered(caller: &mut Frames, stream: u32) {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(10), caller.next()).await.unwrap().unwrap();
        assert_ne!(frame.kind, GOAWAY, "the connection is closed");
        if frame.stream == stream && frame.flags & END_STREAM != 0 {
            assert!(frame.kind != DATA, "trailers, or all of a refusal");
            return;
        }
    }
}

/// So short that many more than the limit are in the socket when the server reads.
#[tokio::test]
async fn more_cancelled_calls_than_that_close_the_connection() {
    let running = start().await;
    let mut caller = Frames::connect(running.callers).await;
    let cancelled = streams(0).take(8 * CANCELLED_UNSEEN_PER_CONNECTION);
    let flood: Vec<_> = cancelled.flat_map(|stream| [short_call(stream), cancel(stream)]).collect();
    let closed = async {
        // It may be closed before all of it is sent.
        let sent = caller.send(flood).await.is_ok();
        while sent && matches!(caller.next().await, Ok(frame) if frame.kind != GOAWAY) {}
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn requests_that_never_come_whole_keep_nobody_out() {
    let running = start().await;
    let mut held = Vec::new();
    for _ in 0..RPCS_IN_FLIGHT.div_ceil(STREAMS_PER_CONNECTION as usize) {
        let mut caller = Frames::connect(running.callers).await;
        caller
            .send(streams(0).take(STREAMS_PER_CONNECTION as usize).map(|stream| call(stream, CREATE_SESSION)))
            .await
            .unwrap();
        // Answered after all of them were seen.
        caller
            .send([cancel(1), call(streams(300).next().unwrap(), "/none"), message(streams(300).next().unwrap())])
            .await
            .unwrap();
        until_answered(&mut caller, streams(300).next().unwrap()).await;
        held.push(caller);
    }
    let mut client = SessionServiceClient::new(channel(running.callers).await);
    client.create_session(as_somebody(&running, CreateSessionRequest::default())).await.unwrap();
    let status = client.create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "UNAUTHENTICATED", "who has no token is let in too");
}

/// Each call is answered, and its answer waits for a caller that never reads: a place each, and no more than a share of them.
#[tokio::test]
async fn answers_that_nobody_takes_leave_places_for_others() {
    let running = start().await;
    let (greedy, calls) = (bearer_of(&running, 6), STREAMS_PER_CONNECTION as usize);
    let mut held = Vec::new();
    for _ in 0..RPCS_IN_FLIGHT.div_ceil(calls) {
        let mut caller = Frames::closed(running.callers, 5).await;
        let all = streams(0).take(calls);
        caller.send(all.flat_map(|n| [call_as(n, CREATE_SESSION, &greedy), message(n)])).await.unwrap();
        held.push(caller);
    }
    let called = || running.sessions.peers.lock().unwrap().len();
    let share = async {
        while called() < RPCS_IN_FLIGHT / 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), share).await.unwrap();
    let mut client = SessionServiceClient::new(channel(running.callers).await);
    for _ in 0..100 {
        client.create_session(as_somebody(&running, CreateSessionRequest::default())).await.unwrap();
    }
    assert_eq!(called(), RPCS_IN_FLIGHT / 2 + 100);
}

#[tokio::test]
async fn tokens_are_merged_for_whoever_is_known() {
    let running = start().await;
    let mut client = TokenServiceClient::new(channel(running.callers).await);
    let position = |index, offset| kith_log::Position {
        partition: kith_log::LogPartition { topic: kith_log::topics::POSTS, index },
        offset,
    };
    let token = |index, offset| consistency_tokens().seal(&position(index, offset).into()).unwrap();
    let tokens: Vec<String> = (0..900).map(|n| token(n % 16, u64::from(n))).collect();
    let merged = client.merge_tokens(as_somebody(&running, MergeTokensRequest { tokens })).await.unwrap();
    let expected: kith_fold::Token = (0..16).map(|index| position(index, last_of(index))).collect();
    assert_eq!(consistency_tokens().open("", &merged.into_inner().token), Ok(expected));

    let request = || MergeTokensRequest { tokens: vec![token(0, 1), "AQ".into()] };
    let status = client.merge_tokens(request()).await.unwrap_err();
    assert_eq!(reason(&status), "UNAUTHENTICATED");
    let status = client.merge_tokens(as_somebody(&running, request())).await.unwrap_err();
    let fields = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!((&*reason(&status), &*fields[0].field), ("CONSISTENCY_TOKEN_INVALID", "tokens[1]"));
}

/// The largest below 900 that leaves `index` in sixteenths.
fn last_of(index: u16) -> u64 {
    let last = 899 - 899 % 16 + index;
    u64::from(if last < 900 { last } else { last - 16 })
}
