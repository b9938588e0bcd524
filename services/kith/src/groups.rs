//! The fold groups of the suite, by the settings.

use kith_fold::{Generations, Group};
use kith_service::config::Settings;

use crate::services::{self, Service};

/// The fold group of every generation of every service that this release folds. Another release's have tables of their own.
pub fn groups(settings: &Settings, generations_of: impl Fn(&str) -> Generations) -> Vec<Group> {
    let all = |service: &Service| {
        let first = (service.group)(settings, 0);
        let generations = generations_of(first.name);
        let own = generations.all().keys().filter(|number| generations.is_of(**number, first.folds_version));
        Vec::from_iter(own.map(|&number| (service.group)(settings, number)))
    };
    services::ALL.iter().flat_map(all).collect()
}
