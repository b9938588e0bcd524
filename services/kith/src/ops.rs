//! This process's services for operators: `kith.ops.v1`, on a separate port.

pub mod audit;
pub mod events;
mod opening;
pub mod projections;
mod refusals;

use kith_service::limited;
use tonic::service::Routes;

use kith_proto::ops::v1::audit_service_server::AuditServiceServer;
use kith_proto::ops::v1::event_service_server::EventServiceServer;
use kith_proto::ops::v1::projection_service_server::ProjectionServiceServer;
use projections::Projections;

/// The services for operators.
pub fn routes(
    projections: Projections,
    events: EventServiceServer<events::Events>,
    audit: AuditServiceServer<audit::Audit>,
) -> Routes {
    Routes::new(limited!(ProjectionServiceServer::new(projections))).add_service(events).add_service(audit)
}
