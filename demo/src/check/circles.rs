//! Whom one person follows and is followed by, mutually too, and mutes: lists to their end, and counts.

use std::collections::BTreeSet;

use anyhow::Context;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;

use super::{Checker, PAGE};
use crate::client::ask;

/// All of a list: its accounts, which are in the field named, page by page.
macro_rules! whole {
    ($graph:ident.$list:ident($me:expr, $request:expr), $field:ident) => {{
        let (mut all, mut page_token) = (BTreeSet::new(), String::new());
        loop {
            let mut message = $request;
            (message.page_size, message.page_token) = (PAGE, page_token);
            let page = ask!($graph.$list($me, message)).await?;
            all.extend(page.$field.into_iter().filter_map(|entry| entry.account).map(|account| account.account_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break all;
            }
        }
    }};
}

impl Checker<'_> {
    pub(super) async fn lists(&self, person: usize) -> anyhow::Result<Vec<String>> {
        let me = &self.loaded.people[person];
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let account_id = || me.account_id.clone();
        let of = || identity::ListFollowersRequest { account_id: account_id(), ..Default::default() };
        let followers = whole!(graph.list_followers(me, of()), followers);
        let of = || identity::ListFollowingRequest { account_id: account_id(), ..Default::default() };
        let following = whole!(graph.list_following(me, of()), following);
        let mutuals = whole!(graph.list_mutuals(me, identity::ListMutualsRequest::default()), mutuals);
        let mutes = whole!(graph.list_mutes(me, identity::ListMutesRequest::default()), mutes);
        let id = |n: usize| self.loaded.people[n].account_id.clone();
        let pairs = &self.expected.follows;
        let expected_followers: BTreeSet<String> = pairs.iter().filter(|p| p.1 == person).map(|p| id(p.0)).collect();
        let expected_following: BTreeSet<String> = pairs.iter().filter(|p| p.0 == person).map(|p| id(p.1)).collect();
        let expected_mutuals = expected_followers.intersection(&expected_following).cloned().collect();
        let own = self.plan.mutes.iter().filter(|mute| mute.who == person);
        let mut differences = self.counts_of(person, (expected_followers.len(), expected_following.len())).await?;
        for (what, found, expected) in [
            ("followers", followers, expected_followers),
            ("following", following, expected_following),
            ("mutuals", mutuals, expected_mutuals),
            ("mutes", mutes, own.map(|mute| id(mute.whom)).collect()),
        ] {
            if found != expected {
                differences.push(format!("{what} of {person}: {} found, {} expected", found.len(), expected.len()));
            }
        }
        Ok(differences)
    }

    async fn counts_of(&self, person: usize, expected: (usize, usize)) -> anyhow::Result<Vec<String>> {
        let me = &self.loaded.people[person];
        let accounts = AccountServiceClient::new(self.services.identity.clone());
        let message = identity::GetAccountRequest { account_id: me.account_id.clone(), at_least: Vec::new() };
        let account = ask!(accounts.get_account(me, message)).await?.account.context("no account")?;
        let counts = account.counts.context("an account without counts")?;
        let found = (counts.follower_count as usize, counts.following_count as usize);
        let differs = found != expected;
        Ok(differs.then(|| format!("follower counts of {person}: {found:?}, not {expected:?}")).into_iter().collect())
    }
}
