//! Who calls, and what is noted of those who are refused for it.

use std::net::Ipv4Addr;

use http::Request;
use kith_proto::security::v1::SecurityKind;
use tonic::body::Body;

use super::EdgeShared;
use crate::Failure;
use crate::auth::{self, Authentication, turned_away};
use crate::peer::{PeerAddress, PeerIdentity};
use crate::security::Happened;
use crate::source::Sources;

impl EdgeShared {
    /// Who calls and from where, in the request's extensions from here on; and whether any RPC serves it.
    pub(super) fn recognise(&self, request: &mut Request<Body>) -> (Authentication, Sources, Result<(), Failure>) {
        let peer = request.extensions().get::<PeerIdentity>();
        let who = auth::authenticate(&self.verifier, &self.principals, request.headers(), peer);
        let sources = self.sources(request, &who);
        if let Some(refused) = refused(&who) {
            self.rates.security().note(refused.from(&sources.origin));
        }
        let mut fit = who.fit();
        if let Some(rules) = self.operators {
            let peer = request.extensions().get::<PeerIdentity>().cloned();
            match rules.admit(&who, peer.as_ref()) {
                Ok(operator) => drop(request.extensions_mut().insert(operator)),
                Err(failure) => {
                    if let Some(turned_away) = turned_away(&who, peer.as_ref()) {
                        self.rates.security().note(turned_away.from(&sources.origin));
                    }
                    fit = Err(failure);
                }
            }
        }
        request.extensions_mut().insert(who.clone());
        request.extensions_mut().insert(sources.clone());
        (who, sources, fit)
    }

    fn sources(&self, request: &Request<Body>, who: &Authentication) -> Sources {
        let peer = request.extensions().get().map_or(Ipv4Addr::UNSPECIFIED.into(), |PeerAddress(peer)| *peer);
        let forwarded = self.rules.proxies.client(peer, request.headers());
        who.sources(peer, forwarded)
    }
}

/// What somebody tried; `None`: nothing, or merely with a token that has expired.
fn refused(who: &Authentication) -> Option<Happened> {
    match who {
        Authentication::Refused(refused) => {
            refused.as_attempt().map(|reason| Happened::new(SecurityKind::TokenRefused, reason))
        }
        Authentication::Unfit(_) => Some(Happened::new(SecurityKind::RightRefused, auth::ON_BEHALF_OF)),
        Authentication::Anonymous | Authentication::Caller(_) | Authentication::Service { .. } => None,
    }
}
