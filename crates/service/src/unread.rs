//! Streams whose callers do not read what they are sent: they are ended, and what they held is freed.
//!
//! Nobody asks a body for more while its caller has no room for it. So a task of its own makes what is sent, and knows how long that
//! has waited.

use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kith_proto::errors::v1::Reason;
use kith_runtime::Runtime;
use tokio::sync::mpsc;
use tonic::Status;

use crate::Failure;
use crate::limits::STREAM_TAKEN_SECONDS;

const TOO_SLOW: &str = "the stream was not read fast enough; come back with its last cursor";

/// The end of a stream whose caller does not read fast enough.
pub fn too_slow() -> Failure {
    Failure::new(Reason::StreamTooSlow, TOO_SLOW)
}

/// The same stream, up to the first item that its caller leaves unread for [`STREAM_TAKEN_SECONDS`] behind another one: then all that
/// the stream holds is dropped, and it ends with [`too_slow`] once the one before is read.
pub fn bounded<T: Send + 'static>(
    runtime: &Runtime,
    updates: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> BoxStream<'static, Result<T, Status>> {
    let (sender, receiver) = mpsc::channel(1);
    let task = runtime.spawn(send(updates, sender, Duration::from_secs(STREAM_TAKEN_SECONDS)));
    let sent = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let end = stream::once(async move { task.await.unwrap_or_else(|_| Err(Failure::log_unavailable().into())) });
    let end = end.filter_map(|ended| async move { ended.err().map(Err) });
    sent.map(Ok).chain(end).boxed()
}

async fn send<T>(
    updates: impl Stream<Item = Result<T, Status>>,
    to: mpsc::Sender<T>,
    within: Duration,
) -> Result<(), Status> {
    let mut updates = pin!(updates);
    loop {
        let next = tokio::select! {
            biased;
            () = to.closed() => return Ok(()),
            next = updates.next() => next,
        };
        let Some(next) = next.transpose()? else { return Ok(()) };
        match tokio::time::timeout(within, to.send(next)).await {
            Ok(Ok(())) => {}
            // The caller has gone.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(too_slow().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::{Instant, advance};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(STREAM_TAKEN_SECONDS);

    /// Counts for ever; gives what it counted last, and with it whether it is still held.
    fn counting() -> (Arc<AtomicU64>, impl Stream<Item = Result<u64, Status>> + Send + 'static) {
        let made = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&made);
        (made, stream::iter(1..).map(move |n| Ok(counted.fetch_max(n, Ordering::Relaxed).max(n))))
    }

    async fn settled() {
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_ended_and_nothing_is_held_for_it() {
        let (made, updates) = counting();
        let mut updates = bounded(&Runtime::simulated(1, 0), updates);
        assert_eq!(updates.next().await.unwrap().unwrap(), 1);
        settled().await;
        assert_eq!(made.load(Ordering::Relaxed), 3, "one waits, and one behind it");
        advance(WITHIN - Duration::from_millis(1)).await;
        settled().await;
        assert_eq!((updates.next().await.unwrap().unwrap(), Arc::strong_count(&made)), (2, 2));
        settled().await;
        advance(WITHIN + Duration::from_millis(1)).await;
        settled().await;
        assert_eq!((made.load(Ordering::Relaxed), Arc::strong_count(&made)), (4, 1), "it is dropped");
        assert_eq!(updates.next().await.unwrap().unwrap(), 3);
        let status = updates.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(updates.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_says_nothing_and_one_that_is_read_go_on() {
        let mut quiet = bounded(&Runtime::simulated(1, 0), stream::pending::<Result<u64, Status>>());
        let (_, updates) = counting();
        let mut read = bounded(&Runtime::simulated(1, 0), updates);
        let began = Instant::now();
        while began.elapsed() < WITHIN * 4 {
            advance(WITHIN / 2).await;
            assert!(read.next().await.unwrap().is_ok());
        }
        let nothing = futures::poll!(quiet.next());
        assert!(nothing.is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_as_the_stream_does_and_stops_with_its_caller() {
        let fails = stream::iter([Ok(1), Err(Status::unavailable("gone")), Ok(2)]);
        let all: Vec<_> = bounded(&Runtime::simulated(1, 0), fails).collect().await;
        let shown: Vec<_> = all.iter().map(|of| of.as_ref().map_err(Status::message)).collect();
        assert_eq!(shown, [Ok(&1), Err("gone")]);
        let whole: Vec<_> = bounded(&Runtime::simulated(1, 0), stream::iter([Ok(1), Ok(2)])).collect().await;
        assert_eq!(whole.len(), 2);
        let (made, updates) = counting();
        drop(bounded(&Runtime::simulated(1, 0), updates.chain(stream::pending())));
        settled().await;
        assert_eq!(Arc::strong_count(&made), 1);
    }
}
