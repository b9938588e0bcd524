//! The one table of settings.

/// A key: its name in `kith.toml` and, with `-` for `_`, as a flag; its default; its meaning.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

impl Key {
    /// Its name in the environment.
    pub fn env(&self) -> String {
        format!("{}_{}", super::PREFIX, self.name.to_uppercase())
    }

    /// Its name as a flag.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

/// Every key, in the order in which the docs show them.
pub const KEYS: &[Key] = &[
    key("log", "embedded:./.kith/log", "where the log is: `embedded:DIR` or `kafka:HOST:PORT,…`"),
    key("tables", "embedded:./.kith/tables", "where the tables are: `embedded:DIR` or `cql:HOST:PORT,…`"),
    key("profile", "development", "`development` or `production`; in production a failed self-check refuses to serve"),
    key("services", "identity,posts,engagement,messaging,projector", "which services this process runs"),
    key(
        "projector_role",
        "all",
        "what the projector does here: `fold`, `serve`, or `all`; apart only over Kafka and CQL",
    ),
    key("listen", "127.0.0.1:7400", "the callers' address: gRPC"),
    key("admin_listen", "127.0.0.1:7401", "the operators' address: `/livez`, `/readyz`, `/metrics`, `grpc.health.v1`"),
    key("ops_listen", "127.0.0.1:7402", "the address of operators' commands (`kith.ops.v1`)"),
    key("tls_certificate_file", "", "the certificate chain of `listen`, and of `ops_listen`, PEM; empty: plaintext"),
    key("tls_key_file", "", "its private key, PEM"),
    key("tls_client_ca_file", "", "authorities of callers' certificates, PEM; empty: callers are asked for none"),
    key(
        "tls_client_certificates",
        "required",
        "with `tls_client_ca_file`: `required`, or `optional`: a caller without a certificate is let in, as nobody",
    ),
    key("ops_client_ca_file", "", "authorities of operators' certificates, PEM; empty: operators are asked for none"),
    key(
        "ops_client_certificates",
        "required",
        "with `ops_client_ca_file`: `required`, or `optional`: an operator without a certificate brings a token",
    ),
    key("ops_ca_file", "", "operators' commands: authorities of the server's certificate, PEM; empty: plaintext"),
    key("ops_certificate_file", "", "operators' commands: the operator's certificate chain, PEM"),
    key("ops_key_file", "", "operators' commands: its private key, PEM"),
    key(
        "ops_token_file",
        "",
        "operators' commands: the file of the operator's token, of an issuer in the server's `callers_file`; empty: none",
    ),
    key("ops_server_name", "", "operators' commands: the name in the server's certificate; empty: the one called"),
    key("kafka_ca_file", "", "authorities of the brokers' certificates, PEM; empty: plaintext"),
    key("kafka_certificate_file", "", "the certificate chain that brokers are shown, PEM; empty: none"),
    key("kafka_key_file", "", "its private key, PEM"),
    key("kafka_user", "", "the user at the brokers, by SCRAM-SHA-512; empty: none"),
    key("kafka_password_file", "", "the file of its password"),
    key("cql_ca_file", "", "authorities of the CQL nodes' certificates, PEM; empty: plaintext"),
    key("cql_server_name", "", "the name in every CQL node's certificate; empty: each has its own IP address"),
    key("cql_certificate_file", "", "the certificate chain that CQL nodes are shown, PEM; empty: none"),
    key("cql_key_file", "", "its private key, PEM"),
    key("cql_user", "", "the user at the CQL server; empty: none"),
    key("cql_password_file", "", "the file of its password"),
    key(
        "keys_dir",
        "./.kith/keys",
        "the folder of the signing key and of the keys of refresh tokens, page tokens and consistency tokens, mode 0700",
    ),
    key("jwks_file", "", "the public keys that access tokens are verified with; empty: `jwks.json` in `keys_dir`"),
    key(
        "callers_file",
        "",
        "the issuers that are trusted and the services that may call (TOML, `docs/security.md`), read again when it changes; \
         empty: none",
    ),
    key(
        "security_retention_days",
        "400",
        "how long security events (`kith.security.v1`) are kept, days; 0: for ever. Over Kafka a setting of the topic when it is made",
    ),
    key("partitions", "16", "partitions of every topic; fixed when the log is created"),
    key("replication_factor", "0", "replicas of topics and keyspaces; 0: 1 in development, 3 in production"),
    key("cql_local_datacenter", "datacenter1", "the datacentre in which all folds and reads run"),
    key("push_threshold", "10000", "followers above which an author's posts are pulled by readers instead of pushed"),
    key("backfill_window_seconds", "2592000", "how far back a new follow fills the home feed, seconds"),
    key("max_lag_records", "100000", "how far a service's folds may lag before its commands are refused, records"),
    key(
        "rebuild_live_lag_records",
        "500",
        "while the live folds lag by more records than this, a new generation is not filled",
    ),
    key("password_memory_kib", "19456", "memory of one password hash (argon2id), KiB"),
    key(
        "refresh_token_rotates_seconds",
        "86400",
        "how long after its first use a refresh token is followed by the next one, seconds; 2,592,000 at most",
    ),
    key(
        "reserved_handles",
        "abuse,admin,administrator,all,channel,everyone,help,here,kith,moderator,moderators,official,postmaster,root,\
         security,staff,support,system,team,webmaster",
        "handles that no new account can have; an account that has one keeps it",
    ),
    key(
        "well_known_handles",
        "amazon,apple,facebook,github,google,instagram,linkedin,mastodon,microsoft,netflix,paypal,reddit,spotify,telegram,\
         twitter,whatsapp,wikipedia,youtube",
        "handles that no other handle may be taken for (`paypa1`), as none may for a reserved one; whoever is first may have one of \
         these itself, unless it is reserved too",
    ),
    key("default_deadline_ms", "5000", "the deadline of an RPC that sets none, milliseconds"),
    key("max_deadline_ms", "30000", "the longest deadline that an RPC gets, milliseconds"),
    key(
        "connection_age_seconds",
        "300",
        "the age at which a caller's connection is asked to close, seconds; below 300 for tests only",
    ),
    key(
        "trusted_proxies",
        "",
        "proxies in front of `listen` whose `x-forwarded-for` names their clients: addresses and ranges (`10.0.0.0/8`); empty: none",
    ),
    key(
        "rate_account",
        "auto",
        "an account's rate: `POINTS_PER_HOUR:BURST`, `off`, or `auto`: 5000:1000 in production, else off",
    ),
    key(
        "rate_service",
        "auto",
        "a calling service's rate, also for all accounts that it acts for; `auto`: 18000000:100000 in production, else off",
    ),
    key(
        "rate_address",
        "auto",
        "the rate of an address (of IPv6 its first 64 bits) whose callers have no account; `auto`: 3000:300 in production, else off",
    ),
    key(
        "sign_up",
        "auto",
        "who may have accounts made: `open`: anybody; `by-service`: calling services with the right to; `closed`: nobody; `auto`: \
         by-service in production, else open",
    ),
    key(
        "rate_sign_up",
        "auto",
        "where sign-up is open, the rate of sign-ups from one address; `auto`: 20:10 in production, else 100000:20000",
    ),
    key("replicas", "1", "how many processes share each rate: every one gives a part; 1,000 at most"),
    key("otlp_endpoint", "", "where traces are exported to, by OTLP over gRPC (`http://HOST:4317`); empty: nowhere"),
    key("log_format", "text", "format of the process's own messages, on standard error: `text` or `json`"),
    key("log_level", "info", "the lowest level that is logged, or a filter such as `info,kith_fold=debug`"),
    key("reflection", "auto", "server reflection: `on`, `off`, or `auto`: on in development"),
];

/// The configuration as a Markdown table, for `docs/configuration.md`.
pub fn table_markdown() -> String {
    let mut text = String::from("| Key in `kith.toml` | Environment | Default | Meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        text.push_str(&format!("| `{}` | `{}` | {default} | {} |\n", key.name, key.env(), key.meaning));
    }
    text
}

pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_table_has_every_key_once() {
        let table = table_markdown();
        assert!(
            table.contains("| `listen` | `KITH_LISTEN` | `127.0.0.1:7400` | the callers' address: gRPC |"),
            "{table}"
        );
        for key in KEYS {
            assert_eq!(table.matches(&format!("| `{}` |", key.env())).count(), 1, "{}", key.name);
        }
        assert_eq!(table.lines().count(), KEYS.len() + 2);
        assert_eq!(KEYS[6].flag(), "--admin-listen");
    }
}
