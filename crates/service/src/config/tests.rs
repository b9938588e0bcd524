use std::io::Write;

use super::*;

fn load(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Settings, String> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    let environment = Some(owned(environment).into_iter().collect());
    Settings::from_sources(Sources { flags: owned(flags), environment }).map_err(|error| error.to_string())
}

#[test]
fn with_nothing_set_the_defaults_hold() {
    let settings = load(&[], &[]).unwrap();
    assert_eq!(settings.log, LogAddress::Embedded("./.kith/log".into()));
    assert_eq!(settings.tables, TablesAddress::Embedded("./.kith/tables".into()));
    assert_eq!(settings.jwks_file(), Path::new("./.kith/keys/jwks.json"));
    assert_eq!(settings.services, ServiceName::ALL);
    assert_eq!((settings.listen.port(), settings.admin_listen.port()), (7400, 7401));
    assert_eq!(settings.backfill_window_seconds, 30 * 24 * 3600);
    assert_eq!((settings.replication_factor(), settings.serves_reflection()), (1, true));
    assert_eq!(settings.deadlines(), DeadlineRules::default());
    for handle in ["admin", "everyone", "here", "support", "kith"] {
        assert!(settings.reserved_handles.contains(handle), "{handle}");
    }
    assert_eq!(settings.connection_age(), Duration::from_secs(CONNECTION_AGE_SECONDS));
    assert_eq!(settings.sources().count(), KEYS.len());
    let fields = format!("{settings:?}");
    KEYS.iter().for_each(|key| assert!(fields.contains(&format!(" {}: ", key.name)), "no field {}", key.name));
}

#[test]
fn rates_are_for_production_unless_set_and_divided_among_replicas() {
    let rates = |flags: &[(&str, &str)]| load(flags, &[]).unwrap().edge_rules().rates;
    assert_eq!(rates(&[]), Rates::default());
    let production = rates(&[("profile", "production")]);
    assert_eq!(production.account, Rate { points_per_hour: 5_000, burst: 1_000 });
    assert!(production.service.burst > production.account.burst && production.account.burst > production.address.burst);
    let set =
        rates(&[("rate_account", "300:30"), ("replicas", "3"), ("profile", "production"), ("rate_address", "off")]);
    assert_eq!(set.account, Rate { points_per_hour: 100, burst: 10 });
    assert_eq!(set.service.points_per_hour, production.service.points_per_hour / 3);
    assert_eq!(set.address, Rate::UNLIMITED);
    assert!(load(&[("replicas", "0")], &[]).unwrap_err().contains("`replicas`"));
}

#[test]
fn sign_up_is_open_in_development_only_unless_set() {
    let sign_up = |flags: &[(&str, &str)]| load(flags, &[]).map(|settings| settings.sign_up());
    assert_eq!(sign_up(&[]), Ok(SignUp::Open));
    assert_eq!(sign_up(&[("profile", "production")]), Ok(SignUp::ByService));
    assert_eq!(sign_up(&[("profile", "production"), ("sign_up", "open")]), Ok(SignUp::Open));
    assert_eq!(sign_up(&[("sign_up", "closed")]), Ok(SignUp::Closed));
    assert!(sign_up(&[("sign_up", "yes")]).unwrap_err().contains("by-service"));
}

#[test]
fn proxies_are_addresses_and_ranges() {
    let listed = |list| load(&[("trusted_proxies", list)], &[]).map(|settings| settings.trusted_proxies);
    let expected = Proxies::new(["10.0.0.0/8", "2001:db8::1"].map(|range| range.parse().unwrap()));
    assert_eq!(listed("10.0.0.0/8, 2001:db8::1"), Ok(expected));
    assert!(listed("10.0.0.0/99").unwrap_err().contains("`10.0.0.0/99`"));
}

#[test]
fn flags_win_over_the_environment_and_it_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"partitions = 4\npush_threshold = 5\nlog_level = \"debug\"\nservices = [\"posts\"]\n").unwrap();
    file.write_all(b"reserved_handles = [\"root\"]\n").unwrap();
    let path = file.path().to_str().unwrap();
    let settings =
        load(&[("partitions", "8")], &[("KITH_PARTITIONS", "6"), ("KITH_PUSH_THRESHOLD", "7"), ("KITH_CONFIG", path)])
            .unwrap();
    assert_eq!((settings.partitions, settings.push_threshold, settings.log_level.as_str()), (8, 7, "debug"));
    assert_eq!(settings.services, [ServiceName::Posts]);
    assert_eq!(settings.reserved_handles, ReservedHandles::new(["root"]).unwrap());
    let origins = ["partitions", "push_threshold", "log_level", "listen"].map(|key| settings.origin(key).unwrap());
    assert_eq!(origins, [&Origin::Flag, &Origin::Environment, &Origin::File(path.into()), &Origin::Default]);
}

#[test]
fn reserved_handles_are_a_list_that_may_be_empty() {
    let reserved = |list| load(&[("reserved_handles", list)], &[]).map(|settings| settings.reserved_handles);
    assert_eq!(reserved("Root, staff"), Ok(ReservedHandles::new(["root", "staff"]).unwrap()));
    assert_eq!(reserved(""), Ok(ReservedHandles::default()));
    assert!(reserved("root,no handle").unwrap_err().contains("`no handle` is not a handle"));
}

#[test]
fn well_known_handles_are_a_list_that_may_be_empty() {
    let known = |list| load(&[("well_known_handles", list)], &[]).map(|settings| settings.well_known_handles);
    assert!(known("Acme").unwrap().is_imitated_by("acrne") && !known("").unwrap().is_imitated_by("acrne"));
    assert!(known("acme,no handle").unwrap_err().contains("`no handle` is not a handle"));
    assert!(load(&[], &[]).unwrap().well_known_handles.is_imitated_by("paypa1"));
}

#[test]
fn addresses_of_servers_are_lists() {
    let environment = [
        ("KITH_LOG", "kafka:127.0.0.1:9092,broker-2:9092"),
        ("KITH_TABLES", "cql:127.0.0.1:9042"),
        ("KITH_SERVICES", "identity, projector"),
        ("KITH_PROFILE", "production"),
    ];
    let settings = load(&[("projector_role", "serve")], &environment).unwrap();
    assert!(settings.projector_role.serves() && !settings.projector_role.folds());
    assert_eq!(settings.log, LogAddress::Kafka(vec!["127.0.0.1:9092".into(), "broker-2:9092".into()]));
    assert_eq!(settings.tables, TablesAddress::Cql(vec!["127.0.0.1:9042".into()]));
    assert_eq!(settings.services, [ServiceName::Identity, ServiceName::Projector]);
    assert_eq!((settings.replication_factor(), settings.serves_reflection()), (3, false));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (key, value) in [
        ("log", "kafka:"),
        ("log", "kafka:nohost"),
        ("log", "ftp:x"),
        ("log", "embedded:"),
        ("tables", "cql:a:99999"),
        ("profile", "prod"),
        ("services", "identity,mail"),
        ("services", ""),
        ("listen", "localhost"),
        ("partitions", "0"),
        ("partitions", "257"),
        ("partitions", "many"),
        ("default_deadline_ms", "40000"),
        ("reflection", "maybe"),
        ("log_level", "inof"),
        ("projector_role", "read"),
        ("projector_role", "serve"),
        ("max_lag_records", "0"),
        ("connection_age_seconds", "0"),
        ("connection_age_seconds", "301"),
    ] {
        let error = load(&[(key, value)], &[]).unwrap_err();
        assert!(error.contains(key) || error.contains(value), "{key}={value}: {error}");
    }
    for key in ["listen", "admin_listen", "ops_listen"] {
        for value in ["localhost:7400", "7400", ":7400", "127.0.0.1", "127.0.0.1:99999", ""] {
            let error = load(&[(key, value)], &[]).unwrap_err();
            assert!(error.contains(&format!("`{key}`")) && error.contains(&format!("`{value}`")), "{error}");
        }
    }
    assert!(load(&[("admin_listen", "127.0.0.1:7400")], &[]).is_err());
    assert!(load(&[("config", "/nowhere/kith.toml")], &[]).is_err());
}

#[test]
fn unknown_keys_are_refused_but_for_those_kubernetes_sets() {
    assert!(load(&[("partition", "8")], &[]).unwrap_err().contains("`partition` (flag)"));
    assert!(load(&[], &[("KITH_PARTITION", "8")]).unwrap_err().contains("`partition` (environment)"));
    let links = [
        ("KITH_IDENTITY_SERVICE_HOST", "10.0.0.1"),
        ("KITH_IDENTITY_SERVICE_PORT_GRPC", "7400"),
        ("KITH_IDENTITY_PORT", "tcp://10.0.0.1:7400"),
        ("KITH_IDENTITY_PORT_7400_TCP_PROTO", "tcp"),
    ];
    assert!(load(&[], &links).is_ok());
    assert!(load(&[], &[("OTHER_PARTITION", "8")]).is_ok());
}
