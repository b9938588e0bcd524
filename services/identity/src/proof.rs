//! The tokens of trusted issuers that prove people.

use kith_proto::errors::v1::Reason;
use kith_service::Failure;
use kith_service::auth::{Asker, Identity, TokenRefused};

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
    let refused = |refused: TokenRefused| match refused.is_temporary() {
        true => refused.into(),
        false => invalid("is no valid token of a trusted issuer"),
    };
    let identity = service.shared.principals.identity_of(subject_token).map_err(refused)?;
    match asker.principal() {
        Some(principal) if !principal.is_party(identity.party.as_deref()) => {
            Err(invalid("was issued to another client than the calling service"))
        }
        _ => Ok(identity),
    }
}

fn invalid(why: &'static str) -> Failure {
    Failure::new(Reason::IdentityTokenInvalid, format!("{FIELD} {why}")).with("field", FIELD).violation(FIELD, why)
}
