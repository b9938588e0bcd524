//! A listener's side.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kith_live::Live;
use kith_runtime::Runtime;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pem::File;
use crate::{Identity, TlsError, provider, read};

/// What one connection may hold of bytes that its peer has not taken, beside what the operating system holds.
const BUFFER_BYTES: usize = 16 * 1024;

/// How a listener proves itself, and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    pub identity: Identity,
    pub clients: Clients,
}

/// What clients must show. The path is of a PEM file of authorities: a certificate must be issued by one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    NotAsked,
    /// A client without a certificate is let in, one with a bad certificate is not.
    Optional(PathBuf),
    Required(PathBuf),
}

/// TLS 1.3, ALPN `h2`. No session is resumed: each connection proves itself anew, against the files of that moment.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<Live<ServerConfig, TlsError>>,
}

/// A connection after its handshake.
pub struct Accepted<S> {
    pub stream: TlsStream<S>,
    /// The DNS names and URIs of the peer's certificate, which was verified. `None`: it showed none.
    pub names: Option<Vec<String>>,
}

impl ServerTls {
    pub fn open(files: ServerFiles) -> Result<Arc<Self>, TlsError> {
        let mut paths = vec![files.identity.certificate.clone(), files.identity.key.clone()];
        if let Clients::Optional(ca) | Clients::Required(ca) = &files.clients {
            paths.push(ca.clone());
        }
        let config = Live::open(
            format!("TLS of a port: {paths:?}"),
            move || read(&paths),
            move |contents| config(&files, contents),
        )?;
        Ok(Arc::new(Self { config }))
    }

    /// See [`Live::follow`].
    pub fn follow(&self, runtime: &Runtime) {
        self.config.follow(runtime);
    }

    /// See [`Live::reload`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.config.reload()
    }

    /// The handshake, with the files as they were last read. It has no time limit of its own.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        let mut stream = TlsAcceptor::from(self.config.current()).accept(stream).await?;
        let (_, connection) = stream.get_mut();
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let names = certificate.map(names).transpose()?;
        Ok(Accepted { stream, names })
    }
}

/// Called with the contents in the order of [`ServerTls::open`].
fn config(files: &ServerFiles, contents: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
    let ServerFiles { identity: Identity { certificate, key }, clients } = files;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| TlsError::unfit(certificate, error))?;
    let builder = match clients {
        Clients::NotAsked => builder.with_no_client_auth(),
        Clients::Optional(ca) | Clients::Required(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(File::of(ca, contents, 2).roots()?, provider());
            let verifier = match clients {
                Clients::Optional(_) => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| TlsError::unfit(ca, error))?)
        }
    };
    let (chain, private) = (File::of(certificate, contents, 0).chain()?, File::of(key, contents, 1).key()?);
    let config = builder.with_single_cert(chain, private);
    let mut config = config.map_err(|error| TlsError::unfit(certificate, error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The names of a certificate that was verified; a certificate of a person's name alone has none.
fn names(certificate: &CertificateDer<'_>) -> io::Result<Vec<String>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(io::Error::other)?;
    let names = certificate.valid_uri_names().chain(certificate.valid_dns_names());
    Ok(names.map(str::to_owned).collect())
}
