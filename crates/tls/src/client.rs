//! A client's side.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kith_live::Live;
use kith_runtime::Runtime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pem::{self, File, SYSTEM};
use crate::{Identity, TlsError, provider, read};

/// Whom a client trusts, and how it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities in PEM: the server's certificate must be issued by one of them. `None`: those that the operating system trusts,
    /// as they are when the client is made.
    pub ca: Option<PathBuf>,
    /// For servers that ask for a certificate.
    pub identity: Option<Identity>,
    /// The name that the server's certificate must have; `None`: the name or address that is called.
    pub server_name: Option<String>,
}

/// TLS 1.2 or 1.3. Files that change are used by the next connection.
#[derive(Debug)]
pub struct ClientTls {
    parts: Arc<Live<Parts, TlsError>>,
    config: Arc<ClientConfig>,
}

impl ClientTls {
    pub fn open(files: ClientFiles) -> Result<Self, TlsError> {
        let mut paths: Vec<PathBuf> = files.ca.iter().cloned().collect();
        paths.extend(files.identity.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]));
        let ca = files.ca.clone().unwrap_or_else(|| PathBuf::from(SYSTEM));
        let name = files.server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|error| TlsError::unfit(&ca, format!("the server's name: {error}")))?;
        let parts = Live::open(
            format!("TLS to a server: {paths:?}"),
            move || read(&paths),
            move |contents| Parts::of(&files, contents),
        )?;
        let verifier = Arc::new(Verifier { parts: Arc::clone(&parts), name });
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsError::unfit(&ca, error))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(Arc::new(Own(Arc::clone(&parts))));
        config.resumption = Resumption::disabled();
        Ok(Self { parts, config: Arc::new(config) })
    }

    /// See [`Live::follow`].
    pub fn follow(&self, runtime: &Runtime) {
        self.parts.follow(runtime);
    }

    /// See [`Live::reload`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.parts.reload()
    }

    /// The handshake with the server that is called by that name or address. It has no time limit of its own.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        called: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let called = ServerName::try_from(called.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.config()).connect(called, stream).await
    }

    /// For every connection, also after files have changed.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

/// What the files of one moment give.
#[derive(Debug)]
struct Parts {
    verifier: Arc<WebPkiServerVerifier>,
    own: Option<Arc<CertifiedKey>>,
}

impl Parts {
    /// Called with the contents in the order of [`ClientTls::open`].
    fn of(files: &ClientFiles, contents: &[Vec<u8>]) -> Result<Self, TlsError> {
        let (roots, ca, own_at) = match &files.ca {
            Some(ca) => (File::of(ca, contents, 0).roots()?, ca.as_path(), 1),
            None => (pem::system_roots()?, Path::new(SYSTEM), 0),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = verifier.map_err(|error| TlsError::unfit(ca, error))?;
        let own = |Identity { certificate, key }: &Identity| {
            let chain = File::of(certificate, contents, own_at).chain()?;
            let private = File::of(key, contents, own_at + 1).key()?;
            let own = CertifiedKey::from_der(chain, private, &provider());
            own.map(Arc::new).map_err(|error| TlsError::unfit(certificate, error))
        };
        Ok(Self { verifier, own: files.identity.as_ref().map(own).transpose()? })
    }
}

/// The library's own verifier of the current files; only the name may be another than the one that is called.
#[derive(Debug)]
struct Verifier {
    parts: Arc<Live<Parts, TlsError>>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        called: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(called);
        self.parts.current().verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.parts.current().verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.parts.current().verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.parts.current().verifier.supported_verify_schemes()
    }
}

/// The client's own certificate, if there is one.
#[derive(Debug)]
struct Own(Arc<Live<Parts, TlsError>>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.current().own.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.current().own.is_some()
    }
}
