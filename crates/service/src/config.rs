//! Configuration: flags over environment (`KITH_*`) over `kith.toml` over the defaults, read here and nowhere else.

mod keys;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat, Source};
use kith_text::handle::ReservedHandles;
use serde::Deserialize;

pub use keys::{KEYS, Key, table_markdown};
pub use values::{LogAddress, LogFormat, LogLevel, Profile, ProjectorRole, Reflection, ServiceName, TablesAddress};

use crate::deadline::DeadlineRules;
use crate::limits::{CONNECTION_AGE_SECONDS, SESSION_IDLE_SECONDS};

/// Read when no other file is named, if it exists.
pub const DEFAULT_FILE: &str = "kith.toml";
/// Names the file, in the environment; as a flag it is `config`.
const FILE_VARIABLE: &str = "config";
const PREFIX: &str = "KITH";

/// All settings; [`KEYS`] gives their meanings. Each value is validated by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub log: LogAddress,
    pub tables: TablesAddress,
    pub profile: Profile,
    pub keys_dir: PathBuf,
    jwks_file: PathBuf,
    #[serde(deserialize_with = "values::service_names")]
    pub services: Vec<ServiceName>,
    pub projector_role: ProjectorRole,
    #[serde(deserialize_with = "values::socket_address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "values::socket_address")]
    pub admin_listen: SocketAddr,
    #[serde(deserialize_with = "values::socket_address")]
    pub ops_listen: SocketAddr,
    pub partitions: u16,
    replication_factor: u16,
    pub cql_local_datacenter: String,
    pub password_memory_kib: u32,
    pub refresh_token_rotates_seconds: u64,
    #[serde(deserialize_with = "values::reserved_handles")]
    pub reserved_handles: ReservedHandles,
    pub push_threshold: u64,
    pub backfill_window_seconds: u64,
    pub max_lag_records: u64,
    pub rebuild_live_lag_records: u64,
    pub default_deadline_ms: u64,
    pub max_deadline_ms: u64,
    connection_age_seconds: u64,
    pub otlp_endpoint: String,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    pub reflection: Reflection,
    #[serde(skip)]
    sources: BTreeMap<&'static str, (String, Origin)>,
}

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why there are no settings. The message names the key and where it was given.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown key `{key}` ({origin}); see `kith run --help` for those there are")]
    UnknownKey { key: String, origin: Origin },
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[source] config::ConfigError),
    #[error("the configuration is not valid: {0}")]
    Invalid(#[source] config::ConfigError),
    #[error("`{key}` {problem}")]
    Refused { key: &'static str, problem: &'static str },
}

/// The sources of the settings. The default reads the process's environment and `kith.toml`, if it exists.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Key (as in [`KEYS`], or `config` for the file) and value of each flag that was given.
    pub flags: Vec<(String, String)>,
    /// Instead of the process's environment.
    pub environment: Option<HashMap<String, String>>,
}

impl Settings {
    /// Reads all sources; `flags` are those of the command line, by key. Unknown keys are refused wherever they are
    /// set, except the `KITH_…_SERVICE_HOST` and `KITH_…_PORT…` that Kubernetes sets by itself.
    pub fn load(flags: Vec<(String, String)>) -> Result<Self, ConfigError> {
        Self::from_sources(Sources { flags, environment: None })
    }

    pub fn from_sources(sources: Sources) -> Result<Self, ConfigError> {
        let mut environment = environment_values(sources.environment)?;
        let mut flags: HashMap<String, config::Value> =
            sources.flags.into_iter().map(|(key, value)| (key, value.into())).collect();
        let named_file = flags.remove(FILE_VARIABLE).or(environment.remove(FILE_VARIABLE));
        let path = named_file.as_ref().map_or(DEFAULT_FILE.to_owned(), ToString::to_string);
        // An existing one must be read: its content may keep a command from the wrong suite.
        let must_read = named_file.is_some() || Path::new(&path).exists();
        let file = File::new(&path, FileFormat::Toml).required(must_read);
        let file = file.collect().map_err(ConfigError::Unreadable)?;
        let layers =
            [(file, Origin::File(PathBuf::from(path))), (environment, Origin::Environment), (flags, Origin::Flag)];
        let settings = merge(layers)?;
        settings.check()?;
        Ok(settings)
    }

    /// The value of every key as given, and its source. No key holds a secret.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
        self.sources.iter().map(|(name, (value, origin))| (*name, value.as_str(), origin))
    }

    /// The source of the value of `key`.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.sources.get(key).map(|(_, origin)| origin)
    }

    /// Whether this process owns the log or the tables alone.
    pub fn is_embedded(&self) -> bool {
        matches!(self.log, LogAddress::Embedded(_)) || matches!(self.tables, TablesAddress::Embedded(_))
    }

    /// Whether no other process can have the log or the tables.
    pub fn is_alone(&self) -> bool {
        matches!(self.log, LogAddress::Embedded(_)) && matches!(self.tables, TablesAddress::Embedded(_))
    }

    /// Replicas of topics and keyspaces; the profile's default unless set.
    pub fn replication_factor(&self) -> u16 {
        match (self.replication_factor, self.profile) {
            (0, Profile::Development) => 1,
            (0, Profile::Production) => 3,
            (set, _) => set,
        }
    }

    /// The public keys that access tokens are verified with; beside the signing key unless it is set.
    pub fn jwks_file(&self) -> PathBuf {
        if self.jwks_file == Path::new("") {
            return self.keys_dir.join(crate::keys::JWKS_FILE);
        }
        self.jwks_file.clone()
    }

    /// Whether server reflection is served: in development, unless it is set.
    pub fn serves_reflection(&self) -> bool {
        match self.reflection {
            Reflection::Auto => self.profile == Profile::Development,
            Reflection::On => true,
            Reflection::Off => false,
        }
    }

    pub fn deadlines(&self) -> DeadlineRules {
        DeadlineRules {
            default: Duration::from_millis(self.default_deadline_ms),
            max: Duration::from_millis(self.max_deadline_ms),
        }
    }

    /// The age at which a caller's connection is asked to close.
    pub fn connection_age(&self) -> Duration {
        Duration::from_secs(self.connection_age_seconds)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refused = |key, problem| Err(ConfigError::Refused { key, problem });
        if self.services.is_empty() {
            return refused("services", "is empty: name at least one");
        }
        if self.projector_role != ProjectorRole::All && self.is_embedded() {
            return refused("projector_role", "is not `all`, and no other process can share an embedded log or tables");
        }
        if self.partitions == 0 || self.partitions > kith_log::LogPartition::MAX_COUNT {
            return refused("partitions", "is not from 1 to 256");
        }
        if self.password_memory_kib < 8 || self.password_memory_kib > 1024 * 1024 {
            return refused("password_memory_kib", "is not from 8 to 1048576");
        }
        if self.refresh_token_rotates_seconds == 0 || self.refresh_token_rotates_seconds > SESSION_IDLE_SECONDS {
            return refused("refresh_token_rotates_seconds", "is not from 1 to 2592000");
        }
        if self.max_lag_records == 0 {
            return refused("max_lag_records", "is 0: no command could ever be taken");
        }
        if self.default_deadline_ms < 10 || self.default_deadline_ms > self.max_deadline_ms {
            return refused("default_deadline_ms", "is not from 10 to `max_deadline_ms`");
        }
        if self.max_deadline_ms > 3_600_000 {
            return refused("max_deadline_ms", "is over an hour");
        }
        if self.connection_age_seconds == 0 || self.connection_age_seconds > CONNECTION_AGE_SECONDS {
            return refused("connection_age_seconds", "is not from 1 to 300");
        }
        if self.admin_listen == self.listen && self.listen.port() != 0 {
            return refused("admin_listen", "is the same address as `listen`");
        }
        if [self.listen, self.admin_listen].contains(&self.ops_listen) && self.ops_listen.port() != 0 {
            return refused("ops_listen", "is the same address as `listen` or `admin_listen`");
        }
        Ok(())
    }
}

/// The environment, without other programs' variables under our prefix.
fn environment_values(instead: Option<HashMap<String, String>>) -> Result<HashMap<String, config::Value>, ConfigError> {
    let environment = Environment::with_prefix(PREFIX).source(instead);
    let mut values = environment.collect().map_err(ConfigError::Unreadable)?;
    values.retain(|key, _| keys::find(key).is_some() || !is_service_link(key));
    Ok(values)
}

/// Kubernetes describes each service of the namespace to every pod in variables of the service's name; a service called
/// `kith-identity` gives `KITH_IDENTITY_SERVICE_HOST`, `KITH_IDENTITY_PORT`, `KITH_IDENTITY_PORT_7400_TCP_ADDR`, ….
fn is_service_link(key: &str) -> bool {
    ["service_host", "service_port", "port"].iter().any(|end| key.ends_with(end))
        || key.contains("service_port_")
        || key.contains("port_") && ["_tcp", "_udp", "_addr", "_proto"].iter().any(|end| key.ends_with(end))
}

/// Later layers win.
fn merge(layers: [(HashMap<String, config::Value>, Origin); 3]) -> Result<Settings, ConfigError> {
    let mut builder = Config::builder();
    let mut sources = BTreeMap::new();
    for key in KEYS {
        builder = builder.set_default(key.name, key.default).map_err(ConfigError::Invalid)?;
        sources.insert(key.name, (key.default.to_owned(), Origin::Default));
    }
    for (values, origin) in layers {
        for (name, value) in values {
            let Some(key) = keys::find(&name) else {
                return Err(ConfigError::UnknownKey { key: name, origin });
            };
            sources.insert(key.name, (value.to_string(), origin.clone()));
            builder = builder.set_override(key.name, value).map_err(ConfigError::Invalid)?;
        }
    }
    let merged = builder.build().map_err(ConfigError::Invalid)?;
    let mut settings: Settings = merged.try_deserialize().map_err(ConfigError::Invalid)?;
    settings.sources = sources;
    Ok(settings)
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn flags_win_over_the_environment_and_it_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"partitions = 4\npush_threshold = 5\nlog_level = \"debug\"\nservices = [\"posts\"]\n").unwrap();
        file.write_all(b"reserved_handles = [\"root\"]\n").unwrap();
        let path = file.path().to_str().unwrap();
        let settings = load(
            &[("partitions", "8")],
            &[("KITH_PARTITIONS", "6"), ("KITH_PUSH_THRESHOLD", "7"), ("KITH_CONFIG", path)],
        )
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
}
