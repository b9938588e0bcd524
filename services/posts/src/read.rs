//! Reading posts: hydrate, then the rules (deletes, blocks) as of now.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::{Found, State};
use kith_log::RecordId;
use kith_relations::block;
use kith_tables::StoreError;

use crate::post::{self, PostRow};

/// Posts read at once.
const READS_IN_FLIGHT: usize = 16;

/// The rows of these posts, at most a batch, in their order, deleted ones included; `None` as well for one between
/// whose author and the viewer a block stands, either way.
pub async fn rows(
    state: &State,
    viewer: RecordId,
    post_ids: &[RecordId],
) -> Result<Vec<Option<Found<PostRow>>>, StoreError> {
    let reads: Vec<_> = post_ids.iter().map(|&id| post::post(state, id)).collect();
    let mut rows: Vec<_> = stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
    let hidden = hidden_authors(state, viewer, &rows).await?;
    for row in &mut rows {
        row.take_if(|found| hidden.get(&found.row.author_id).copied().unwrap_or(false));
    }
    Ok(rows)
}

/// As [`rows`], for one.
pub async fn row(state: &State, viewer: RecordId, post_id: RecordId) -> Result<Option<Found<PostRow>>, StoreError> {
    Ok(rows(state, viewer, &[post_id]).await?.pop().flatten())
}

/// Whether each author of these posts must not meet the viewer.
async fn hidden_authors(
    state: &State,
    viewer: RecordId,
    rows: &[Option<Found<PostRow>>],
) -> Result<BTreeMap<String, bool>, StoreError> {
    let viewer = viewer.to_string();
    let authors: BTreeSet<&str> = rows.iter().flatten().map(|found| found.row.author_id.as_str()).collect();
    let others: Vec<&str> = authors.into_iter().filter(|&author| author != viewer).collect();
    if others.is_empty() {
        return Ok(BTreeMap::new());
    }
    let blocked = block::between(state, &viewer, &others).await?;
    Ok(others.into_iter().map(str::to_owned).zip(blocked).collect())
}
