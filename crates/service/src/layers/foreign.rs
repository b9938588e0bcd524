//! Answers that tonic makes by itself.

use http::{HeaderValue, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::Failure;

const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// tonic's own answers have no reason, and report an undecodable request as INTERNAL.
pub(super) fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS) || headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    let Some(status) = Status::from_header_map(headers) else { return response };
    let failure = match status.code() {
        Code::Unimplemented if status.message().starts_with("Content is compressed") => {
            return compression_unknown();
        }
        Code::Unimplemented => Failure::method_unknown(),
        Code::OutOfRange if status.message().contains("message length too large") => Failure::request_too_large(),
        Code::Internal if is_decoding_error(status.message()) => Failure::request_undecodable(),
        _ => return response,
    };
    Status::from(failure).into_http()
}

/// With the supported encodings, as gRPC's specification of compression asks.
fn compression_unknown() -> Response<Body> {
    let mut response = Status::from(Failure::compression_unknown()).into_http();
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

fn is_decoding_error(message: &str) -> bool {
    ["failed to decode Protobuf message", "Unexpected EOF", "Missing request message", "protocol error"]
        .iter()
        .any(|start| message.starts_with(start))
}
