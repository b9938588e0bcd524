//! What names services or fold groups and cannot be derived from the registry (`services/kith/src/services.rs`) agrees with it.

use std::collections::BTreeSet;
use std::path::Path;

use kith_relations::origin::ORIGINS;
use kith_service::config::{Profile, Settings, Sources};
use kith_tests::digests;
use kith_tests::suite::{groups, services};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_service_has_a_manifest_and_a_line_in_the_readme() {
    let (all, readme) = (read("deploy/k8s/base/kustomization.yaml"), read("README.md"));
    for service in services() {
        let manifest = read(&format!("deploy/k8s/base/{service}.yaml"));
        assert!(
            manifest.contains(&format!("name: KITH_SERVICES, value: {service} }}")),
            "its manifest runs no {service}"
        );
        assert!(all.contains(&format!("- {service}.yaml\n")), "the manifest of {service} is not among the resources");
        let mut rows = readme.lines().filter(|line| line.starts_with("| "));
        assert!(rows.any(|row| row.contains(service)), "README has no row of {service}");
    }
}

/// Each service of the production overlay has its own user, role, certificate and passwords.
#[test]
fn every_service_is_secured_in_production() {
    let overlay = read("deploy/k8s/prod/kustomization.yaml");
    let of_all = |who| {
        [
            format!("name: KITH_KAFKA_USER, value: kith-{who} }}"),
            format!("name: KITH_CQL_USER, value: kith_{who} }}"),
            format!("secret: {{ name: kith-{who}-passwords }}"),
        ]
    };
    let certificates = services().map(|service| format!("secret: {{ name: kith-{service}-tls }}"));
    for part in services().into_iter().chain(["init"]).flat_map(of_all).chain(certificates) {
        assert!(overlay.contains(&part), "the overlay lacks {part}");
    }
    let given = read("deploy/k8s/prod/prod.env");
    let base = read("deploy/k8s/base/kith.env");
    let variables = [&base, &given].into_iter().flat_map(|file| file.lines()).filter_map(|line| line.split_once('='));
    let users = [("KITH_KAFKA_USER", "kith-posts"), ("KITH_CQL_USER", "kith_posts")];
    let environment = variables.chain(users).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let settings = Settings::from_sources(Sources { flags: Vec::new(), environment: Some(environment) }).unwrap();
    settings.fit_to_run().unwrap();
    assert_eq!(settings.profile, Profile::Production);
}

/// A handler asks its own group's tables for which accounts a calling service may act.
#[test]
fn every_group_knows_which_accounts_there_are() {
    for group in digests::groups(0, digests::PARTITIONS).unwrap() {
        let tables = group.folded_tables();
        assert!(tables.iter().any(|table| table.name == ORIGINS.name), "{} folds no origins", group.name);
    }
}

#[test]
fn every_group_has_a_name_of_its_own_and_is_shown_to_operators() {
    let (groups, operating) = (groups().unwrap(), read("docs/operating.md"));
    let names: BTreeSet<&str> = groups.iter().map(|(group, _)| *group).collect();
    assert_eq!(names.len(), groups.len(), "two groups would share a keyspace");
    for name in names {
        // The list that `kith projections` prints there.
        assert!(
            operating.lines().any(|line| line.starts_with(&format!("{name} "))),
            "docs/operating.md lists no {name}"
        );
    }
}
