//! Where the client commands call.

use std::net::SocketAddr;
use std::str::FromStr;

use tonic::transport::Uri;

/// The services as addresses name them.
const NAMES: [&str; 5] = ["identity", "posts", "engagement", "messaging", "feeds"];

/// `HOST:PORT` of each service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    pub identity: String,
    pub posts: String,
    pub engagement: String,
    pub messaging: String,
    pub feeds: String,
}

impl From<SocketAddr> for Addresses {
    fn from(all: SocketAddr) -> Self {
        Self::of(NAMES.map(|_| all.to_string()))
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// `HOST:PORT` of all services, or `identity=HOST:PORT,posts=…,engagement=…,messaging=…,feeds=…`.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            let all = host_and_port(text)?;
            return Ok(Self::of(NAMES.map(|_| all.clone())));
        }
        let mut each = [const { String::new() }; NAMES.len()];
        for part in text.split(',') {
            let (name, address) = part.split_once('=').ok_or_else(|| format!("`{part}` is not SERVICE=HOST:PORT"))?;
            let place = NAMES.iter().position(|known| *known == name);
            let place = place.ok_or_else(|| format!("`{name}` is not one of {}", NAMES.join(", ")))?;
            each[place] = host_and_port(address)?;
        }
        match NAMES.iter().zip(&each).find(|(_, address)| address.is_empty()) {
            Some((name, _)) => Err(format!("there is no address of {name}")),
            None => Ok(Self::of(each)),
        }
    }
}

impl Addresses {
    fn of([identity, posts, engagement, messaging, feeds]: [String; 5]) -> Self {
        Self { identity, posts, engagement, messaging, feeds }
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let parsed = format!("http://{text}").parse::<Uri>();
    let is_address = parsed.is_ok_and(|uri| {
        let whole = uri.authority().is_some_and(|authority| authority.as_str() == text);
        whole && uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty()) && !text.contains('@')
    });
    if is_address { Ok(text.to_owned()) } else { Err(format!("`{text}` is not HOST:PORT")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_stands_for_all() {
        let all: Addresses = "127.0.0.1:7400".parse().unwrap();
        assert_eq!(all, SocketAddr::from(([127, 0, 0, 1], 7400)).into());
        assert!("localhost:7400".parse::<Addresses>().is_ok() && "[::1]:7400".parse::<Addresses>().is_ok());
    }

    #[test]
    fn each_service_has_an_address_of_its_own() {
        let each = "feeds=e:5,identity=a:1,posts=b:2,engagement=c:3,messaging=d:4".parse();
        assert_eq!(each, Ok(Addresses::of(["a:1", "b:2", "c:3", "d:4", "e:5"].map(str::to_owned))));
        for (bad, named) in [
            ("identity=a:1,posts=b:2", "engagement"),
            ("identity=a:1,mail=b:2", "mail"),
            ("identity=a:1,b:2", "b:2"),
            ("identity=a", "`a`"),
        ] {
            let error = bad.parse::<Addresses>().unwrap_err();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "localhost", ":7400", "a:99999", "a:b", "http://a:1", "a:1/x", "a b:1", "u@a:1", "a:1,b:2"] {
            assert_eq!(bad.parse::<Addresses>(), Err(format!("`{bad}` is not HOST:PORT")));
        }
    }
}
