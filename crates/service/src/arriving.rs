//! Arriving requests. A call gets a place among those in flight when its request has arrived completely: a caller that
//! sends the headers and never the rest holds none. Until then the arrived bytes count against a budget of the
//! connection and one that all such callers share fairly, and the rest must arrive within a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tonic::body::Body;

use crate::Failure;
use crate::limits::REQUEST_BYTES;
use crate::share::{Shares, Taken};
use crate::source::Source;

/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The bytes of incompletely arrived requests of one connection, up to a limit.
pub(crate) struct Arriving {
    limit_bytes: usize,
    bytes: AtomicUsize,
}

impl Arriving {
    pub fn up_to(limit_bytes: usize) -> Self {
        Self { limit_bytes, bytes: AtomicUsize::new(0) }
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = |used: usize| (used + bytes <= self.limit_bytes).then_some(used + bytes);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// The number of incompletely arrived requests of many callers, and their bytes.
pub(crate) struct Arrivals {
    bytes: Arc<Shares>,
    requests: AtomicUsize,
}

impl Arrivals {
    pub fn up_to(limit_bytes: usize) -> Self {
        Self { bytes: Shares::of(limit_bytes), requests: AtomicUsize::new(0) }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }
}

/// All of `body`. Fails when it is larger than a request may be, or when too much is arriving already, of the connection or of
/// the source.
pub(crate) async fn whole(
    body: &mut Body,
    connection: &Arriving,
    (callers, source): (&Arrivals, &Source),
) -> Result<Bytes, Failure> {
    let mut share = Share::of(connection, callers, source);
    let mut parts = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(frame) = frame else {
            // The caller has cancelled, or is gone. The call ends with its stream, and is counted so.
            return std::future::pending().await;
        };
        let Ok(data) = frame.into_data() else { continue };
        share.add(data.len())?;
        if parts.is_empty() && body.is_end_stream() {
            // The usual case: nothing is copied.
            return Ok(data);
        }
        parts.extend_from_slice(&data);
    }
    Ok(parts.freeze())
}

/// One request's part of the budgets, until it has arrived completely or is abandoned.
struct Share<'a> {
    connection: &'a Arriving,
    callers: &'a Arrivals,
    taken: Taken,
    bytes: usize,
}

impl<'a> Share<'a> {
    fn of(connection: &'a Arriving, callers: &'a Arrivals, source: &Source) -> Self {
        callers.requests.fetch_add(1, Ordering::AcqRel);
        Self { connection, callers, taken: callers.bytes.nothing(source), bytes: 0 }
    }

    fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.bytes + bytes > REQUEST_BYTES + PREFIX_BYTES {
            return Err(Failure::request_too_large());
        }
        if !self.connection.add(bytes) {
            return Err(Failure::overloaded());
        }
        self.bytes += bytes;
        if self.taken.more(bytes) { Ok(()) } else { Err(Failure::overloaded()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.connection.remove(self.bytes);
        self.callers.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Status;

    use super::*;

    fn body(pieces: &[usize]) -> Body {
        let frames: Vec<Result<_, Status>> = pieces.iter().map(|&n| Ok(Frame::data(vec![7; n].into()))).collect();
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    }

    async fn take(body: Body, connection: usize, callers: usize) -> Result<usize, &'static str> {
        let (connection, callers) = (Arriving::up_to(connection), Arrivals::up_to(callers));
        let mut body = body;
        let taken = whole(&mut body, &connection, (&callers, &Source::default())).await;
        let left = [connection.bytes.into_inner(), callers.bytes.used(), callers.requests.into_inner()];
        assert_eq!(left, [0; 3], "all is given back");
        taken.map(|whole| whole.len()).map_err(|failure| failure.reason_name())
    }

    #[tokio::test]
    async fn pieces_come_together() {
        assert_eq!(take(body(&[3, 4, 5]), 100, 100).await, Ok(12));
        assert_eq!(take(Body::empty(), 100, 100).await, Ok(0));
        assert_eq!(
            take(body(&[REQUEST_BYTES, PREFIX_BYTES]), usize::MAX, usize::MAX / 2).await,
            Ok(REQUEST_BYTES + PREFIX_BYTES)
        );
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused() {
        let large = body(&[REQUEST_BYTES, PREFIX_BYTES, 1]);
        assert_eq!(take(large, usize::MAX, usize::MAX / 2).await, Err("REQUEST_TOO_LARGE"));
        assert_eq!(take(body(&[3, 4, 5]), 11, 100).await, Err("OVERLOADED"));
        assert_eq!(take(body(&[3, 4, 5]), 100, 22).await, Err("OVERLOADED"), "over half of what all have");
        assert_eq!(take(body(&[3, 4, 5]), 100, 23).await, Ok(12));
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 9]);
        let (unlimited, callers) = (Arriving::up_to(usize::MAX), Arrivals::up_to(100));
        let mut body = Body::new(http_body_util::Full::new(piece.clone()));
        assert_eq!(
            whole(&mut body, &unlimited, (&callers, &Source::default())).await.unwrap().as_ptr(),
            piece.as_ptr()
        );
    }
}
