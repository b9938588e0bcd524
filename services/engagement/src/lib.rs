//! What stands around posts: reactions, comments, shares, their counts, and bookmarks.
//!
//! Every command is a fact of `kith.engagement.v1`, keyed by the post, also when it concerns a comment: all that happens
//! around one post is in one order, and its counts have one writer. Nothing here needs a verdict: of two racing commands
//! both may stand, or the later one does.

pub mod bookmark;
pub mod comment;
pub mod counts;
pub mod discussion;
pub mod reaction;
mod rejection;
pub mod scene;
pub mod share;
pub mod subject;

use std::sync::Arc;

use kith_fold::{EVENTS, Fold, Group};
use kith_log::topics;
use kith_proto::engagement::v1 as proto;
use kith_relations::away::Away;
use kith_relations::block::{BlockedBy, Blocks};
use kith_relations::follow::Follows;
use kith_relations::origin::Origins;
use kith_service::call::Handlers;
use kith_service::kit::Kit;
use kith_service::limited;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;

pub use rejection::Rejection;

use proto::comment_service_server::CommentServiceServer;
use proto::engagement_service_server::EngagementServiceServer;
use proto::reaction_service_server::ReactionServiceServer;
use proto::share_service_server::ShareServiceServer;

/// The gRPC services that [`EngagementService::add_to`] adds.
pub const SERVICES: [&str; 4] = [
    ReactionServiceServer::<EngagementService>::NAME,
    CommentServiceServer::<EngagementService>::NAME,
    ShareServiceServer::<EngagementService>::NAME,
    EngagementServiceServer::<EngagementService>::NAME,
];

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "engagement";

/// The folds of engagement, over its own topic and what it needs of posts and identity.
pub fn group(generation: u32) -> Group {
    let folds: Vec<Arc<dyn Fold>> = vec![
        Arc::new(subject::Subjects),
        Arc::new(Blocks),
        Arc::new(BlockedBy),
        Arc::new(Origins),
        Arc::new(Away),
        Arc::new(Follows),
        Arc::new(reaction::Reactions),
        Arc::new(discussion::Comments),
        Arc::new(share::Shares),
        Arc::new(bookmark::Bookmarks),
    ];
    let topics = vec![topics::ENGAGEMENT, topics::POSTS, topics::IDENTITY];
    Group { name: GROUP, generation, folds_version: 4, reads: EVENTS, topics, folds, shown: None }
}

/// The handlers; cheap to clone.
#[derive(Clone)]
pub struct EngagementService {
    kit: Arc<Kit>,
}

impl EngagementService {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }

    /// Adds the four gRPC services.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        routes
            .add_service(limited!(ReactionServiceServer::new(self.clone())))
            .add_service(limited!(CommentServiceServer::new(self.clone())))
            .add_service(limited!(ShareServiceServer::new(self.clone())))
            .add_service(limited!(EngagementServiceServer::new(self.clone())));
    }
}

impl Handlers for EngagementService {
    fn kit(&self) -> &Kit {
        &self.kit
    }
}

#[cfg(test)]
mod tests;
