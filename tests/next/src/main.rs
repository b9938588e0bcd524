//! `kith` as a later release, for tests of upgrades: the groups of posts and of feeds have one more view each, and the projector
//! hosts one more group.

use std::process::ExitCode;

use kith::services::{GroupOf, RELEASE, Release, Service};
use kith_service::config::{ServiceName, Settings};
use kith_tests::next;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let services: Vec<Service> = RELEASE.0.iter().map(|service| of_next(*service)).collect();
    kith::main(Release(services.leak()))
}

fn of_next(service: Service) -> Service {
    let mut groups: Vec<GroupOf> = service.groups.iter().map(|group| changed(*group)).collect();
    if service.name == ServiceName::Projector {
        groups.push(&|_, number| next::edits::group(number));
    }
    Service { groups: groups.leak(), ..service }
}

fn changed(group: GroupOf) -> GroupOf {
    Box::leak(Box::new(move |settings: &Settings, number| next::of(group(settings, number))))
}
