//! The settings of the client library. The docs of librdkafka 2.12, CONFIGURATION.md, explain each.

use std::fmt;

use std::path::PathBuf;

use rdkafka::ClientConfig;

use crate::{LogError, MAX_RECORD_BYTES, READ_AHEAD_BYTES};

/// An append is answered within this, ms: written, or unknown. It must be shorter than the shortest RPC deadline.
pub(super) const APPEND_TIMEOUT_MS: u32 = 3_000;
/// Any other request to a broker is answered within this, ms.
pub(super) const REQUEST_TIMEOUT_MS: u32 = 3_000;
/// Appends handed to the library that are not answered yet.
pub(super) const IN_FLIGHT_APPENDS: usize = 16_384;
/// Their bytes.
pub(super) const IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// The maximum that the broker sends per fetch and partition, compressed bytes. One record may exceed it.
const FETCH_BYTES: usize = MAX_RECORD_BYTES;
/// What the library holds per partition before it stops fetching, KiB. With the batches that wait for a fold (half of
/// [`READ_AHEAD_BYTES`]) and one more fetch it stays within that.
const QUEUED_KBYTES: usize = (READ_AHEAD_BYTES / 2 - 2 * FETCH_BYTES) / 1024;

/// The brokers, and how to reach them.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port,host:port`; more are learnt from the first that answers.
    pub bootstrap: String,
    /// Names this process in the brokers' logs and quotas.
    pub client_id: String,
    /// Copies of each partition, for topics that are made. At least 3 in production.
    pub replication_factor: u16,
    /// How long a topic that forgets ([`crate::Topic::forgets`]) keeps its records, milliseconds, where it is made here; -1: for
    /// ever. Brokers delete whole files of records, so they keep some for longer.
    pub forgetting_ms: i64,
    /// Refuses what only a test may do: plaintext connections, topics that the loss of one broker can lose.
    pub production: bool,
    /// `None`: plaintext, refused in production.
    pub access: Option<KafkaAccess>,
}

/// TLS to the brokers, and how we prove ourselves: by a certificate, by a user with SCRAM-SHA-512, or both. Brokers must
/// have the names that they are called by in their certificates.
///
/// The files are read when a client is made: at the start for the one that appends and the members of groups, for each use
/// for others. A password that changes is also given to those that live on, for their next connections; certificates and
/// authorities that change are not, the library has no way to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaAccess {
    /// Authorities of the brokers' certificates, PEM.
    pub ca: PathBuf,
    /// Our certificate chain and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub login: Option<KafkaLogin>,
}

/// A user of the brokers, and the file of its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLogin {
    pub user: String,
    pub password_file: PathBuf,
}

impl KafkaLogin {
    /// The password as the file has it now, without the line end of an editor.
    pub(super) fn password(&self) -> Result<String, LogError> {
        self.password_in(&self.read()?)
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, LogError> {
        std::fs::read(&self.password_file).map_err(|error| self.refused(error.to_string()))
    }

    pub(super) fn password_in(&self, contents: &[u8]) -> Result<String, LogError> {
        let text = std::str::from_utf8(contents).map_err(|error| self.refused(error.to_string()))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(self.refused("it holds no password".to_owned())),
            password => Ok(password.to_owned()),
        }
    }

    fn refused(&self, why: String) -> LogError {
        LogError::Contract(format!("{}: {why}", self.password_file.display()))
    }
}

impl KafkaAccess {
    fn add_to(&self, config: &mut ClientConfig) -> Result<(), LogError> {
        let protocol = if self.login.is_some() { "sasl_ssl" } else { "ssl" };
        set(config, &[("security.protocol", &protocol), ("ssl.ca.location", &self.ca.display())]);
        // Both are the library's defaults: a name that does not fit must never be accepted.
        set(config, &[("enable.ssl.certificate.verification", &"true")]);
        set(config, &[("ssl.endpoint.identification.algorithm", &"https")]);
        if let Some((certificate, key)) = &self.identity {
            set(config, &[("ssl.certificate.location", &certificate.display()), ("ssl.key.location", &key.display())]);
        }
        if let Some(login) = &self.login {
            set(config, &[("sasl.mechanism", &"SCRAM-SHA-512"), ("sasl.username", &login.user)]);
            set(config, &[("sasl.password", &login.password()?)]);
        }
        Ok(())
    }
}

impl KafkaSettings {
    /// Whether a log may be built on them.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let contract = |text: String| Err(LogError::Contract(text));
        if self.replication_factor == 0 || (self.production && self.replication_factor < 3) {
            return contract(format!("replication factor {} (production asks for 3)", self.replication_factor));
        }
        if self.production && self.access.is_none() {
            return contract("plaintext connections are refused in production: set `kafka_ca_file`".to_owned());
        }
        Ok(())
    }

    /// For a client of any kind.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        set(
            &mut config,
            &[
                ("bootstrap.servers", &self.bootstrap),
                ("client.id", &self.client_id),
                // A silently lost peer is detected; small requests are not delayed to be merged.
                ("socket.keepalive.enable", &"true"),
                ("socket.nagle.disable", &"true"),
                ("socket.timeout.ms", &REQUEST_TIMEOUT_MS),
                ("socket.connection.setup.timeout.ms", &REQUEST_TIMEOUT_MS),
                // A broker that is back is found within a second.
                ("reconnect.backoff.ms", &50),
                ("reconnect.backoff.max.ms", &1_000),
                ("retry.backoff.ms", &50),
                ("retry.backoff.max.ms", &500),
                ("topic.metadata.refresh.interval.ms", &30_000),
                // The library forgets every broker that an answer does not name, and a lone broker that is starved names
                // none: without this the client has nobody to ask, for ever.
                ("metadata.recovery.strategy", &"rebootstrap"),
                // A topic with the wrong contract is worse than none.
                ("allow.auto.create.topics", &"false"),
            ],
        );
        config
    }

    pub(super) fn admin(&self) -> Result<ClientConfig, LogError> {
        self.secured(self.base())
    }

    /// For one that only reads first and next offsets: it sees what readers see.
    pub(super) fn offsets(&self) -> Result<ClientConfig, LogError> {
        let mut config = self.base();
        set(&mut config, &[("isolation.level", &"read_committed")]);
        self.secured(config)
    }

    pub(super) fn producer(&self) -> Result<ClientConfig, LogError> {
        let mut config = self.base();
        set(
            &mut config,
            &[
                ("enable.idempotence", &"true"),
                ("acks", &"all"),
                ("message.timeout.ms", &APPEND_TIMEOUT_MS),
                ("request.timeout.ms", &(APPEND_TIMEOUT_MS - 500)),
                // No linger: while five requests are in flight, new records make the next batch.
                ("linger.ms", &0),
                ("compression.type", &"lz4"),
                // Small batches: a reader must unpack a whole one, and its memory is bounded.
                ("batch.size", &(2 * MAX_RECORD_BYTES)),
                // The semaphores in front are the bound; these are never reached.
                ("queue.buffering.max.messages", &(2 * IN_FLIGHT_APPENDS)),
                ("queue.buffering.max.kbytes", &(4 * IN_FLIGHT_BYTES / 1024)),
            ],
        );
        self.secured(config)
    }

    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, LogError> {
        let mut config = self.base();
        set(
            &mut config,
            &[
                ("group.id", &group),
                ("group.protocol", &"classic"),
                ("partition.assignment.strategy", &"range"),
                ("session.timeout.ms", &8_000),
                ("heartbeat.interval.ms", &2_000),
                // Our thread polls constantly; this only ends a member whose thread hangs.
                ("max.poll.interval.ms", &30_000),
                // Only the tables store where a fold starts; a missing offset must be reported.
                ("enable.auto.commit", &"false"),
                ("enable.auto.offset.store", &"false"),
                ("auto.offset.reset", &"error"),
                ("enable.partition.eof", &"false"),
                ("isolation.level", &"read_committed"),
                ("check.crcs", &"true"),
                // At rest the broker answers with the first record that comes.
                ("fetch.min.bytes", &1),
                // A partition that was full, or is new, joins the next request: it may wait this long.
                ("fetch.wait.max.ms", &100),
                ("fetch.message.max.bytes", &FETCH_BYTES),
                ("fetch.max.bytes", &(16 * 1024 * 1024)),
                ("queued.max.messages.kbytes", &QUEUED_KBYTES),
                // Waiting long for a full queue to empty would make a catch-up slow: it empties in a few ms.
                ("fetch.queue.backoff.ms", &5),
            ],
        );
        self.secured(config)
    }

    fn secured(&self, mut config: ClientConfig) -> Result<ClientConfig, LogError> {
        if let Some(access) = &self.access {
            access.add_to(&mut config)?;
        }
        Ok(config)
    }
}

fn set(config: &mut ClientConfig, values: &[(&str, &dyn fmt::Display)]) {
    for (name, value) in values {
        config.set(*name, value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings() -> KafkaSettings {
        KafkaSettings {
            bootstrap: "127.0.0.1:9092".to_owned(),
            client_id: "test".to_owned(),
            replication_factor: 1,
            forgetting_ms: -1,
            production: false,
            access: None,
        }
    }

    fn by_password(password: &[u8]) -> (tempfile::NamedTempFile, KafkaAccess) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(password).unwrap();
        let login = KafkaLogin { user: "posts".to_owned(), password_file: file.path().to_owned() };
        (file, KafkaAccess { ca: "ca.pem".into(), identity: None, login: Some(login) })
    }

    #[test]
    fn the_library_knows_every_setting() {
        for config in [settings().admin(), settings().producer(), settings().consumer("group"), settings().offsets()] {
            config.unwrap().create_native_config().unwrap();
        }
    }

    #[test]
    fn production_asks_for_copies_and_tls() {
        let (_file, access) = by_password(b"open sesame");
        let strict = KafkaSettings { replication_factor: 3, production: true, access: Some(access), ..settings() };
        assert!(strict.check().is_ok());
        let plaintext = KafkaSettings { access: None, ..strict.clone() }.check();
        assert!(matches!(plaintext, Err(LogError::Contract(text)) if text.contains("kafka_ca_file")));
        assert!(KafkaSettings { replication_factor: 2, ..strict }.check().is_err());
    }

    #[test]
    fn a_password_is_read_each_time_and_never_shown() {
        let (mut file, access) = by_password(b"open sesame\n");
        let settings = KafkaSettings { access: Some(access), ..settings() };
        let config = settings.producer().unwrap();
        assert_eq!(config.get("sasl.password"), Some("open sesame"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert!(!format!("{settings:?}").contains("sesame"));
        file.as_file_mut().set_len(0).unwrap();
        let error = settings.admin().unwrap_err().to_string();
        assert!(error.contains("holds no password") && error.contains(&*file.path().to_string_lossy()), "{error}");
    }

    #[test]
    fn a_certificate_needs_no_user() {
        let access = KafkaAccess { ca: "ca".into(), identity: Some(("c".into(), "k".into())), login: None };
        let config = KafkaSettings { access: Some(access), ..settings() }.producer().unwrap();
        assert_eq!((config.get("security.protocol"), config.get("ssl.key.location")), (Some("ssl"), Some("k")));
    }
}
