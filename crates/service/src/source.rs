//! Who takes of what callers share: places, bytes, connections, points of a rate.

mod proxies;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use kith_log::RecordId;

pub use proxies::{AddressRange, Proxies};

use crate::limits::SHARE_OF_SERVICES;

/// The sources that one call counts for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Who calls: the account, the service, or the network.
    pub caller: Source,
    /// The network that the call comes from, whatever account calls. Guesses, sign-ups and password hashes count by it: somebody with
    /// many accounts would otherwise be many callers.
    pub origin: Source,
}

/// The bits of an IPv6 address that one site has for itself.
const SITE_BITS: u32 = 64;

/// Whoever takes a share, or points of a rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A calling service by itself; of connections, a client certificate or a listed proxy.
    Service(Arc<str>),
    /// An account; `service`: the one that acts for it.
    Account { service: Option<Arc<str>>, id: RecordId },
    /// Whoever calls from a network without an account; `service`: the one that passes the call on.
    Network { service: Option<Arc<str>>, address: IpAddr },
}

impl Default for Source {
    /// Of a request without a connection (a unit test).
    fn default() -> Self {
        Self::of_address(Ipv4Addr::UNSPECIFIED.into())
    }
}

impl Source {
    pub fn of_address(address: IpAddr) -> Self {
        Self::Network { service: None, address: network_of(address) }
    }

    /// The same where a service passes its call on.
    pub(crate) fn through(self, service: Arc<str>) -> Self {
        match self {
            Self::Service(_) => self,
            Self::Account { id, .. } => Self::Account { service: Some(service), id },
            Self::Network { address, .. } => Self::Network { service: Some(service), address },
        }
    }

    /// As metrics and answers call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "service",
            Self::Account { .. } => "account",
            Self::Network { .. } => "address",
        }
    }

    /// The source, below the service that it takes through, if there is one.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Self> {
        let service = match self {
            Self::Service(_) => None,
            Self::Account { service, .. } | Self::Network { service, .. } => service.clone().map(Self::Service),
        };
        service.into_iter().chain([self.clone()])
    }

    /// How many times what is free it may hold.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Service(_) => SHARE_OF_SERVICES,
            Self::Account { .. } | Self::Network { .. } => 1,
        }
    }
}

/// A site of IPv6 has as many addresses as it likes.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> SITE_BITS << SITE_BITS).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_one_address() {
        let of = |text: &str| Source::of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
