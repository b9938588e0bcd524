//! Reading posts: hydrate, then the rules (deletes, sight) as of now.

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::{Found, State};
use kith_relations::sight::Viewer;
use kith_tables::StoreError;

use crate::post::{self, PostRow};

/// Posts read at once.
const READS_IN_FLIGHT: usize = 16;

/// The rows of these posts, at most a batch, in their order, deleted ones included; `None` as well for one whose author
/// the viewer does not see.
pub async fn rows(state: &State, viewer: &str, post_ids: &[String]) -> Result<Vec<Option<Found<PostRow>>>, StoreError> {
    let reads: Vec<_> = post_ids.iter().map(|id| post::post(state, id)).collect();
    let mut rows: Vec<Option<Found<PostRow>>> = stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
    let authors = rows.iter().flatten().map(|found| found.row.author_id.as_str());
    let sights = Viewer::new(state, viewer).sights(authors).await?;
    for row in &mut rows {
        row.take_if(|found| !sights.of(&found.row.author_id).is_clear());
    }
    Ok(rows)
}

/// As [`rows`], for one.
pub async fn row(state: &State, viewer: &str, post_id: &str) -> Result<Option<Found<PostRow>>, StoreError> {
    Ok(rows(state, viewer, &[post_id.to_owned()]).await?.pop().flatten())
}
