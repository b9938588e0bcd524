//! This process's services for operators: `kith.ops.v1`, on a separate port.

pub mod events;
mod opening;
pub mod projections;

use kith_fold::FoldError;
use kith_log::AppendError;
use kith_proto::errors::v1::Reason;
use kith_service::{Failure, limited};
use kith_tables::StoreError;
use tonic::service::Routes;

use kith_proto::ops::v1::event_service_server::EventServiceServer;
use kith_proto::ops::v1::projection_service_server::ProjectionServiceServer;
use projections::Projections;

/// The services for operators.
pub fn routes(projections: Projections, events: EventServiceServer<events::Events>) -> Routes {
    Routes::new(limited!(ProjectionServiceServer::new(projections))).add_service(events)
}

/// The append was handed over or is in flight; no answer came in time.
fn not_known() -> Failure {
    let message = "it is not known whether that was decided, or has come about: look before you ask again";
    Failure::new(Reason::OutcomeUnknown, message)
}

fn failed(error: FoldError) -> Failure {
    match error {
        FoldError::Store(error @ StoreError::Unavailable(_)) => error.into(),
        FoldError::Append(AppendError::Unknown(_)) => not_known(),
        FoldError::Append(error) => error.into(),
        FoldError::Log(error) => {
            tracing::warn!(%error, "the log did not answer an operator's command");
            Failure::log_unavailable()
        }
        other => Failure::defect("an operator's command", &other),
    }
}
