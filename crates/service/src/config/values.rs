//! The types of settings.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use kith_text::handle::{ReservedHandles, WellKnownHandles};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::source::{AddressRange, Proxies};

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogAddress {
    /// A folder that only this process uses.
    Embedded(PathBuf),
    /// Bootstrap servers, `host:port` each.
    Kafka(Vec<String>),
}

/// Where the tables are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TablesAddress {
    /// A folder that only this process uses.
    Embedded(PathBuf),
    /// Contact points, `host:port` each.
    Cql(Vec<String>),
}

/// How strict the self-checks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Profile {
    /// A failed check is a warning.
    Development,
    /// A failed check refuses to serve.
    Production,
}

/// The format of the process's own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    Text,
    Json,
}

/// Which of the process's own messages are logged: a level, or a filter of `TARGET=LEVEL` and levels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel(String);

/// Whether server reflection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Reflection {
    Auto,
    On,
    Off,
}

/// The projector's role in this process. Separate roles scale independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ProjectorRole {
    All,
    /// Is a member of the consumer group and writes the feed tables; answers no call.
    Fold,
    /// Answers calls from the tables; is no member of the consumer group.
    Serve,
}

impl ProjectorRole {
    pub fn folds(self) -> bool {
        self != Self::Serve
    }

    pub fn serves(self) -> bool {
        self != Self::Fold
    }
}

/// A service of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceName {
    Identity,
    Posts,
    Engagement,
    Messaging,
    Projector,
}

impl ServiceName {
    pub const ALL: [Self; 5] = [Self::Identity, Self::Posts, Self::Engagement, Self::Messaging, Self::Projector];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Posts => "posts",
            Self::Engagement => "engagement",
            Self::Messaging => "messaging",
            Self::Projector => "projector",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, &Self::ALL.map(|service| (service.as_str(), service)))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Profile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("development", Self::Development), ("production", Self::Production)])
    }
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("text", Self::Text), ("json", Self::Json)])
    }
}

impl LogLevel {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    /// A bare word is a level: the filter itself would take a misspelt one as a target, and silence everything else.
    fn try_from(text: String) -> Result<Self, String> {
        let is_word = |part: &str| !part.contains(['=', '[', ']']);
        let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if let Some(wrong) = text.split(',').find(|part| is_word(part) && !is_level(part)) {
            return Err(format!("`{wrong}` is not one of off, error, warn, info, debug, trace, nor TARGET=LEVEL"));
        }
        match EnvFilter::try_new(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("`{text}` is not a filter: {error}")),
        }
    }
}

impl TryFrom<String> for Reflection {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)])
    }
}

impl TryFrom<String> for ProjectorRole {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("all", Self::All), ("fold", Self::Fold), ("serve", Self::Serve)])
    }
}

impl TryFrom<String> for LogAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", folder)) if !folder.is_empty() => Ok(Self::Embedded(folder.into())),
            Some(("kafka", servers)) => servers_of(servers).map(Self::Kafka),
            _ => Err(format!("`{text}` is not `embedded:DIR` or `kafka:HOST:PORT,…`")),
        }
    }
}

impl TryFrom<String> for TablesAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", folder)) if !folder.is_empty() => Ok(Self::Embedded(folder.into())),
            Some(("cql", servers)) => servers_of(servers).map(Self::Cql),
            _ => Err(format!("`{text}` is not `embedded:DIR` or `cql:HOST:PORT,…`")),
        }
    }
}

/// As the standard library parses it, whose error does not name the setting.
pub(super) fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!("`{text}` is not ADDRESS:PORT with an IP address, such as 127.0.0.1:7400"))
    })
}

fn servers_of(text: &str) -> Result<Vec<String>, String> {
    let is_server = |server: &str| {
        server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    let servers: Vec<String> = text.split(',').map(|server| server.trim().to_owned()).collect();
    match servers.iter().find(|server| !is_server(server)) {
        Some(wrong) => Err(format!("`{wrong}` in `{text}` is not HOST:PORT")),
        None => Ok(servers),
    }
}

pub(super) fn service_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServiceName>, D::Error> {
    let names = deserializer.deserialize_any(List("names of services"))?;
    let parsed: Result<Vec<_>, _> = names.iter().map(|name| ServiceName::parse(name)).collect();
    let mut services = parsed.map_err(de::Error::custom)?;
    services.sort_unstable();
    services.dedup();
    Ok(services)
}

pub(super) fn reserved_handles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ReservedHandles, D::Error> {
    let handles = deserializer.deserialize_any(List("handles"))?;
    ReservedHandles::new(handles).map_err(de::Error::custom)
}

pub(super) fn well_known_handles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WellKnownHandles, D::Error> {
    let handles = deserializer.deserialize_any(List("handles"))?;
    WellKnownHandles::new(handles).map_err(de::Error::custom)
}

pub(super) fn proxies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Proxies, D::Error> {
    let ranges = deserializer.deserialize_any(List("addresses of proxies"))?;
    let parsed: Result<Vec<AddressRange>, _> = ranges.iter().map(|range| range.parse()).collect();
    parsed.map(Proxies::new).map_err(de::Error::custom)
}

/// A list in the file, a text with commas elsewhere. Its error names the kind of items.
struct List(&'static str);

impl<'de> Visitor<'de> for List {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

pub(super) fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is not one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_a_level_or_a_filter() {
        for good in ["info", "OFF", "info,kith_fold=debug", "warn,kith_fold::engine=trace", "info,[rpc]=debug"] {
            assert_eq!(LogLevel::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["inof", "", "info,", "info, warn", "info,kith_fold", "debug,kith_fold=inof", "loud=,="] {
            assert!(LogLevel::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        let error = LogLevel::try_from("inof".to_owned()).unwrap_err();
        assert_eq!(error, "`inof` is not one of off, error, warn, info, debug, trace, nor TARGET=LEVEL");
    }
}
