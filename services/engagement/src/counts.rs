//! What stands around many subjects at once: how much, and what the caller did. Few reads a subject, side by side.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, try_join};
use kith_fold::State;
use kith_proto::engagement::v1::{
    BatchGetCountsRequest, BatchGetCountsResponse, BatchGetViewerStatesRequest, BatchGetViewerStatesResponse, Counts,
    CountsEntry, ReactionKind, Subject, ViewerState, ViewerStateEntry, engagement_service_server, rpc,
};
use kith_service::kit::Seen;
use kith_service::query::Reads;
use kith_service::{Failure, rpcs};
use kith_tables::StoreError;

use crate::reaction::{self, ReactionCounts};
use crate::scene::{self, Scene, Visible};
use crate::subject::parse_subjects;
use crate::{EngagementService, discussion, share, subject};

rpcs! {
    engagement_service_server::EngagementService => EngagementService {
        read batch_get_counts: rpc::BatchGetCounts => AroundSubjects,
        read batch_get_viewer_states: rpc::BatchGetViewerStates => AroundSubjects,
    }
}

/// What is read of many subjects at once.
struct AroundSubjects;

#[async_trait]
impl Reads<rpc::BatchGetCounts> for AroundSubjects {
    type Service = EngagementService;
    type Wanted = Vec<Subject>;

    const IS_PUBLIC: bool = true;

    fn parse(request: BatchGetCountsRequest) -> Result<Vec<Subject>, Failure> {
        parse_subjects(request.subjects)
    }

    async fn read(
        _: &EngagementService,
        seen: &Seen<'_>,
        subjects: Vec<Subject>,
    ) -> Result<BatchGetCountsResponse, Failure> {
        let counts = counts(&seen.state, &seen.viewer, &subjects).await?;
        let entry = |(subject, counts)| CountsEntry { subject: Some(subject), counts };
        let entries = subjects.into_iter().zip(counts).map(entry).collect();
        Ok(BatchGetCountsResponse { entries, ..BatchGetCountsResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::BatchGetViewerStates> for AroundSubjects {
    type Service = EngagementService;
    type Wanted = Vec<Subject>;

    fn parse(request: BatchGetViewerStatesRequest) -> Result<Vec<Subject>, Failure> {
        parse_subjects(request.subjects)
    }

    async fn read(
        _: &EngagementService,
        seen: &Seen<'_>,
        subjects: Vec<Subject>,
    ) -> Result<BatchGetViewerStatesResponse, Failure> {
        let states = viewer_states(&seen.state, &seen.viewer, &subjects).await?;
        let entry = |(subject, state)| ViewerStateEntry { subject: Some(subject), viewer_state: Some(state) };
        let entries = subjects.into_iter().zip(states).map(entry).collect();
        Ok(BatchGetViewerStatesResponse { entries, ..BatchGetViewerStatesResponse::default() })
    }
}

/// Subjects read at once for one request.
const SUBJECTS_IN_FLIGHT: usize = 32;

/// The counts of each of `subjects` (at most a batch), in their order; `None` for one that is not there, or that `viewer`
/// may not see.
pub async fn counts(state: &State, viewer: &str, subjects: &[Subject]) -> Result<Vec<Option<Counts>>, StoreError> {
    let (unique, places) = unique(subjects);
    let reads = unique.into_iter().map(|subject| read(state, subject).boxed()).collect();
    let (mut scenes, counts): (Vec<Scene>, Vec<Counts>) = side_by_side(reads).await?.into_iter().unzip();
    scene::mark_blocked(state, viewer, &mut scenes).await?;
    let visible = |place: usize| scenes[place].visible().is_ok().then(|| counts[place].clone());
    Ok(places.into_iter().map(visible).collect())
}

/// What `viewer` did about each of `subjects` (at most a batch), in their order. Blocks do not count here: it says
/// nothing but what the viewer knows, and may want to take back.
pub async fn viewer_states(state: &State, viewer: &str, subjects: &[Subject]) -> Result<Vec<ViewerState>, StoreError> {
    let (unique, places) = unique(subjects);
    let reads = unique.into_iter().map(|subject| viewer_state(state, viewer, subject).boxed()).collect();
    let states = side_by_side(reads).await?;
    Ok(places.into_iter().map(|place| states[place]).collect())
}

async fn side_by_side<T>(reads: Vec<BoxFuture<'_, Result<T, StoreError>>>) -> Result<Vec<T>, StoreError> {
    stream::iter(reads).buffered(SUBJECTS_IN_FLIGHT).try_collect().await
}

/// Each subject once, and for each that was asked for the place of its like.
fn unique(subjects: &[Subject]) -> (Vec<&Subject>, Vec<usize>) {
    let mut unique = Vec::new();
    let mut known = BTreeMap::new();
    let places = subjects.iter().map(|subject| {
        *known.entry((&subject.post_id, &subject.comment_id)).or_insert_with(|| {
            unique.push(subject);
            unique.len() - 1
        })
    });
    let places = places.collect();
    (unique, places)
}

async fn read(state: &State, subject: &Subject) -> Result<(Scene, Counts), StoreError> {
    if subject.comment_id.is_empty() { read_post(state, subject).await } else { read_comment(state, subject).await }
}

async fn read_post(state: &State, subject: &Subject) -> Result<(Scene, Counts), StoreError> {
    let post_id = &*subject.post_id;
    let (post, reactions, comments, shares) = try_join!(
        subject::post(state, post_id),
        reaction::counts(state, subject),
        discussion::count(state, post_id),
        share::count(state, post_id),
    )?;
    let scene = Scene { post: Visible { row: post, blocked: false }, comment: None };
    Ok((scene, present(reactions, comments, shares)))
}

async fn read_comment(state: &State, subject: &Subject) -> Result<(Scene, Counts), StoreError> {
    let (post, comment, reactions) = try_join!(
        subject::post(state, &subject.post_id),
        discussion::by_id(state, &subject.post_id, &subject.comment_id),
        reaction::counts(state, subject),
    )?;
    let row = comment.map(|found| found.row);
    let replies = row.as_ref().map_or(0, |row| row.reply_count);
    let comment = Some(Visible { row, blocked: false });
    let scene = Scene { post: Visible { row: post, blocked: false }, comment };
    Ok((scene, present(reactions, replies, 0)))
}

fn present(mut reactions: ReactionCounts, comments: i64, shares: i64) -> Counts {
    kith_relations::reaction::present(reactions.by_kind().map(|count| *count), comments, shares)
}

async fn viewer_state(state: &State, viewer: &str, subject: &Subject) -> Result<ViewerState, StoreError> {
    let of_post = subject.comment_id.is_empty();
    let own_share = async { if of_post { share::own(state, &subject.post_id, viewer).await } else { Ok(None) } };
    let (post, reaction, share) =
        try_join!(subject::post(state, &subject.post_id), reaction::own(state, subject, viewer), own_share)?;
    if post.is_none() {
        return Ok(ViewerState::default());
    }
    let kind = reaction.and_then(|found| found.row.kind()).unwrap_or(ReactionKind::Unspecified);
    Ok(ViewerState { reaction: kind.into(), shared: share.is_some_and(|found| found.row.shared) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_asked_for_twice_is_read_once() {
        let subject = |post: &str, comment: &str| Subject { post_id: post.into(), comment_id: comment.into() };
        let asked = [subject("p", ""), subject("q", ""), subject("p", ""), subject("p", "c")];
        let (unique, places) = unique(&asked);
        assert_eq!((unique.len(), places), (3, vec![0, 1, 0, 2]));
    }
}
