//! The content types of the callers' port: only gRPC over HTTP/2 with protobuf messages.
//!
//! Anything else would be parsed as gRPC, and refused with misleading reasons. gRPC-Web is not translated: callers are
//! services; a web page calls a proxy, which also authorises it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use kith_proto::errors::v1::Reason;
use tonic::Status;
use tonic::body::Body;

use crate::Failure;

const GRPC: &str = "application/grpc";
/// For a user of curl.
const NOT_GRPC: &str = "this port speaks gRPC over HTTP/2 with protobuf messages: content-type application/grpc or \
    application/grpc+proto; for JSON use grpcurl or a transcoding proxy, for gRPC-Web a proxy that translates it";
const NOT_PROTO: &str = "messages are protobuf here: content-type application/grpc or application/grpc+proto";

/// The answer to a request with an unsupported content-type: HTTP 415 if it is not gRPC, as gRPC's specification asks,
/// with text for people; UNIMPLEMENTED for gRPC with messages in another encoding. `None`: it is supported.
pub(crate) fn refusal(headers: &HeaderMap) -> Option<Response<Body>> {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let start = value.get(..GRPC.len()).filter(|start| start.eq_ignore_ascii_case(GRPC.as_bytes()));
    match start.map(|_| &value[GRPC.len()..]) {
        Some(b"" | b"+proto" | [b';', ..] | [b'+', b'p', b'r', b'o', b't', b'o', b';', ..]) => None,
        Some([b'+', ..]) => Some(Status::from(Failure::new(Reason::ContentTypeUnknown, NOT_PROTO)).into_http()),
        _ => Some(unsupported_media_type()),
    }
}

fn unsupported_media_type() -> Response<Body> {
    let status = Status::from(Failure::new(Reason::ContentTypeUnknown, NOT_GRPC));
    let mut response = status.into_http::<Body>().map(|_| Body::new(Full::from(format!("{NOT_GRPC}\n"))));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn answer(content_type: Option<&str>) -> Option<(StatusCode, Code)> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        let refusal = refusal(&headers)?;
        let status = Status::from_header_map(refusal.headers()).unwrap();
        Some((refusal.status(), status.code()))
    }

    #[test]
    fn protobuf_over_grpc_is_spoken() {
        for spoken in
            ["application/grpc", "application/grpc+proto", "Application/gRPC", "application/grpc;charset=utf-8"]
        {
            assert_eq!(answer(Some(spoken)), None, "{spoken}");
        }
    }

    #[test]
    fn another_encoding_of_messages_is_unimplemented() {
        for other in ["application/grpc+json", "application/grpc+thrift", "application/grpc+protobuf"] {
            assert_eq!(answer(Some(other)), Some((StatusCode::OK, Code::Unimplemented)), "{other}");
        }
    }

    #[test]
    fn what_is_no_grpc_is_an_unsupported_media_type() {
        let others = ["application/json", "application/grpc-web", "application/grpc-web+proto", "text/plain", ""];
        for other in others.map(Some).into_iter().chain([None]) {
            let expected = Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented));
            assert_eq!(answer(other), expected, "{other:?}");
        }
    }
}
