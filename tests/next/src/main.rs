//! `kith` as a later release, for tests of upgrades: the groups of posts and of feeds have one more view each.

use std::process::ExitCode;

use kith::services::{RELEASE, Release, Service};
use kith_fold::Group;
use kith_service::config::{ServiceName, Settings};
use kith_tests::next;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let services: Vec<Service> = RELEASE.0.iter().map(|service| of_next(*service)).collect();
    kith::main(Release(services.leak()))
}

/// A service is told of in a table of function pointers: so each has one of its own.
fn of_next(service: Service) -> Service {
    let group: fn(&Settings, u32) -> Group = match service.name {
        ServiceName::Identity => |settings, number| group(ServiceName::Identity, settings, number),
        ServiceName::Posts => |settings, number| group(ServiceName::Posts, settings, number),
        ServiceName::Engagement => |settings, number| group(ServiceName::Engagement, settings, number),
        ServiceName::Messaging => |settings, number| group(ServiceName::Messaging, settings, number),
        ServiceName::Projector => |settings, number| group(ServiceName::Projector, settings, number),
    };
    Service { group, ..service }
}

fn group(name: ServiceName, settings: &Settings, number: u32) -> Group {
    let at = ServiceName::ALL.iter().position(|other| *other == name).unwrap_or_default();
    next::of((RELEASE.0[at].group)(settings, number))
}
