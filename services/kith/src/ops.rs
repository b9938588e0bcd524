//! What this process does for operators: `kith.ops.v1`, on a listener of its own.

pub mod events;
mod projections;

use std::sync::Arc;

use kith_fold::Projection;
use kith_service::limited;
use tonic::service::Routes;

use kith_proto::ops::v1::event_service_server::EventServiceServer;
use kith_proto::ops::v1::projection_service_server::ProjectionServiceServer;
use projections::Projections;

/// The services for operators.
pub fn routes(projections: &[Arc<Projection>], events: EventServiceServer<events::Events>) -> Routes {
    Routes::new(limited!(ProjectionServiceServer::new(Projections::new(projections)))).add_service(events)
}
