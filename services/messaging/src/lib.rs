//! Messaging: conversations, their messages, how far each member has read.
//!
//! A conversation is one table partition, evolved by the facts under its key. What each member sees of it in the list
//! of conversations is spread to the member's inbox, in absolute values.

mod conversation;
mod grpc;
mod inbox;
mod members;
mod message;

use std::sync::Arc;

use kith_fold::{Fold, Group};
use kith_log::topics;
use kith_proto::messaging::v1::conversation_service_server;
use kith_proto::messaging::v1::message_service_server;
use kith_relations::account::Accounts;
use kith_relations::block::{BlockedBy, Blocks};

pub use grpc::MessagingService;
pub use inbox::CONVERSATIONS_PER_INBOX;
pub use members::MEMBERS_MAX;

/// The gRPC services that [`MessagingService::add_to`] adds.
pub const SERVICES: [&str; 2] = [conversation_service_server::SERVICE_NAME, message_service_server::SERVICE_NAME];

/// The folds of the service, over its own topic and what it needs of identity's.
pub fn group(generation: u32) -> Group {
    let folds: Vec<Arc<dyn Fold>> =
        vec![Arc::new(conversation::Conversations), Arc::new(Accounts), Arc::new(Blocks), Arc::new(BlockedBy)];
    Group {
        name: "messaging",
        generation,
        folds_version: 1,
        topics: vec![topics::MESSAGING, topics::IDENTITY],
        folds,
        shown: None,
    }
}

#[cfg(test)]
mod tests;
