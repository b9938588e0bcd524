//! The fold groups of the suite, as the settings make them.

use kith_fold::{Generations, Group};
use kith_service::config::{ServiceName, Settings};

/// The fold group of every generation of every service.
pub fn groups(settings: &Settings, generations_of: impl Fn(&str) -> Generations) -> Vec<Group> {
    let all = |service| {
        let generations = generations_of(group(service, settings, 0).name);
        Vec::from_iter(generations.all().keys().map(|&number| group(service, settings, number)))
    };
    ServiceName::ALL.into_iter().flat_map(all).collect()
}

/// The fold group of one generation of a service.
pub fn group(service: ServiceName, settings: &Settings, generation: u32) -> Group {
    match service {
        ServiceName::Identity => kith_identity::group(generation),
        ServiceName::Posts => kith_posts::group(generation),
        ServiceName::Engagement => kith_engagement::group(generation),
        ServiceName::Messaging => kith_messaging::group(generation),
        ServiceName::Projector => {
            let (push_threshold, partition_count) = (settings.push_threshold, settings.partitions);
            kith_projector::group(generation, kith_projector::Settings { push_threshold, partition_count })
        }
    }
}
