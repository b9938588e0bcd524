//! The services of the suite and the fold groups that each hosts: the one registry of both. To add a group, name it in its
//! service's line; to add a service, add a line, and its name to [`ServiceName`]. What cannot be derived from here (manifests,
//! documents) is compared with it by a test, `tests/tests/suite/registry.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use kith_fold::{Generations, Group};
use kith_service::auth::{Principals, TokenIssuer, Verifier};
use kith_service::config::{ServiceName, Settings};
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::rate::Refused;
use tonic::service::RoutesBuilder;

/// How to run one service.
#[derive(Clone, Copy)]
pub struct Service {
    pub name: ServiceName,
    /// Its fold groups. Each has generations of its own.
    pub groups: &'static [GroupOf],
    /// Adds its RPCs; returns the full names of its gRPC services.
    pub add_to: fn(&mut RoutesBuilder, &Serving<'_>) -> anyhow::Result<Vec<&'static str>>,
    /// Its role in this process.
    pub roles: fn(&Settings) -> Roles,
}

/// A fold group in that generation. No function pointer, so that a test's release can wrap one.
pub type GroupOf = &'static (dyn Fn(&Settings, u32) -> Group + Send + Sync);

/// The dependencies of handlers.
pub struct Serving<'a> {
    /// By the names of the service's groups.
    pub kits: BTreeMap<&'static str, Arc<Kit>>,
    pub settings: &'a Settings,
    pub verifier: &'a Verifier,
    pub principals: &'a Principals,
    /// Counts those who are refused for a rate.
    pub refused: &'a Refused,
}

/// Only the projector can have one without the other: other services decide on their own folded tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub folds: bool,
    pub serves: bool,
}

/// The services that a build has, with their folds.
#[derive(Clone, Copy)]
pub struct Release(pub &'static [Service]);

/// This one.
pub const RELEASE: Release = Release(&ALL);

#[rustfmt::skip]
static ALL: [Service; ServiceName::ALL.len()] = [
    Service { name: ServiceName::Identity, groups: &[&|_, number| kith_identity::group(number)], add_to: identity, roles: both },
    Service { name: ServiceName::Posts, groups: &[&|_, number| kith_posts::group(number)], add_to: posts, roles: both },
    Service { name: ServiceName::Engagement, groups: &[&|_, number| kith_engagement::group(number)], add_to: engagement, roles: both },
    Service { name: ServiceName::Messaging, groups: &[&|_, number| kith_messaging::group(number)], add_to: messaging, roles: both },
    Service { name: ServiceName::Projector, groups: &[&feeds], add_to: projector, roles: projector_roles },
];

impl Service {
    /// Its fold groups, each in that generation.
    pub fn groups_in(&self, settings: &Settings, number: u32) -> impl Iterator<Item = Group> {
        self.groups.iter().map(move |group| group(settings, number))
    }
}

impl Serving<'_> {
    /// The kit of one of the service's groups.
    pub fn kit(&self, group: &str) -> anyhow::Result<Arc<Kit>> {
        self.kits.get(group).cloned().with_context(|| format!("the service declares no group {group}"))
    }
}

impl Release {
    /// Those that run in this process.
    pub(crate) fn here(self, settings: &Settings) -> impl Iterator<Item = &'static Service> {
        self.0.iter().filter(|service| settings.services.contains(&service.name))
    }

    /// The first generation of every group, as if this release had founded each.
    pub fn first_groups(self, settings: &Settings) -> Vec<Group> {
        self.0.iter().flat_map(|service| service.groups_in(settings, Generations::FIRST)).collect()
    }

    /// The fold group of every generation that this release folds. Another release's have tables of their own.
    pub(crate) fn groups(self, settings: &Settings, generations_of: impl Fn(&str) -> Generations) -> Vec<Group> {
        let all = |first: Group| {
            let generations = generations_of(first.name);
            let is_own = |number: &u32| generations.is_of(*number, first.build());
            let own: Vec<u32> = generations.all().keys().copied().filter(is_own).collect();
            own.into_iter().map(move |generation| Group { generation, ..first.clone() })
        };
        self.first_groups(settings).into_iter().flat_map(all).collect()
    }
}

fn both(_: &Settings) -> Roles {
    Roles { folds: true, serves: true }
}

fn projector_roles(settings: &Settings) -> Roles {
    Roles { folds: settings.projector_role.folds(), serves: settings.projector_role.serves() }
}

fn feeds(settings: &Settings, number: u32) -> Group {
    let (push_threshold, partition_count) = (settings.push_threshold, settings.partitions);
    kith_projector::group(number, kith_projector::Settings { push_threshold, partition_count })
}

fn identity(routes: &mut RoutesBuilder, serving: &Serving<'_>) -> anyhow::Result<Vec<&'static str>> {
    let Serving { settings, verifier, principals, refused, .. } = serving;
    let kit = serving.kit(kith_identity::GROUP)?;
    let keys = KeyFolder::at(&settings.keys_dir);
    let key = keys.signing_key().context("the signing key")?;
    let deps = kith_identity::Deps {
        issuer: TokenIssuer::new(key, kit.runtime.clone()),
        refresh_token_key: keys.refresh_token_key().context("the refresh-token key: `kith init` makes one")?,
        kit,
        verifier: (*verifier).clone(),
        principals: (*principals).clone(),
        refresh_token_rotates_seconds: settings.refresh_token_rotates_seconds,
        password_memory_kib: settings.password_memory_kib,
        backfill_window_seconds: settings.backfill_window_seconds,
        reserved_handles: settings.reserved_handles.clone(),
        well_known_handles: settings.well_known_handles.clone(),
        sign_up: (settings.sign_up(), settings.rate_sign_up()),
        refused: (*refused).clone(),
    };
    Ok(kith_identity::add_to(routes, deps)?)
}

fn posts(routes: &mut RoutesBuilder, serving: &Serving<'_>) -> anyhow::Result<Vec<&'static str>> {
    kith_posts::PostsService::new(serving.kit(kith_posts::GROUP)?).add_to(routes);
    Ok(kith_posts::SERVICES.to_vec())
}

fn engagement(routes: &mut RoutesBuilder, serving: &Serving<'_>) -> anyhow::Result<Vec<&'static str>> {
    kith_engagement::EngagementService::new(serving.kit(kith_engagement::GROUP)?).add_to(routes);
    Ok(kith_engagement::SERVICES.to_vec())
}

fn messaging(routes: &mut RoutesBuilder, serving: &Serving<'_>) -> anyhow::Result<Vec<&'static str>> {
    kith_messaging::MessagingService::new(serving.kit(kith_messaging::GROUP)?).add_to(routes);
    Ok(kith_messaging::SERVICES.to_vec())
}

fn projector(routes: &mut RoutesBuilder, serving: &Serving<'_>) -> anyhow::Result<Vec<&'static str>> {
    Ok(kith_projector::add_to(routes, serving.kit(kith_projector::GROUP)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_that_a_setting_can_name_is_here() {
        assert_eq!(ALL.each_ref().map(|service| service.name), ServiceName::ALL);
    }
}
