//! TLS handshakes: bounded in time and in number, which addresses share fairly.

use std::sync::Arc;
use std::time::Duration;

use kith_tls::{Accepted, ServerTls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::limits::{HANDSHAKE_SECONDS, TLS_HANDSHAKES};
use crate::peer::PeerIdentity;
use crate::share::Shares;
use crate::source::Source;

/// What a connection is talked over: TCP, or TLS over it.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Those of one port.
pub(crate) struct Handshakes {
    tls: Arc<ServerTls>,
    places: Arc<Shares>,
}

impl Handshakes {
    pub fn new(tls: Arc<ServerTls>) -> Arc<Self> {
        Arc::new(Self { tls, places: Shares::of(TLS_HANDSHAKES) })
    }

    /// `None`: there were too many, it took too long, or one side refused the other.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        source: &Source,
    ) -> Option<(Box<dyn Transport>, Option<PeerIdentity>)> {
        let _place = self.places.take(source, 1)?;
        let within = Duration::from_secs(HANDSHAKE_SECONDS);
        match tokio::time::timeout(within, self.tls.accept(stream)).await {
            Ok(Ok(Accepted { stream, names })) => Some((Box::new(stream), names.map(|names| PeerIdentity { names }))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }
}
