//! This process's services for operators: `kith.ops.v1`, on a separate port.

pub mod events;
mod opening;
pub mod projections;

use kith_proto::errors::v1::Reason;
use kith_service::{Failure, limited};
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
