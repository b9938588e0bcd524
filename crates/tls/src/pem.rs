//! What PEM files hold.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;

/// Names the operating system's authorities in errors.
pub(crate) const SYSTEM: &str = "the authorities of the operating system";

/// The authorities that the operating system trusts. Blocks briefly. Those that do not read are left out.
pub(crate) fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or("there is none".to_owned(), ToString::to_string);
        return Err(TlsError::unfit(Path::new(SYSTEM), why));
    }
    Ok(Arc::new(roots))
}

/// A file and what it holds.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub path: &'a Path,
    pub contents: &'a [u8],
}

impl<'a> File<'a> {
    /// The file at `path`, whose contents are the `at`th of those read.
    pub fn of(path: &'a Path, contents: &'a [Vec<u8>], at: usize) -> Self {
        Self { path, contents: contents.get(at).map_or(&[], Vec::as_slice) }
    }

    /// All certificates of the file; at least one.
    pub fn chain(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.contents).collect();
        let chain = chain.map_err(|error| TlsError::unfit(self.path, error))?;
        if chain.is_empty() {
            return Err(TlsError::unfit(self.path, "it holds no certificate in PEM"));
        }
        Ok(chain)
    }

    /// The private key of the file.
    pub fn key(self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let error = |_| TlsError::unfit(self.path, "it holds no private key in PEM without a passphrase");
        PrivateKeyDer::from_pem_slice(self.contents).map_err(error)
    }

    /// The certificates of the file, as those of authorities.
    pub fn roots(self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.chain()? {
            roots.add(certificate).map_err(|error| TlsError::unfit(self.path, error))?;
        }
        Ok(Arc::new(roots))
    }
}
