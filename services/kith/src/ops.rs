//! What this process does for operators: `kith.ops.v1`, on a listener of its own.

mod projections;

use std::sync::Arc;

use kith_fold::Projection;
use kith_service::limited;
use tonic::service::Routes;

use kith_proto::ops::v1::projection_service_server::ProjectionServiceServer;
use projections::Projections;

/// The services for operators.
pub fn routes(projections: &[Arc<Projection>]) -> Routes {
    Routes::new(limited!(ProjectionServiceServer::new(Projections::new(projections))))
}
