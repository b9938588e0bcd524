//! Sessions: an access token for a handle and its password, and the keys that such tokens are verified with.

use kith_fold::State;
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::{
    CreateSessionRequest, CreateSessionResponse, GetSigningKeysRequest, GetSigningKeysResponse, JsonWebKey,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::deadline::Deadline;
use kith_service::jwks::Jwk;

use crate::arbiter::{ClaimRow, claim};
use crate::handle::Handle;
use crate::password::Password;
use crate::{IdentityService, read};

/// Answers `CreateSession`.
pub async fn create(
    service: &IdentityService,
    request: CreateSessionRequest,
    deadline: Deadline,
) -> Result<CreateSessionResponse, Failure> {
    let shared = &service.shared;
    let password = Password::given("password", request.password)?;
    let handle = Handle::parse("handle", &request.handle)?;
    let seen = shared.kit.see(&request.at_least, deadline).await?;
    let as_of = seen.as_of();
    let claim = claim_of_account(&seen.state, &handle).await?;
    let stored = claim.as_ref().map(|claim| claim.password_hash.as_str());
    let matches = shared.passwords.verify(password, stored, deadline).await?;
    let account_id = claim.filter(|_| matches).ok_or_else(credentials_invalid)?.account_id;
    let token = shared.issuer.issue(RecordId::parse(&account_id).ok_or_else(Failure::internal)?)?;
    let expire_time = Some(time::timestamp(token.expires_at_ms));
    Ok(CreateSessionResponse { access_token: token.text, expire_time, account_id, as_of })
}

/// Answers `GetSigningKeys`.
pub async fn signing_keys(
    service: &IdentityService,
    _: GetSigningKeysRequest,
    _: Deadline,
) -> Result<GetSigningKeysResponse, Failure> {
    let keys = service.shared.verifier.public_keys().keys;
    Ok(GetSigningKeysResponse { keys: keys.into_iter().map(present).collect() })
}

/// The claim on a handle whose account is there.
async fn claim_of_account(state: &State, handle: &Handle) -> Result<Option<ClaimRow>, Failure> {
    let Some(claim) = claim(state, handle).await? else { return Ok(None) };
    let account = read::found(state, &claim.row.account_id).await?;
    Ok(account.map(|_| claim.row))
}

fn credentials_invalid() -> Failure {
    Failure::new(Reason::CredentialsInvalid, "no account has this handle and this password")
}

fn present(key: Jwk) -> JsonWebKey {
    JsonWebKey { kty: key.kty, crv: key.crv, kid: key.kid, alg: key.alg, r#use: key.public_key_use, x: key.x }
}
