//! The common part of every service: configuration, telemetry, keys and callers, deadlines and limits, failures as
//! callers see them, the layers in front of the handlers, the server itself.
//!
//! Nothing in here knows a noun.

mod admission;
mod arriving;
pub mod auth;
pub mod call;
pub mod command;
pub mod config;
mod connections;
pub mod consistency_token;
mod content_type;
pub mod contest;
mod cost;
pub mod deadline;
pub mod descriptors;
mod failure;
pub mod health;
pub mod ids;
pub mod jwks;
pub mod keys;
pub mod kit;
pub mod layers;
pub mod limits;
pub mod metrics;
mod open;
pub mod page_token;
pub mod peer;
pub mod query;
pub mod rate;
mod reasons;
mod response;
mod rpcs;
pub mod security;
pub mod server;
pub mod share;
pub mod source;
pub mod tail;
pub mod telemetry;
pub mod text;
mod tokens;
mod trace_context;
pub mod unread;

pub use failure::{Failure, Violation};
pub use reasons::code_of;
