//! TLS to the services.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Whom the demo trusts, and as whom it calls; without `--ca` it calls in plaintext.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFiles {
    /// Authorities of the services' certificates, PEM: calls go over TLS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The caller's certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "ca", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The name in the services' certificates [the host of each address]
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
}

impl TlsFiles {
    /// `None`: plaintext.
    pub fn config(&self) -> anyhow::Result<Option<ClientTlsConfig>> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let read = |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        Ok(Some(tls))
    }
}
