//! The protos of Kith: what its services say to callers and what stands in its log. Imports nothing of ours.
//!
//! A package `kith.posts.v1` is the module [`posts::v1`]. [`Event`] is any event of any topic; [`time`] turns the protos'
//! timestamps into milliseconds and back.

mod event;
mod reason;
mod secret;
pub mod time;

pub use event::{DecodeError, Event};
pub use reason::ERROR_DOMAIN;

/// Every proto, with what they import and their comments, as an encoded `google.protobuf.FileDescriptorSet`: for server
/// reflection, and for whoever shows events as JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kith.binpb"));

/// `kith.deadletters.*`: records that could not be decoded.
pub mod deadletters {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.deadletters.v1");
    }
}

/// `kith.engagement.*`: reactions, comments, shares.
pub mod engagement {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.engagement.v1");
    }
}

/// `kith.errors.*`: why a call failed.
pub mod errors {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.errors.v1");
    }
}

/// `kith.feeds.*`: what the projector serves.
pub mod feeds {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.feeds.v1");
    }
}

/// `kith.identity.*`: accounts, sessions, follows and blocks.
pub mod identity {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.identity.v1");
    }
    /// What only the identity service reads and writes.
    pub mod private {
        #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
        pub mod v1 {
            tonic::include_proto!("kith.identity.private.v1");
        }
    }
}

/// `kith.messaging.*`: conversations and messages.
pub mod messaging {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.messaging.v1");
    }
}

/// `kith.ops.*`: what operators ask and decide.
pub mod ops {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.ops.v1");
    }
}

/// `kith.posts.*`: posts.
pub mod posts {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.posts.v1");
    }
    /// What only the posts service reads and writes.
    pub mod private {
        #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
        pub mod v1 {
            tonic::include_proto!("kith.posts.private.v1");
        }
    }
}

/// `kith.tokens.*`: consistency tokens themselves.
pub mod tokens {
    #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("kith.tokens.v1");
    }
}
