//! The keys that access tokens are verified with.

use kith_proto::identity::v1::{GetSigningKeysRequest, GetSigningKeysResponse, JsonWebKey};
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::deadline::Deadline;
use kith_service::jwks::Jwk;

use crate::IdentityService;

/// Answers `GetSigningKeys`.
pub async fn signing_keys(
    service: &IdentityService,
    _: Asker,
    _: GetSigningKeysRequest,
    _: Deadline,
) -> Result<GetSigningKeysResponse, Failure> {
    let keys = service.shared.verifier.public_keys().keys;
    Ok(GetSigningKeysResponse { keys: keys.into_iter().map(present).collect() })
}

fn present(key: Jwk) -> JsonWebKey {
    JsonWebKey { kty: key.kty, crv: key.crv, kid: key.kid, alg: key.alg, r#use: key.public_key_use, x: key.x }
}
