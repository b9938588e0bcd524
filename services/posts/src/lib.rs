//! Posts: what people publish, its edits and its end.
//!
//! A post is one table partition, evolved by the facts under its key. Edits from a stated revision are intents in the
//! private topic; the arbiter says which win.

mod content;
mod edit;
mod post;
mod rpcs;

use std::sync::Arc;

use kith_fold::{Arbiter, EVENTS, Fold, Group};
use kith_log::topics;
use kith_proto::posts::v1::post_service_server::{self, PostServiceServer, SERVICE_NAME};
use kith_proto::posts::v1::rpc;
use kith_relations::account::{Accounts, Handles};
use kith_relations::away::Away;
use kith_relations::block::{BlockedBy, Blocks};
use kith_relations::follow::Follows;
use kith_relations::origin::Origins;
use kith_service::call::Handlers;
use kith_service::kit::Kit;
use kith_service::{limited, rpcs};
use tonic::service::RoutesBuilder;

rpcs! {
    post_service_server::PostService => PostsService {
        command create_post: rpc::CreatePost => post::Posts,
        contest edit_post: rpc::EditPost => edit::Edits,
        read get_post: rpc::GetPost => post::Posts,
        read batch_get_posts: rpc::BatchGetPosts => post::Posts,
        command delete_post: rpc::DeletePost => post::Posts,
    }
}

/// The gRPC services that [`PostsService::add_to`] adds.
pub const SERVICES: [&str; 1] = [SERVICE_NAME];

/// The handlers; cheap to clone.
#[derive(Clone)]
pub struct PostsService {
    kit: Arc<Kit>,
}

impl PostsService {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }

    /// Adds the gRPC service.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        routes.add_service(limited!(PostServiceServer::new(self.clone())));
    }
}

impl Handlers for PostsService {
    fn kit(&self) -> &Kit {
        &self.kit
    }
}

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "posts";

/// The folds of the service, over its own topics and what it needs of identity's.
pub fn group(generation: u32) -> Group {
    let folds: Vec<Arc<dyn Fold>> = vec![
        Arc::new(post::Posts),
        Arc::new(Arbiter(edit::Edits)),
        Arc::new(Accounts),
        Arc::new(Away),
        Arc::new(Follows),
        Arc::new(Handles),
        Arc::new(Origins),
        Arc::new(Blocks),
        Arc::new(BlockedBy),
    ];
    Group {
        name: GROUP,
        generation,
        folds_version: 5,
        reads: EVENTS,
        topics: vec![topics::POSTS, topics::POSTS_PRIVATE, topics::IDENTITY],
        folds,
        shown: None,
    }
}

#[cfg(test)]
mod tests;
