//! How connections are secured: the settings of TLS and of logins, and what `production` asks of them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::auth::OperatorRules;

use super::{ConfigError, LogAddress, Profile, Settings, TablesAddress};

/// The settings as they are given; the methods say what they come to. No value is a secret: passwords and keys are in files.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Transport {
    tls_certificate_file: PathBuf,
    tls_key_file: PathBuf,
    tls_client_ca_file: PathBuf,
    tls_client_certificates: ClientCertificates,
    ops_client_ca_file: PathBuf,
    ops_client_certificates: ClientCertificates,
    ops_token_file: PathBuf,
    ops_ca_file: PathBuf,
    ops_certificate_file: PathBuf,
    ops_key_file: PathBuf,
    ops_server_name: String,
    kafka_ca_file: PathBuf,
    kafka_certificate_file: PathBuf,
    kafka_key_file: PathBuf,
    kafka_user: String,
    kafka_password_file: PathBuf,
    cql_ca_file: PathBuf,
    cql_server_name: String,
    cql_certificate_file: PathBuf,
    cql_key_file: PathBuf,
    cql_user: String,
    cql_password_file: PathBuf,
}

/// Whether a caller must show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    Required,
    Optional,
}

/// How a port of ours is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Authorities of clients' certificates, and whether a client must show one; `None`: it is asked for none.
    pub clients: Option<(PathBuf, ClientCertificates)>,
}

/// How another server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAccess {
    pub ca: PathBuf,
    /// Our certificate chain and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub login: Option<Login>,
    /// The name in its certificate; `None`: the one that is called.
    pub server_name: Option<String>,
}

/// A user of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password_file: PathBuf,
}

impl Transport {
    /// Of the callers' port; `None`: plaintext.
    pub fn callers(&self) -> Option<ListenerFiles> {
        let clients = set(&self.tls_client_ca_file).map(|ca| (ca, self.tls_client_certificates));
        self.listener(clients)
    }

    /// Of the port of operators' commands; `None`: plaintext.
    pub fn operators(&self) -> Option<ListenerFiles> {
        self.listener(set(&self.ops_client_ca_file).map(|ca| (ca, self.ops_client_certificates)))
    }

    /// Whether authorities of operators' certificates are set.
    pub(super) fn knows_operators(&self) -> bool {
        set(&self.ops_client_ca_file).is_some()
    }

    /// The token that operators' commands bring; `None`: none.
    pub fn ops_token_file(&self) -> Option<PathBuf> {
        set(&self.ops_token_file)
    }

    fn listener(&self, clients: Option<(PathBuf, ClientCertificates)>) -> Option<ListenerFiles> {
        let key = self.tls_key_file.clone();
        set(&self.tls_certificate_file).map(|certificate| ListenerFiles { certificate, key, clients })
    }

    /// For operators' commands; `None`: plaintext.
    pub fn ops_access(&self) -> Option<ServerAccess> {
        let identity = pair(&self.ops_certificate_file, &self.ops_key_file);
        let server_name = Some(self.ops_server_name.clone()).filter(|name| !name.is_empty());
        set(&self.ops_ca_file).map(|ca| ServerAccess { ca, identity, login: None, server_name })
    }

    /// `None`: plaintext.
    pub fn kafka(&self) -> Option<ServerAccess> {
        let identity = pair(&self.kafka_certificate_file, &self.kafka_key_file);
        let login = login(&self.kafka_user, &self.kafka_password_file);
        set(&self.kafka_ca_file).map(|ca| ServerAccess { ca, identity, login, server_name: None })
    }

    /// `None`: plaintext.
    pub fn cql(&self) -> Option<ServerAccess> {
        let identity = pair(&self.cql_certificate_file, &self.cql_key_file);
        let login = login(&self.cql_user, &self.cql_password_file);
        let server_name = Some(self.cql_server_name.clone()).filter(|name| !name.is_empty());
        set(&self.cql_ca_file).map(|ca| ServerAccess { ca, identity, login, server_name })
    }

    /// The first setting that is of no use without another, or that another makes wrong.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let is_set = |path: &Path| path != Path::new("");
        let rules = [
            (is_set(&self.tls_certificate_file), is_set(&self.tls_key_file), "tls_key_file", CERTIFICATE_ALONE),
            (is_set(&self.tls_key_file), is_set(&self.tls_certificate_file), "tls_certificate_file", KEY_ALONE),
            (is_set(&self.tls_client_ca_file), is_set(&self.tls_certificate_file), "tls_certificate_file", CA_ALONE),
            (is_set(&self.ops_client_ca_file), is_set(&self.tls_certificate_file), "tls_certificate_file", OPS_ALONE),
            (is_set(&self.ops_certificate_file), is_set(&self.ops_key_file), "ops_key_file", CERTIFICATE_ALONE),
            (is_set(&self.ops_key_file), is_set(&self.ops_certificate_file), "ops_certificate_file", KEY_ALONE),
            (is_set(&self.ops_certificate_file), is_set(&self.ops_ca_file), "ops_ca_file", NO_CA),
            (is_set(&self.kafka_certificate_file), is_set(&self.kafka_key_file), "kafka_key_file", CERTIFICATE_ALONE),
            (is_set(&self.kafka_key_file), is_set(&self.kafka_certificate_file), "kafka_certificate_file", KEY_ALONE),
            (is_set(&self.kafka_certificate_file), is_set(&self.kafka_ca_file), "kafka_ca_file", NO_CA),
            (!self.kafka_user.is_empty(), is_set(&self.kafka_password_file), "kafka_password_file", USER_ALONE),
            (is_set(&self.kafka_password_file), !self.kafka_user.is_empty(), "kafka_user", PASSWORD_ALONE),
            (!self.kafka_user.is_empty(), is_set(&self.kafka_ca_file), "kafka_ca_file", NO_CA),
            (is_set(&self.cql_certificate_file), is_set(&self.cql_key_file), "cql_key_file", CERTIFICATE_ALONE),
            (is_set(&self.cql_key_file), is_set(&self.cql_certificate_file), "cql_certificate_file", KEY_ALONE),
            (is_set(&self.cql_certificate_file), is_set(&self.cql_ca_file), "cql_ca_file", NO_CA),
            (!self.cql_user.is_empty(), is_set(&self.cql_password_file), "cql_password_file", USER_ALONE),
            (is_set(&self.cql_password_file), !self.cql_user.is_empty(), "cql_user", PASSWORD_ALONE),
            (!self.cql_user.is_empty(), is_set(&self.cql_ca_file), "cql_ca_file", NO_CA),
        ];
        let broken = rules.into_iter().find(|(given, needed, ..)| *given && !needed);
        broken.map(|(_, _, key, problem)| (key, problem))
    }
}

const CERTIFICATE_ALONE: &str = "is empty, and the certificate beside it is set";
const KEY_ALONE: &str = "is empty, and the key beside it is set";
const USER_ALONE: &str = "is empty, and the user beside it is set";
const PASSWORD_ALONE: &str = "is empty, and the password beside it is set";
const NO_CA: &str = "is empty, and a certificate or a user is not shown to a server that nobody verified";
const CA_ALONE: &str = "is empty, and `tls_client_ca_file` is set: no client shows a certificate without TLS";
const OPS_ALONE: &str = "is empty, and `ops_client_ca_file` is set: no client shows a certificate without TLS";

impl Settings {
    /// What `production` refuses to run with, each beginning with the setting to set. Nothing in another profile.
    pub fn exposures(&self) -> Vec<(&'static str, &'static str)> {
        if self.profile != Profile::Production {
            return Vec::new();
        }
        let mut missing = Vec::new();
        let mut ask =
            |is_so: bool, key: &'static str, why: &'static str| missing.extend((!is_so).then_some((key, why)));
        let (callers, operators) = (self.transport.callers(), self.transport.operators());
        ask(callers.is_some(), "tls_certificate_file", "is empty: callers' passwords and tokens would go in the clear");
        let asks = callers.is_none_or(|files| files.clients.is_some());
        ask(asks, "tls_client_ca_file", "is empty: no caller would prove which service it is");
        let asks = operators.is_some_and(|files| files.clients.is_some());
        let asks = asks || self.callers_file().is_some();
        ask(asks, "ops_client_ca_file", "is empty, and so is `callers_file`: nobody could prove to be an operator");
        if let LogAddress::Kafka(_) = self.log {
            let access = self.transport.kafka();
            ask(access.is_some(), "kafka_ca_file", "is empty: events and the password would go in the clear");
            let known = access.is_none_or(|access| access.login.is_some() || access.identity.is_some());
            ask(known, "kafka_user", "is empty, and so is `kafka_certificate_file`: brokers could give us no rights");
        }
        if let TablesAddress::Cql(_) = self.tables {
            let access = self.transport.cql();
            ask(access.is_some(), "cql_ca_file", "is empty: rows and the password would go in the clear");
            ask(
                access.is_none_or(|access| access.login.is_some()),
                "cql_user",
                "is empty: nodes could give us no rights",
            );
        }
        missing
    }

    /// What the port of operators' commands asks for.
    pub(super) fn operator_rules(&self) -> OperatorRules {
        let proven = self.profile == Profile::Production || self.transport.knows_operators();
        OperatorRules { proven, by_rights: self.callers_file().is_some() }
    }

    /// Whether a process may run with these settings. The error names each setting that is missing.
    pub fn fit_to_run(&self) -> Result<(), ConfigError> {
        let exposures = self.exposures();
        if exposures.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Exposed(exposures.into_iter().map(|(key, why)| format!("`{key}` {why}")).collect()))
    }
}

fn set(path: &Path) -> Option<PathBuf> {
    (path != Path::new("")).then(|| path.to_owned())
}

fn pair(certificate: &Path, key: &Path) -> Option<(PathBuf, PathBuf)> {
    set(certificate).zip(set(key))
}

fn login(user: &str, password_file: &Path) -> Option<Login> {
    set(password_file).map(|password_file| Login { user: user.to_owned(), password_file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    const PRODUCTION: [(&str, &str); 13] = [
        ("profile", "production"),
        ("log", "kafka:a:9093"),
        ("tables", "cql:a:9142"),
        ("tls_certificate_file", "c"),
        ("tls_key_file", "k"),
        ("tls_client_ca_file", "a"),
        ("ops_client_ca_file", "o"),
        ("kafka_ca_file", "ka"),
        ("kafka_user", "u"),
        ("kafka_password_file", "kp"),
        ("cql_ca_file", "ca"),
        ("cql_user", "u"),
        ("cql_password_file", "cp"),
    ];

    fn load(given: &[(&str, &str)]) -> Result<Settings, String> {
        let flags = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let sources = Sources { flags, environment: Some(Default::default()) };
        Settings::from_sources(sources).map_err(|error| error.to_string())
    }

    fn without<'a>(names: &[&str]) -> Vec<(&'a str, &'a str)> {
        PRODUCTION.into_iter().filter(|(name, _)| !names.contains(name)).collect()
    }

    #[test]
    fn without_settings_all_is_plaintext() {
        let Settings { transport, .. } = load(&[]).unwrap();
        assert_eq!((transport.callers(), transport.operators()), (None, None));
        assert_eq!((transport.kafka(), transport.cql(), transport.ops_access()), (None, None, None));
    }

    #[test]
    fn production_runs_with_all_of_it_and_names_what_is_missing() {
        load(&PRODUCTION).unwrap().fit_to_run().unwrap();
        for (removed, named) in [
            (
                &["tls_certificate_file", "tls_key_file", "tls_client_ca_file", "ops_client_ca_file"][..],
                "tls_certificate_file",
            ),
            (&["tls_client_ca_file"], "tls_client_ca_file"),
            (&["ops_client_ca_file"], "ops_client_ca_file"),
            (&["kafka_ca_file", "kafka_user", "kafka_password_file"], "kafka_ca_file"),
            (&["kafka_user", "kafka_password_file"], "kafka_user"),
            (&["cql_ca_file", "cql_user", "cql_password_file"], "cql_ca_file"),
            (&["cql_user", "cql_password_file"], "cql_user"),
        ] {
            let given = without(removed);
            let error = load(&given).unwrap().fit_to_run().unwrap_err().to_string();
            assert!(error.contains(&format!("`{named}` is empty")), "{removed:?}: {error}");
            let development: Vec<_> = given.into_iter().filter(|(name, _)| *name != "profile").collect();
            load(&development).unwrap().fit_to_run().unwrap();
        }
        let all = load(&[("profile", "production")]).unwrap().fit_to_run().unwrap_err().to_string();
        assert!(all.contains("`tls_certificate_file`") && all.contains("`ops_client_ca_file`"), "{all}");
        assert!(!all.contains("kafka") && !all.contains("cql"), "embedded: {all}");
    }

    #[test]
    fn operators_prove_themselves_in_production_and_where_their_authorities_are_known() {
        let rules = |given: &[(&str, &str)]| load(given).unwrap().operator_rules();
        assert_eq!(rules(&[]), OperatorRules::default());
        assert_eq!(rules(&[("callers_file", "c")]), OperatorRules { proven: false, by_rights: true });
        assert_eq!(rules(&PRODUCTION), OperatorRules { proven: true, by_rights: false });
        let tls = [("tls_certificate_file", "c"), ("tls_key_file", "k"), ("ops_client_ca_file", "o")];
        assert!(rules(&tls).proven);
        let mut by_token = without(&["ops_client_ca_file"]);
        by_token.push(("callers_file", "c"));
        load(&by_token).unwrap().fit_to_run().unwrap();
        assert_eq!(rules(&by_token), OperatorRules { proven: true, by_rights: true });
        let certificates =
            |given: &[(&str, &str)]| load(given).unwrap().transport.operators().unwrap().clients.unwrap().1;
        assert_eq!(certificates(&tls), ClientCertificates::Required);
        let optional = [&tls[..], &[("ops_client_certificates", "optional")]].concat();
        assert_eq!(certificates(&optional), ClientCertificates::Optional);
    }

    #[test]
    fn brokers_may_know_us_by_a_certificate_instead() {
        let mut given = without(&["kafka_user", "kafka_password_file"]);
        given.extend([("kafka_certificate_file", "kc"), ("kafka_key_file", "kk")]);
        load(&given).unwrap().fit_to_run().unwrap();
    }

    #[test]
    fn a_setting_without_the_one_that_it_needs_is_refused_by_name() {
        for (removed, named) in [
            ("tls_key_file", "tls_key_file"),
            ("tls_certificate_file", "tls_certificate_file"),
            ("kafka_password_file", "kafka_password_file"),
            ("kafka_user", "kafka_user"),
            ("kafka_ca_file", "kafka_ca_file"),
            ("cql_password_file", "cql_password_file"),
            ("cql_user", "cql_user"),
            ("cql_ca_file", "cql_ca_file"),
        ] {
            let error = load(&without(&[removed])).unwrap_err();
            assert!(error.starts_with(&format!("`{named}` is empty")), "{removed}: {error}");
        }
        assert!(load(&[("ops_key_file", "k")]).unwrap_err().contains("`ops_certificate_file`"));
        assert!(load(&[("ops_certificate_file", "c"), ("ops_key_file", "k")]).unwrap_err().contains("`ops_ca_file`"));
        assert!(load(&[("tls_client_certificates", "maybe")]).is_err());
    }
}
