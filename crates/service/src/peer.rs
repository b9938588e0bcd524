//! Who is at the other end of a connection.

use std::net::IpAddr;

/// The DNS names and URIs (SPIFFE ids among them) of the client certificate that the connection has proved, in the
/// extensions of each of its requests. Absent: the port asks for no certificate, or the peer showed none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub names: Vec<String>,
}

/// The address at its other end, in the same place. Absent: there is no connection (a unit test).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerAddress(pub IpAddr);
