//! The protos of Kith: what its services say to callers and what stands in its log. Imports nothing of ours.
//!
//! A package `kith.posts.v1` is the module [`posts::v1`]. [`Event`] is any event of any topic; [`time`] turns the protos'
//! timestamps into milliseconds and back; [`rpc`] has what all RPCs have in common. What follows from the protos is written by
//! the build (`build/`), from their descriptors and the options of `kith.options.v1`.

#[allow(clippy::too_many_lines, reason = "what is generated has a line per event")]
mod event;
mod reason;
pub mod rpc;
mod secret;
pub mod time;

pub use event::{DecodeError, Event};
pub use reason::ERROR_DOMAIN;

/// Every proto, with what they import and their comments, as an encoded `google.protobuf.FileDescriptorSet`: for server
/// reflection, and for whoever shows events as JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kith.binpb"));

// A module per package, with a module `rpc` where it has services.
include!(concat!(env!("OUT_DIR"), "/modules.rs"));
