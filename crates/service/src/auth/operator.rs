//! Operators: who may give operators' commands, and by what name their decisions are in the log.

use std::sync::Arc;

use kith_fold::THE_SUITE;
use kith_proto::errors::v1::Reason;
use kith_proto::security::v1::SecurityKind;
use tonic::Request;

use super::{Authentication, ON_BEHALF_OF, Right};
use crate::Failure;
use crate::peer::PeerIdentity;
use crate::security::Happened;

/// Of a name in a certificate, bytes: the rest is cut off. A record of the log holds it.
const NAME_BYTES: usize = 255;
/// All certificates without a DNS name or a URI have this one.
const UNNAMED: &str = "certificate without a name";

/// Whoever gives an operators' command, in the extensions of each request to that port: the name of a principal with the right
/// `operate`, or, where no file gives rights, the first name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Arc<str>);

/// What the port of operators' commands asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperatorRules {
    /// Nobody is let in without a proof. Not so in development, as long as no authority of operators is set.
    pub proven: bool,
    /// A file gives rights: a certificate counts only if it names a principal.
    pub by_rights: bool,
}

impl Operator {
    /// Who is let in without a proof. No principal has this name.
    pub const ANYONE: &str = "anyone";

    /// Whom the port let in.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self(Self::ANYONE.into()))
    }

    pub fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl OperatorRules {
    /// Who calls. Fails UNAUTHENTICATED without a proof where one is asked for, and with a bad token everywhere; PERMISSION_DENIED,
    /// RIGHT_MISSING without the right `operate`.
    pub fn admit(self, who: &Authentication, peer: Option<&PeerIdentity>) -> Result<Operator, Failure> {
        match (who, peer) {
            (Authentication::Service { principal, account: None }, _) => {
                principal.may(Right::Operate)?;
                Ok(Operator(Arc::clone(principal.name())))
            }
            (Authentication::Service { account: Some(_), .. }, _) => {
                Err(Failure::new(Reason::OnBehalfOfRefused, format!("no operator may send {ON_BEHALF_OF}")))
            }
            (Authentication::Caller(_), _) => Err(not_an_operator("an account is no operator")),
            (Authentication::Refused(refused), _) => Err((*refused).into()),
            (Authentication::Unfit(unfit), _) => Err((*unfit).into()),
            (Authentication::Anonymous, Some(_)) if self.by_rights => {
                Err(not_an_operator("the certificate names no principal with the right to this"))
            }
            (Authentication::Anonymous, Some(peer)) => Ok(Operator(name_in(peer))),
            (Authentication::Anonymous, None) if self.proven => {
                Err(Failure::unauthenticated("operators' commands need a client certificate or an operator's token"))
            }
            (Authentication::Anonymous, None) => Ok(Operator(Operator::ANYONE.into())),
        }
    }
}

/// What is noted of somebody who was not let in. `None`: it has been, where the right or the token was refused.
pub(crate) fn turned_away(who: &Authentication, peer: Option<&PeerIdentity>) -> Option<Happened> {
    let refused = || Happened::new(SecurityKind::RightRefused, Right::Operate.as_str());
    match (who, peer) {
        (Authentication::Service { account: None, .. }, _) => None,
        (Authentication::Service { principal, .. }, _) => Some(refused().by(principal.name())),
        (Authentication::Caller(caller), _) => Some(refused().about(caller.account_id)),
        (Authentication::Refused(_) | Authentication::Unfit(_), _) => None,
        (Authentication::Anonymous, Some(peer)) => Some(refused().by(&name_in(peer))),
        (Authentication::Anonymous, None) => Some(refused()),
    }
}

fn not_an_operator(why: &'static str) -> Failure {
    Failure::new(Reason::RightMissing, why).with("right", Right::Operate.as_str())
}

fn name_in(peer: &PeerIdentity) -> Arc<str> {
    match peer.names.first().map_or(UNNAMED, String::as_str) {
        // A certificate may have any name, and is none of these.
        reserved @ (Operator::ANYONE | THE_SUITE) => format!("certificate {reserved}").into(),
        name => name[..name.floor_char_boundary(NAME_BYTES)].into(),
    }
}

#[cfg(test)]
mod tests {
    use kith_log::RecordId;

    use super::super::{Accounts, Caller, Principal, Refusals, TokenRefused};
    use super::*;

    const RIGHTS: OperatorRules = OperatorRules { proven: true, by_rights: true };
    const CERTIFICATES: OperatorRules = OperatorRules { proven: true, by_rights: false };

    fn service(rights: &[Right], account: Option<u8>) -> Authentication {
        let principal = Principal::new("ada", rights.iter().copied(), Accounts::Any, Refusals::default());
        let account = account.map(|account| Caller::of(RecordId([account; 16])));
        Authentication::Service { principal, account }
    }

    fn admitted(rules: OperatorRules, who: &Authentication, shown: Option<&str>) -> Result<String, &'static str> {
        let peer = shown.map(|name| PeerIdentity { names: vec![name.to_owned(), "other".to_owned()] });
        let admitted = rules.admit(who, peer.as_ref());
        admitted.map(|operator| operator.name().to_string()).map_err(|failure| failure.reason_name())
    }

    #[test]
    fn who_has_the_right_operates_under_its_own_name() {
        let ada = service(&[Right::Operate], None);
        for rules in [RIGHTS, CERTIFICATES, OperatorRules::default()] {
            for shown in [None, Some("spiffe://example/laptop")] {
                assert_eq!(admitted(rules, &ada, shown), Ok("ada".to_owned()));
                assert_eq!(admitted(rules, &service(&[Right::Read], None), shown), Err("RIGHT_MISSING"));
                assert_eq!(admitted(rules, &service(&[Right::Operate], Some(7)), shown), Err("ON_BEHALF_OF_REFUSED"));
                let person = Authentication::Caller(Caller::of(RecordId([7; 16])));
                assert_eq!(admitted(rules, &person, shown), Err("RIGHT_MISSING"));
                let forged = Authentication::Refused(TokenRefused::Forged);
                assert_eq!(admitted(rules, &forged, shown), Err("UNAUTHENTICATED"));
            }
        }
    }

    #[test]
    fn a_certificate_alone_is_enough_only_where_no_file_gives_rights() {
        let shown = Some("spiffe://example/ada");
        let nobody = Authentication::Anonymous;
        assert_eq!(admitted(RIGHTS, &nobody, shown), Err("RIGHT_MISSING"));
        assert_eq!(admitted(CERTIFICATES, &nobody, shown), Ok("spiffe://example/ada".to_owned()));
        for reserved in [Operator::ANYONE, THE_SUITE] {
            let named = Ok(format!("certificate {reserved}"));
            assert_eq!(admitted(CERTIFICATES, &nobody, Some(reserved)), named, "its decisions are not the suite's own");
        }
        let long = "é".repeat(NAME_BYTES);
        assert_eq!(admitted(CERTIFICATES, &nobody, Some(&long)).unwrap().len(), NAME_BYTES - 1);
    }

    #[test]
    fn without_a_proof_nobody_is_let_in_but_in_development() {
        let nobody = Authentication::Anonymous;
        assert_eq!(admitted(RIGHTS, &nobody, None), Err("UNAUTHENTICATED"));
        assert_eq!(admitted(CERTIFICATES, &nobody, None), Err("UNAUTHENTICATED"));
        assert_eq!(admitted(OperatorRules::default(), &nobody, None), Ok("anyone".to_owned()));
    }
}
