//! The tokens of trusted issuers that prove people.

use kith_proto::errors::v1::Reason;
use kith_proto::security::v1::SecurityKind;
use kith_service::Failure;
use kith_service::auth::{Asker, Identity};
use kith_service::security::Happened;

use crate::IdentityService;

const FIELD: &str = "subject_token";

/// Whom the token proves. From a calling service only a token that was issued to it counts: another client's users have not come to it.
pub fn identity(service: &IdentityService, asker: &Asker, subject_token: &str) -> Result<Identity, Failure> {
    if subject_token.is_empty() {
        return Err(Failure::field_missing(FIELD));
    }
    if subject_token.len() > kith_service::limits::ISSUER_TOKEN_BYTES {
        return Err(Failure::field_invalid(FIELD, "is too long"));
    }
    let proven = match service.shared.principals.identity_of(subject_token) {
        // That this process lacks the keys is no attempt of anybody.
        Err(temporary) if temporary.is_temporary() => return Err(temporary.into()),
        Err(_) => Err(invalid("is no valid token of a trusted issuer")),
        Ok(identity) => match asker.principal() {
            Some(principal) if !principal.is_party(identity.party.as_deref()) => {
                Err(invalid("was issued to another client than the calling service"))
            }
            _ => Ok(identity),
        },
    };
    proven.inspect_err(|_| {
        service.note(Happened::new(SecurityKind::LoginRefused, "identity-token").from(asker.source()));
    })
}

fn invalid(why: &'static str) -> Failure {
    Failure::new(Reason::IdentityTokenInvalid, format!("{FIELD} {why}")).with("field", FIELD).violation(FIELD, why)
}
