//! Where a trusted issuer's keys are on the network.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use http::uri::Scheme;

const URL_BYTES_MAX: usize = 2_048;

/// How keys may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTransport {
    TlsOnly,
    /// Also in plaintext from this machine: for tests.
    LoopbackToo,
}

/// Where an issuer's keys are on the network, and whom its server's certificate must be issued by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl {
    uri: Uri,
    /// In PEM; `None`: the authorities of the operating system.
    ca: Option<PathBuf>,
}

impl KeyUrl {
    /// `https://HOST[:PORT]/PATH`; `http://` with an address of this machine where that is allowed. Else what is wrong with it.
    pub fn parse(text: &str, ca: Option<PathBuf>, over: KeyTransport) -> Result<Self, &'static str> {
        if text.len() > URL_BYTES_MAX {
            return Err("is longer than 2048 bytes");
        }
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        let url = Self { uri, ca };
        if url.host().is_empty() || url.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("names no host, or a user");
        }
        if !url.uri.authority().is_some_and(|authority| has_fit_port(authority.as_str())) {
            return Err("has no port from 1 to 65535 behind its `:`");
        }
        let is_here = url.host().parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match url.uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(url),
            Some(scheme) if *scheme == Scheme::HTTP && over == KeyTransport::LoopbackToo && is_here => Ok(url),
            _ => Err("is not `https://`"),
        }
    }

    pub fn is_plaintext(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTP)
    }

    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_plaintext() { 80 } else { 443 })
    }

    /// With the port, if it states one.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

/// An URI's own port is none where it is no number of 16 bits.
fn has_fit_port(authority: &str) -> bool {
    let behind_host = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    behind_host.split_once(':').is_none_or(|(_, port)| port.parse().is_ok_and(|port: u16| port > 0))
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri)
    }
}
