//! Configuration: flags over environment (`KITH_*`) over `kith.toml` over the defaults, read here and nowhere else.

mod keys;
mod rates;
mod transport;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat, Source};
use kith_text::handle::{ReservedHandles, WellKnownHandles};
use serde::Deserialize;

pub use keys::{KEYS, Key, table_markdown};
pub use rates::{RateSetting, SignUp};
pub use transport::{ClientCertificates, ListenerFiles, Login, ServerAccess, Transport};
pub use values::{LogAddress, LogFormat, LogLevel, Profile, ProjectorRole, Reflection, ServiceName, TablesAddress};

use crate::auth::KeyTransport;
use crate::deadline::DeadlineRules;
use crate::layers::EdgeRules;
use crate::limits::{
    CONNECTION_AGE_SECONDS, RATE_ACCOUNT_BURST, RATE_ACCOUNT_PER_HOUR, RATE_ADDRESS_BURST, RATE_ADDRESS_PER_HOUR,
    RATE_SERVICE_BURST, RATE_SERVICE_PER_HOUR, SESSION_IDLE_SECONDS, SIGN_UPS_AT_ONCE, SIGN_UPS_PER_HOUR,
};
use crate::rate::{Rate, Rates};
use crate::source::Proxies;

/// Read when no other file is named, if it exists.
pub const DEFAULT_FILE: &str = "kith.toml";
/// Names the file, in the environment; as a flag it is `config`.
const FILE_VARIABLE: &str = "config";
const PREFIX: &str = "KITH";
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// All settings; [`KEYS`] gives their meanings. Each value is validated by itself; `merge` has refused other keys.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    pub log: LogAddress,
    pub tables: TablesAddress,
    pub profile: Profile,
    pub keys_dir: PathBuf,
    jwks_file: PathBuf,
    callers_file: PathBuf,
    #[serde(deserialize_with = "values::service_names")]
    pub services: Vec<ServiceName>,
    pub projector_role: ProjectorRole,
    #[serde(deserialize_with = "values::socket_address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "values::socket_address")]
    pub admin_listen: SocketAddr,
    #[serde(deserialize_with = "values::socket_address")]
    pub ops_listen: SocketAddr,
    security_retention_days: u32,
    pub partitions: u16,
    replication_factor: u16,
    pub cql_local_datacenter: String,
    pub password_memory_kib: u32,
    pub refresh_token_rotates_seconds: u64,
    #[serde(deserialize_with = "values::reserved_handles")]
    pub reserved_handles: ReservedHandles,
    #[serde(deserialize_with = "values::well_known_handles")]
    pub well_known_handles: WellKnownHandles,
    pub push_threshold: u64,
    pub backfill_window_seconds: u64,
    pub max_lag_records: u64,
    pub rebuild_live_lag_records: u64,
    pub default_deadline_ms: u64,
    pub max_deadline_ms: u64,
    connection_age_seconds: u64,
    #[serde(deserialize_with = "values::proxies")]
    pub trusted_proxies: Proxies,
    rate_account: RateSetting,
    rate_service: RateSetting,
    rate_address: RateSetting,
    sign_up: SignUp,
    rate_sign_up: RateSetting,
    replicas: u64,
    pub otlp_endpoint: String,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    pub reflection: Reflection,
    #[serde(flatten)]
    pub transport: Transport,
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
    #[error("`profile` is `production`, and {}", .0.join("; "))]
    Exposed(Vec<String>),
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

    /// The issuers that are trusted and the services that may call; `None`: only accounts call.
    pub fn callers_file(&self) -> Option<&Path> {
        Some(&*self.callers_file).filter(|path| *path != Path::new(""))
    }

    /// How issuers' keys may come that are at a URL.
    pub fn issuer_keys_over(&self) -> KeyTransport {
        match self.profile {
            Profile::Development => KeyTransport::LoopbackToo,
            Profile::Production => KeyTransport::TlsOnly,
        }
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

    /// What holds for all calls.
    pub fn edge_rules(&self) -> EdgeRules {
        EdgeRules {
            deadlines: self.deadlines(),
            proxies: self.trusted_proxies.clone(),
            rates: self.rates(),
            operators: self.operator_rules(),
        }
    }

    /// How long security events are kept, milliseconds; `None`: for ever.
    pub fn security_retention_ms(&self) -> Option<i64> {
        (self.security_retention_days > 0).then(|| i64::from(self.security_retention_days) * DAY_MS)
    }

    /// Who may have accounts made: in development anybody, in production calling services, unless it is set.
    pub fn sign_up(&self) -> SignUp {
        match (self.sign_up, self.profile) {
            (SignUp::Auto, Profile::Development) => SignUp::Open,
            (SignUp::Auto, Profile::Production) => SignUp::ByService,
            (set, _) => set,
        }
    }

    /// Of sign-ups from one address, where they are open.
    pub fn rate_sign_up(&self) -> Rate {
        let default = match self.profile {
            Profile::Development => Rate { points_per_hour: 100_000, burst: 20_000 },
            Profile::Production => Rate { points_per_hour: SIGN_UPS_PER_HOUR, burst: SIGN_UPS_AT_ONCE },
        };
        self.rate_sign_up.or(default).shared_by(self.replicas)
    }

    /// Of each kind of source, in this one of all replicas; by default in production only.
    fn rates(&self) -> Rates {
        let rate = |setting: RateSetting, points_per_hour, burst| {
            let default = match self.profile {
                Profile::Development => Rate::UNLIMITED,
                Profile::Production => Rate { points_per_hour, burst },
            };
            setting.or(default).shared_by(self.replicas)
        };
        Rates {
            account: rate(self.rate_account, RATE_ACCOUNT_PER_HOUR, RATE_ACCOUNT_BURST),
            service: rate(self.rate_service, RATE_SERVICE_PER_HOUR, RATE_SERVICE_BURST),
            address: rate(self.rate_address, RATE_ADDRESS_PER_HOUR, RATE_ADDRESS_BURST),
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
        if self.replicas == 0 || self.replicas > 1_000 {
            return refused("replicas", "is not from 1 to 1000");
        }
        if self.admin_listen == self.listen && self.listen.port() != 0 {
            return refused("admin_listen", "is the same address as `listen`");
        }
        if [self.listen, self.admin_listen].contains(&self.ops_listen) && self.ops_listen.port() != 0 {
            return refused("ops_listen", "is the same address as `listen` or `admin_listen`");
        }
        match self.transport.contradiction() {
            Some((key, problem)) => refused(key, problem),
            None => Ok(()),
        }
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
mod tests;
