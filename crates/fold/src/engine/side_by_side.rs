use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

/// Runs futures concurrently, at most `in_flight` at once; the answers in the order of the futures, or the first error.
pub(crate) async fn side_by_side<T, E>(work: Vec<BoxFuture<'_, Result<T, E>>>, in_flight: usize) -> Result<Vec<T>, E> {
    stream::iter(work).buffered(in_flight).try_collect().await
}
