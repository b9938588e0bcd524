//! The fold groups of the suite, by the settings.

use kith_fold::{Generations, Group};
use kith_service::config::Settings;

use crate::services::{self, Service};

/// The fold group of every generation of every service.
pub fn groups(settings: &Settings, generations_of: impl Fn(&str) -> Generations) -> Vec<Group> {
    let all = |service: &Service| {
        let generations = generations_of((service.group)(settings, 0).name);
        Vec::from_iter(generations.all().keys().map(|&number| (service.group)(settings, number)))
    };
    services::ALL.iter().flat_map(all).collect()
}
