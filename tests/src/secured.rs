//! Certificates for a suite whose ports are secured, and who calls it with which.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kith_authority::Authority;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::kith::Launch;

/// The name in the suite's certificate.
pub const NAME: &str = "kith.internal";

/// The files of one suite: authorities of its own certificate, of callers' and of operators'.
pub struct Secured {
    folder: tempfile::TempDir,
    pub suite: Authority,
    pub callers: Authority,
    pub operators: Authority,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Shown {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Secured {
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [suite, callers, operators] = [(); 3].map(|()| Authority::default());
        suite.write(folder.path().join("suite-ca.pem"));
        callers.write(folder.path().join("callers-ca.pem"));
        operators.write(folder.path().join("operators-ca.pem"));
        suite.issue(folder.path(), "suite", &[NAME]);
        Ok(Self { folder, suite, callers, operators })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The settings of the suite's ports.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("tls_certificate_file", self.file("suite.pem")),
            ("tls_key_file", self.file("suite.key")),
            ("tls_client_ca_file", self.file("callers-ca.pem")),
            ("ops_client_ca_file", self.file("operators-ca.pem")),
        ]
    }

    pub fn launch(&self, launch: Launch) -> Launch {
        self.settings().into_iter().fold(launch, |launch, (key, value)| launch.set(key, value))
    }

    /// A certificate for a URI or DNS name.
    pub fn show(&self, authority: &Authority, name: &str) -> Shown {
        let file = format!("shown-{}", name.rsplit('/').next().unwrap_or(name));
        let (certificate, key) = authority.issue(self.folder.path(), &file, &[name]);
        Shown { certificate, key }
    }

    /// A channel that trusts the suite's authority; without `shown` it shows no certificate. Connects when first used.
    pub fn channel(&self, socket: SocketAddr, shown: Option<&Shown>) -> Result<Channel> {
        let mut tls = ClientTlsConfig::new().domain_name(NAME);
        tls = tls.ca_certificate(Certificate::from_pem(self.suite.pem()));
        if let Some(Shown { certificate, key }) = shown {
            tls = tls.identity(Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?));
        }
        Ok(Endpoint::from_shared(format!("https://{socket}"))?.tls_config(tls)?.connect_lazy())
    }

    /// The demo's flags for calls with this certificate.
    pub fn demo_flags(&self, Shown { certificate, key }: &Shown) -> [String; 8] {
        let flag = |name: &str, value: String| [name.to_owned(), value];
        let [[ca, a], [own, b], [private, c], [name, d]] = [
            flag("--ca", self.file("suite-ca.pem")),
            flag("--certificate", certificate.display().to_string()),
            flag("--key", key.display().to_string()),
            flag("--server-name", NAME.to_owned()),
        ];
        [ca, a, own, b, private, c, name, d]
    }

    /// The environment of operators' commands with this certificate.
    pub fn operator(&self, Shown { certificate, key }: &Shown) -> [(&'static str, String); 4] {
        [
            ("KITH_OPS_CA_FILE", self.file("suite-ca.pem")),
            ("KITH_OPS_CERTIFICATE_FILE", certificate.display().to_string()),
            ("KITH_OPS_KEY_FILE", key.display().to_string()),
            ("KITH_OPS_SERVER_NAME", NAME.to_owned()),
        ]
    }
}
