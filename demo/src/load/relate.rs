//! What people become to each other.

use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;

use super::{Loaded, Loader};
use crate::client::ask;
use crate::plan::Mute;

impl Loader<'_> {
    pub(super) async fn unfollow(&self, loaded: &Loaded, n: usize, (a, b): (usize, usize)) -> anyhow::Result<String> {
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let target_id = loaded.people[b].account_id.clone();
        let request = identity::UnfollowRequest { target_id, request_id: self.id("unfollow", n), at_least: Vec::new() };
        Ok(ask!(graph.unfollow(loaded.people[a], request)).await?.consistency_token)
    }

    pub(super) async fn block(&self, loaded: &Loaded, n: usize, (a, b): (usize, usize)) -> anyhow::Result<String> {
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let target_id = loaded.people[b].account_id.clone();
        let request = identity::BlockRequest { target_id, request_id: self.id("block", n), at_least: Vec::new() };
        Ok(ask!(graph.block(loaded.people[a], request)).await?.consistency_token)
    }

    /// Of a follower, by who is followed.
    pub(super) async fn remove(&self, loaded: &Loaded, n: usize, (a, b): (usize, usize)) -> anyhow::Result<String> {
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let target_id = loaded.people[a].account_id.clone();
        let (request_id, at_least) = (self.id("remove", n), Vec::new());
        let request = identity::RemoveFollowerRequest { target_id, request_id, at_least };
        Ok(ask!(graph.remove_follower(loaded.people[b], request)).await?.consistency_token)
    }

    pub(super) async fn mute(&self, loaded: &Loaded, n: usize, mute: Mute) -> anyhow::Result<String> {
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let Mute { who, whom, posts, shares } = mute;
        let request = identity::MuteRequest {
            target_id: loaded.people[whom].account_id.clone(),
            scopes: Some(identity::MuteScopes { posts, shares, ..identity::MuteScopes::default() }),
            end_time: None,
            request_id: self.id("mute", n),
            at_least: Vec::new(),
        };
        Ok(ask!(graph.mute(loaded.people[who], request)).await?.consistency_token)
    }
}
