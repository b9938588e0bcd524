//! Outgoing answers: how much of them may wait for callers that do not read, and for how long.
//!
//! A handler ends when it has an answer, but the answer is in memory until its caller has read it. So the answer keeps
//! the place among the RPCs in flight, its bytes count against a budget of the connection and one that all callers of the
//! process share fairly, and a connection whose answers are not read in time is cut.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use crate::arriving::Arriving;
use crate::limits::{
    ARRIVING_BYTES_PER_CONNECTION, STREAMS_OPEN_PER_CONNECTION, UNTAKEN_BYTES_PER_CONNECTION, UNTAKEN_BYTES_PER_PROCESS,
};
use crate::share::{Shares, Taken};
use crate::source::Source;

/// The maximum handed to HTTP/2 at a time, bytes: we cannot control what waits there.
const PIECE_BYTES: usize = 16 * 1024;
/// Answers of up to this many bytes are never refused: among them are answers to commands, which are already executed.
const SMALL_BYTES: usize = 32 * 1024;

/// One connection's share of the process: unread answers, incompletely arrived requests.
pub(crate) struct Held {
    pub arriving: Arriving,
    waiting: Mutex<Waiting>,
}

impl Default for Held {
    fn default() -> Self {
        Self { arriving: Arriving::up_to(ARRIVING_BYTES_PER_CONNECTION), waiting: Mutex::default() }
    }
}

#[derive(Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
    bytes: usize,
    streams: usize,
}

/// Over all connections.
pub(crate) struct UntakenBytes(Arc<Shares>);

impl Default for UntakenBytes {
    fn default() -> Self {
        Self(Shares::of(UNTAKEN_BYTES_PER_PROCESS))
    }
}

impl Held {
    /// When the oldest waiting answer was made.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting().since.values().next().copied()
    }

    /// A place for one more stream of the connection; `None`: it has the maximum.
    pub fn open_stream(self: &Arc<Self>) -> Option<OpenStream> {
        let mut waiting = self.waiting();
        (waiting.streams < STREAMS_OPEN_PER_CONNECTION).then(|| {
            waiting.streams += 1;
            OpenStream(Arc::clone(self))
        })
    }

    fn add(&self, bytes: usize) -> Option<u64> {
        let mut waiting = self.waiting();
        if bytes > SMALL_BYTES && waiting.bytes + bytes > UNTAKEN_BYTES_PER_CONNECTION {
            return None;
        }
        let ticket = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.since.insert(ticket, Instant::now());
        Some(ticket)
    }

    fn remove(&self, ticket: u64, bytes: usize) {
        let mut waiting = self.waiting();
        waiting.since.remove(&ticket);
        waiting.bytes -= bytes;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UntakenBytes {
    fn take(&self, source: &Source, bytes: usize) -> Option<Taken> {
        if bytes <= SMALL_BYTES { Some(self.0.take_anyway(source, bytes)) } else { self.0.take(source, bytes) }
    }
}

/// One answer's part of the budgets, and its place among the RPCs in flight, until it has been read.
struct Share {
    bytes: usize,
    ticket: u64,
    connection: Arc<Held>,
    _of_process: Taken,
    _in_flight: Taken,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connection.remove(self.ticket, self.bytes);
    }
}

/// The whole answer of a unary method, encoded.
pub(crate) struct Answer {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// All of a unary handler's body; it is ready, so there is no wait.
    pub async fn of(body: Body) -> Result<Self, Status> {
        let all = body.collect().await?;
        let trailers = all.trailers().cloned();
        Ok(Self { data: all.to_bytes(), trailers })
    }

    /// The status that the answer ends with.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The answer as a body that holds its share until it has been read; `None` when too much waits already.
    pub fn into_body(
        self,
        connection: Arc<Held>,
        (process, source): (&UntakenBytes, &Source),
        in_flight: Taken,
    ) -> Option<Body> {
        let bytes = self.data.len();
        let of_process = process.take(source, bytes)?;
        let ticket = connection.add(bytes)?;
        let share = Share { bytes, ticket, connection, _of_process: of_process, _in_flight: in_flight };
        Some(Body::new(Taking { answer: self, _share: share }))
    }
}

/// An answer that is being read, piece by piece.
struct Taking {
    answer: Answer,
    _share: Share,
}

impl HttpBody for Taking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let answer = &mut self.answer;
        if !answer.data.is_empty() {
            let piece = answer.data.split_to(answer.data.len().min(PIECE_BYTES));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        Poll::Ready(answer.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.data.is_empty() && self.answer.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.answer.data.len() as u64)
    }
}

/// One stream of a connection.
pub(crate) struct OpenStream(Arc<Held>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.waiting().streams -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn answer(bytes: usize) -> Answer {
        let trailers = Status::ok("").into_http::<Body>().headers().clone();
        Answer { data: vec![7; bytes].into(), trailers: Some(trailers) }
    }

    #[tokio::test]
    async fn an_answer_goes_out_whole_in_pieces_and_gives_its_share_back() {
        let (connection, process) = (Arc::<Held>::default(), Arc::<UntakenBytes>::default());
        let (places, source) = (Shares::of(1), Source::default());
        let place = places.take(&source, 1).unwrap();
        let bytes = 2 * PIECE_BYTES + 1;
        let mut body = answer(bytes).into_body(Arc::clone(&connection), (&process, &source), place).unwrap();
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            assert!(connection.oldest().is_some() && places.free() == 0);
            sizes.push(frame.unwrap().into_data().map_or(0, |data| data.len()));
        }
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, 1, 0], "the last is the status");
        drop(body);
        assert_eq!((connection.oldest(), connection.waiting().bytes), (None, 0));
        assert_eq!((process.0.used(), places.free()), (0, 1));
    }

    #[tokio::test]
    async fn no_more_waits_than_the_budgets_allow() {
        let process = Arc::<UntakenBytes>::default();
        let places = Shares::of(1_000);
        let wait = |connection: &Arc<Held>, caller: u32| {
            let source = Source::of_address(Ipv4Addr::from_bits(caller).into());
            let place = places.take(&source, 1).unwrap();
            answer(UNTAKEN_BYTES_PER_CONNECTION / 2).into_body(Arc::clone(connection), (&process, &source), place)
        };
        let greedy: Vec<_> = std::iter::from_fn(|| wait(&Arc::default(), 0)).collect();
        assert_eq!(
            greedy.len(),
            UNTAKEN_BYTES_PER_PROCESS / UNTAKEN_BYTES_PER_CONNECTION,
            "half, each in half a connection"
        );
        drop(greedy);
        let connections = UNTAKEN_BYTES_PER_PROCESS / UNTAKEN_BYTES_PER_CONNECTION;
        let mut waiting = Vec::new();
        for n in 0..u32::try_from(connections).unwrap() {
            let connection = Arc::default();
            waiting.extend([wait(&connection, 2 * n), wait(&connection, 2 * n + 1)].into_iter().flatten());
            assert!(wait(&connection, 99).is_none(), "the connection's budget");
        }
        assert_eq!(waiting.len(), 2 * connections - 1, "as much as one takes is left");
        assert!(wait(&Arc::default(), 99).is_none(), "the process's budget");
        assert_eq!(places.free(), 1_000 - waiting.len());
        waiting.pop();
        assert!(wait(&Arc::default(), 99).is_some());
    }
}
