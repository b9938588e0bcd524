//! Proxies whose word counts about whom they call for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Proxies in a row that are looked at.
const HOPS: usize = 16;

/// Addresses of proxies; the default lists none. Clones share the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Arc<[AddressRange]>);

/// An address, or a range in CIDR's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix_bits: u32,
}

impl Proxies {
    pub fn new(listed: impl IntoIterator<Item = AddressRange>) -> Self {
        Self(listed.into_iter().collect())
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.has(address))
    }

    /// The client for which `peer` calls: the last address in `x-forwarded-for` that is not a listed proxy's. What stands before
    /// it, anybody may have written. `None`: the peer is not listed, or names nobody.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.has(peer) {
            return None;
        }
        // From the end: what a client wrote before its proxy's word, legible or not, is not looked at.
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in values.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b',')).take(HOPS) {
            let address = address(std::str::from_utf8(hop).ok()?.trim())?;
            if !self.has(address) {
                return Some(address);
            }
        }
        None
    }
}

/// An address, as some proxies write it also with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

impl AddressRange {
    fn has(&self, address: IpAddr) -> bool {
        let (size, first) = bits(self.first);
        let (other_size, address) = bits(address.to_canonical());
        // All bits are shifted out: every address of the family.
        let start = |bits: u128| bits.checked_shr(size - self.prefix_bits).unwrap_or(0);
        size == other_size && start(first) == start(address)
    }
}

impl std::str::FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a range such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let (size, _) = bits(first);
        let prefix_bits = prefix.map_or(Ok(size), str::parse).map_err(|_| wrong())?;
        if prefix_bits > size { Err(wrong()) } else { Ok(Self { first, prefix_bits }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

/// How many bits an address has, and which.
fn bits(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(address) => (32, address.to_bits().into()),
        IpAddr::V6(address) => (128, address.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(ranges: &[&str]) -> Proxies {
        Proxies::new(ranges.iter().map(|range| range.parse().unwrap()))
    }

    fn client(proxies: &Proxies, peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn only_a_listed_proxy_says_for_whom_it_calls() {
        let listed = proxies(&["10.0.0.0/8", "192.0.2.1"]);
        let said = ["203.0.113.9"];
        assert_eq!(client(&listed, "10.1.2.3", &said).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&listed, "::ffff:10.1.2.3", &said).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&listed, "192.0.2.2", &said), None);
        assert_eq!(client(&Proxies::default(), "10.1.2.3", &said), None);
        assert_eq!(client(&listed, "10.1.2.3", &[]), None);
    }

    #[test]
    fn what_a_client_wrote_itself_does_not_count() {
        let listed = proxies(&["10.0.0.0/8"]);
        let written = ["198.51.100.1, 203.0.113.9, 10.0.0.2", "10.0.0.1"];
        assert_eq!(client(&listed, "10.1.2.3", &written).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&listed, "10.1.2.3", &["203.0.113.9, unknown"]), None);
        assert_eq!(client(&listed, "10.1.2.3", &[&["10.0.0.1"; 100].join(",")]), None);
        assert_eq!(client(&listed, "10.1.2.3", &["ä", "junk, 203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&listed, "10.1.2.3", &["203.0.113.9:5678"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&listed, "10.1.2.3", &["[2001:db8::9]:5678,[::1]"]).as_deref(), Some("::1"));
    }

    #[test]
    fn ranges_are_of_one_family() {
        assert!(proxies(&["0.0.0.0/0"]).has("203.0.113.9".parse().unwrap()));
        assert!(!proxies(&["0.0.0.0/0"]).has("2001:db8::1".parse().unwrap()));
        assert!(proxies(&["2001:db8::/32"]).has("2001:db8:9::1".parse().unwrap()));
        assert!(!proxies(&["2001:db8::/32"]).has("2001:db9::1".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/x", "::/129", "proxy"] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }
}
