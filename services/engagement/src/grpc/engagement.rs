use kith_proto::engagement::v1 as proto;
use kith_proto::engagement::v1::engagement_service_server as server;
use kith_service::Failure;
use proto::{
    BatchGetCountsRequest, BatchGetCountsResponse, BatchGetViewerStatesRequest, BatchGetViewerStatesResponse,
    CountsEntry, ViewerStateEntry,
};
use tonic::{Request, Response, Status};

use super::{Call, parse_subjects};
use crate::{EngagementService, counts};

#[tonic::async_trait]
impl server::EngagementService for EngagementService {
    async fn batch_get_counts(
        &self,
        request: Request<BatchGetCountsRequest>,
    ) -> Result<Response<BatchGetCountsResponse>, Status> {
        Ok(Response::new(self.do_batch_get_counts(Call::of(request)?).await?))
    }

    async fn batch_get_viewer_states(
        &self,
        request: Request<BatchGetViewerStatesRequest>,
    ) -> Result<Response<BatchGetViewerStatesResponse>, Status> {
        Ok(Response::new(self.do_batch_get_viewer_states(Call::of(request)?).await?))
    }
}

impl EngagementService {
    async fn do_batch_get_counts(&self, call: Call<BatchGetCountsRequest>) -> Result<BatchGetCountsResponse, Failure> {
        let viewer = call.viewer();
        let subjects = parse_subjects(call.request.subjects)?;
        let seen = self.kit.see(&call.request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let counts = counts::counts(&seen.state, &viewer, &subjects).await?;
        let entry = |(subject, counts)| CountsEntry { subject: Some(subject), counts };
        Ok(BatchGetCountsResponse { entries: subjects.into_iter().zip(counts).map(entry).collect(), as_of })
    }

    async fn do_batch_get_viewer_states(
        &self,
        call: Call<BatchGetViewerStatesRequest>,
    ) -> Result<BatchGetViewerStatesResponse, Failure> {
        let viewer = call.viewer();
        let subjects = parse_subjects(call.request.subjects)?;
        let seen = self.kit.see(&call.request.at_least, call.deadline).await?;
        let as_of = seen.as_of();
        let states = counts::viewer_states(&seen.state, &viewer, &subjects).await?;
        let entry = |(subject, state)| ViewerStateEntry { subject: Some(subject), viewer_state: Some(state) };
        Ok(BatchGetViewerStatesResponse { entries: subjects.into_iter().zip(states).map(entry).collect(), as_of })
    }
}
