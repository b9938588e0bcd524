//! Who the other end of a connection proved to be, by the certificate of its TLS handshake.

/// The names in the verified client certificate of a connection; in the extensions of its requests. Without TLS, or without a
/// client certificate, there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject alternative names: URIs (SPIFFE ids) and DNS names.
    pub names: Vec<String>,
}
