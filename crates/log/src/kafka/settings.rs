//! The settings of the client library. The docs of librdkafka 2.12, CONFIGURATION.md, explain each.

use std::fmt;

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

/// What [`KafkaSettings::extra`] may hold: how to reach the brokers and authenticate. The log's promises depend on the
/// others; most have aliases, so that a denylist would have holes.
const EXTRA_STARTS: [&str; 4] = ["security.", "ssl.", "sasl.", "https."];
const EXTRA_NAMES: [&str; 4] = ["broker.address.family", "client.dns.lookup", "client.rack", "debug"];

/// The brokers, and how to reach them.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port,host:port`; more are learnt from the first that answers.
    pub bootstrap: String,
    /// Names this process in the brokers' logs and quotas.
    pub client_id: String,
    /// Copies of each partition, for topics that are made. At least 3 in production.
    pub replication_factor: u16,
    /// Refuses what only a test may do: plaintext connections, topics that the loss of one broker can lose.
    pub production: bool,
    /// The client library's own settings for TLS, SASL and connections to the brokers. No others are accepted.
    pub extra: Vec<(String, String)>,
}

impl fmt::Debug for KafkaSettings {
    /// Without the values of `extra`: there are passwords among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<_> = self.extra.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaSettings")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("replication_factor", &self.replication_factor)
            .field("production", &self.production)
            .field("extra", &extra)
            .finish()
    }
}

impl KafkaSettings {
    /// Whether a log may be built on them.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let contract = |text: String| Err(LogError::Contract(text));
        if self.replication_factor == 0 || (self.production && self.replication_factor < 3) {
            return contract(format!("replication factor {} (production asks for 3)", self.replication_factor));
        }
        for (name, _) in &self.extra {
            let known = EXTRA_STARTS.iter().any(|start| name.starts_with(start)) || EXTRA_NAMES.contains(&&**name);
            if !known {
                return contract(format!("{name} cannot be set"));
            }
        }
        let protocol = self.extra.iter().rfind(|(name, _)| name == "security.protocol").map(|(_, value)| &**value);
        if self.production && !protocol.is_some_and(|p| p.to_ascii_lowercase().ends_with("ssl")) {
            return contract("security.protocol must be ssl or sasl_ssl in production".to_owned());
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

    pub(super) fn admin(&self) -> ClientConfig {
        self.with_extra(self.base())
    }

    /// For one that only reads first and next offsets: it sees what readers see.
    pub(super) fn offsets(&self) -> ClientConfig {
        let mut config = self.base();
        set(&mut config, &[("isolation.level", &"read_committed")]);
        self.with_extra(config)
    }

    pub(super) fn producer(&self) -> ClientConfig {
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
        self.with_extra(config)
    }

    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
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
        self.with_extra(config)
    }

    fn with_extra(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }
}

fn set(config: &mut ClientConfig, values: &[(&str, &dyn fmt::Display)]) {
    for (name, value) in values {
        config.set(*name, value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> KafkaSettings {
        KafkaSettings {
            bootstrap: "127.0.0.1:9092".to_owned(),
            client_id: "test".to_owned(),
            replication_factor: 1,
            production: false,
            extra: Vec::new(),
        }
    }

    fn production(extra: &[(&str, &str)]) -> KafkaSettings {
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaSettings { replication_factor: 3, production: true, extra, ..settings() }
    }

    #[test]
    fn the_library_knows_every_setting() {
        for config in [settings().admin(), settings().producer(), settings().consumer("group")] {
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn what_promises_rest_on_cannot_be_changed() {
        assert!(settings().check().is_ok());
        for name in
            ["enable.idempotence", "auto.offset.reset", "request.required.acks", "enable.ssl.certificate.verification"]
        {
            let extra = vec![(name.to_owned(), "0".to_owned())];
            let refused = KafkaSettings { extra, ..settings() }.check();
            assert!(matches!(refused, Err(LogError::Contract(text)) if text.contains(name)));
        }
    }

    #[test]
    fn production_asks_for_copies_and_tls() {
        assert!(production(&[("security.protocol", "SASL_SSL")]).check().is_ok());
        assert!(production(&[]).check().is_err());
        assert!(production(&[("security.protocol", "sasl_plaintext")]).check().is_err());
        let few = KafkaSettings { replication_factor: 2, ..production(&[("security.protocol", "ssl")]) };
        assert!(few.check().is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", production(&[("sasl.password", "open sesame")]));
        assert!(shown.contains("sasl.password") && !shown.contains("sesame"));
    }
}
