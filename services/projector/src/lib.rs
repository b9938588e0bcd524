//! The projector: hosts fold groups of read models, and serves them. One so far: feeds (`kith.feeds.v1`), denormalised from
//! the topics of identity, posts and engagement. Another read model is a group of its own, with generations of its own.
//!
//! Two roles, together or apart (the setting `projector_role`): a process *folds* when its groups are started so
//! (`kith_fold::engine::start(ports, group, true)`), and *serves* when [`add_to`] is called. Each read takes four
//! steps: `skeleton` (ids from tables), `hydrate` (rows by id), `rules` (as of now), and `feed`, which presents;
//! `remembered` keeps the page for whoever asks again, and `walk`
//! is what a page token carries. The tables are in [`views`], one file each; to add one, write the
//! file and name its fold in [`group`].

mod digest;
mod entry;
mod explain;
mod feed;
mod hydrate;
mod remembered;
mod rpcs;
mod rules;
mod skeleton;
mod tag_feed;
#[cfg(test)]
mod tests;
pub mod views;
mod walk;

use std::sync::Arc;

use kith_fold::{EVENTS, Fold, Group};
use kith_log::{PartitionIndex, topics};
use kith_proto::feeds::v1::feed_service_server::{self, FeedServiceServer, SERVICE_NAME};
use kith_proto::feeds::v1::rpc;
use kith_relations::{account::Accounts, away::Away, block, mute, origin::Origins};
use kith_service::call::Handlers;
use kith_service::kit::Kit;
use kith_service::rpcs;
use tonic::service::RoutesBuilder;

pub use digest::digest;

rpcs! {
    feed_service_server::FeedService => Feeds {
        list get_home_feed: rpc::GetHomeFeed => rpcs::Home,
        list get_author_feed: rpc::GetAuthorFeed => rpcs::Author,
        list get_tag_feed: rpc::GetTagFeed => tag_feed::Tagged,
        read explain_feed_entry: rpc::ExplainFeedEntry => rpcs::Explanation,
        read wait_for: rpc::WaitFor => rpcs::Progress,
    }
}

/// Serves feeds from the group's tables. Any replica can, whether it folds or not; cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    kit: Arc<Kit>,
}

impl Feeds {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }
}

impl Handlers for Feeds {
    fn kit(&self) -> &Kit {
        &self.kit
    }
}

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "feeds";

/// What the folds are made with. The same in every process of a generation.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The posts of an author who ever had more followers than this are pulled by their readers instead of pushed.
    pub push_threshold: u64,
    /// Partitions of every topic: `EventLog::partition_count`.
    pub partition_count: PartitionIndex,
}

/// The folds of feeds, with the topics that they read.
pub fn group(generation: u32, settings: Settings) -> Group {
    let Settings { push_threshold, partition_count } = settings;
    let folds: Vec<Arc<dyn Fold>> = vec![
        Arc::new(Accounts),
        Arc::new(Away),
        Arc::new(Origins),
        Arc::new(block::Blocks),
        Arc::new(block::BlockedBy),
        Arc::new(mute::Mutes),
        Arc::new(views::follows::Follows),
        Arc::new(views::followers::Followers { push_threshold, partition_count }),
        Arc::new(views::author_feed::AuthorFeed),
        Arc::new(views::cards::CardPosts { spreads: &[tag_feed::SPREAD] }),
        Arc::new(views::cards::CardEngagement),
    ];
    let topics = vec![topics::IDENTITY, topics::POSTS, topics::ENGAGEMENT];
    Group {
        name: GROUP,
        generation,
        folds_version: 5,
        reads: EVENTS,
        topics,
        folds,
        shown: Some(Arc::new(digest::HomeEntries)),
    }
}

/// Adds the gRPC services of feeds to what a process serves; gives their full names, for health and reflection.
pub fn add_to(routes: &mut RoutesBuilder, kit: Arc<Kit>) -> Vec<&'static str> {
    routes.add_service(kith_service::limited!(FeedServiceServer::new(Feeds::new(kit))));
    vec![SERVICE_NAME]
}
