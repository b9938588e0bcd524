//! Posts: what people publish, its edits and its end.
//!
//! A post is one table partition, evolved by the facts under its key. Edits from a stated revision are intents in the
//! private topic; the arbiter says which win.

mod arbiter;
mod content;
mod facets;
mod grpc;
mod post;
mod read;

use std::sync::Arc;

use kith_fold::{Fold, Group};
use kith_log::topics;
use kith_proto::posts::v1::post_service_server::SERVICE_NAME;
use kith_relations::account::{Accounts, Handles};
use kith_relations::block::{BlockedBy, Blocks};

pub use content::{LANGUAGE_TAG_CHARS_MAX, LANGUAGES_PER_POST};
pub use facets::{FACETS_PER_TEXT, HASHTAG_CHARS_MAX};
pub use grpc::PostsService;

/// The gRPC services that [`PostsService::add_to`] adds.
pub const SERVICES: [&str; 1] = [SERVICE_NAME];

/// The folds of the service, over its own topics and what it needs of identity's.
pub fn group(generation: u32) -> Group {
    let folds: Vec<Arc<dyn Fold>> = vec![
        Arc::new(post::Posts),
        Arc::new(arbiter::EditClaims),
        Arc::new(Accounts),
        Arc::new(Handles),
        Arc::new(Blocks),
        Arc::new(BlockedBy),
    ];
    Group {
        name: "posts",
        generation,
        folds_version: 1,
        topics: vec![topics::POSTS, topics::POSTS_PRIVATE, topics::IDENTITY],
        folds,
        shown: None,
    }
}

#[cfg(test)]
mod tests;
