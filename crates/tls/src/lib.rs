//! TLS from PEM files, which are read again when they change: a listener that proves itself and verifies its peers, a client
//! that does the same. Only this crate builds a configuration of rustls.

mod client;
mod pem;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use kith_live::Contents;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::{ClientFiles, ClientTls};
pub use rustls::ClientConfig;
pub use server::{Accepted, Clients, ServerFiles, ServerTls};

/// A certificate chain, the leaf first, and its private key (PKCS #8, PKCS #1 or SEC 1), in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why files are not fit for TLS. The message names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{} is not fit: {why}", path.display())]
    Unfit { path: PathBuf, why: String },
}

impl TlsError {
    fn unfit(path: &std::path::Path, why: impl ToString) -> Self {
        Self::Unfit { path: path.to_owned(), why: why.to_string() }
    }
}

/// The contents of these files, in their order.
fn read(files: &[PathBuf]) -> Result<Contents, TlsError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| TlsError::Unreadable { path: path.clone(), why: error.to_string() })
    };
    files.iter().map(read).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
