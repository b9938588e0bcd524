//! The identity service: accounts and their unique handles, sessions, follows and blocks.
//!
//! Commands append one record each: facts to `kith.identity.v1`, the intent to own a handle to
//! `kith.identity.private.v1`, whose fold decides who wins. What a follow and a block make of each other, which live
//! under two keys, is settled by a process manager ([`graph::Edges`]).

pub mod account;
pub mod arbiter;
pub mod edge;
pub mod followers;
pub mod graph;
mod grpc;
pub mod handle;
pub mod password;
pub mod relationship;

use std::sync::Arc;

use kith_fold::Group;
use kith_log::topics;
use kith_relations::account::{Accounts, Handles};
use kith_service::Failure;
use tonic::service::RoutesBuilder;

pub use grpc::{Deps, IdentityService};

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "identity";

/// The service's fold group.
pub fn group(generation: u32) -> Group {
    Group {
        name: GROUP,
        generation,
        folds_version: 1,
        topics: vec![topics::IDENTITY, topics::IDENTITY_PRIVATE],
        folds: vec![
            Arc::new(arbiter::Claims),
            Arc::new(Accounts),
            Arc::new(Handles),
            Arc::new(graph::Edges),
            Arc::new(followers::Followers),
        ],
        shown: None,
    }
}

/// Adds the service's RPCs to those of the process; gives the full names of its gRPC services.
pub fn add_to(routes: &mut RoutesBuilder, deps: Deps) -> Result<Vec<&'static str>, Failure> {
    Ok(IdentityService::new(deps)?.add_to(routes))
}

#[cfg(test)]
mod tests;
