use kith_fold::State;
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::session_service_server::SessionService;
use kith_proto::identity::v1::{
    CreateSessionRequest, CreateSessionResponse, GetSigningKeysRequest, GetSigningKeysResponse, JsonWebKey,
};
use kith_proto::time;
use kith_service::Failure;
use kith_service::deadline::deadline;
use kith_service::jwks::Jwk;
use tonic::{Request, Response, Status, async_trait};

use super::IdentityService;
use crate::account;
use crate::arbiter::{ClaimRow, claim};
use crate::handle::Handle;
use crate::password::Password;

#[async_trait]
impl SessionService for IdentityService {
    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let deadline = deadline(&request);
        let request = request.into_inner();
        let password = Password::given("password", request.password)?;
        let handle = Handle::parse("handle", &request.handle)?;
        let answer = async {
            let seen = self.kit().see(&request.at_least, deadline).await?;
            let as_of = seen.as_of();
            let claim = claim_of_account(&seen.state, &handle).await?;
            let stored = claim.as_ref().map(|claim| claim.password_hash.as_str());
            let matches = self.shared.passwords.verify(password, stored, deadline).await?;
            let claim = claim.filter(|_| matches).ok_or_else(credentials_invalid)?;
            let account_id = RecordId::parse(&claim.account_id).ok_or_else(Failure::internal)?;
            let token = self.shared.issuer.issue(account_id)?;
            Ok(CreateSessionResponse {
                access_token: token.text,
                expire_time: Some(time::timestamp(token.expires_at_ms)),
                account_id: claim.account_id,
                as_of,
            })
        };
        Ok(Response::new(self.kit().candid(answer, |_| {}).await?))
    }

    async fn get_signing_keys(
        &self,
        _: Request<GetSigningKeysRequest>,
    ) -> Result<Response<GetSigningKeysResponse>, Status> {
        let keys = self.shared.verifier.public_keys().keys.into_iter().map(present).collect();
        Ok(Response::new(GetSigningKeysResponse { keys }))
    }
}

/// The claim on a handle whose account is there.
async fn claim_of_account(state: &State, handle: &Handle) -> Result<Option<ClaimRow>, Failure> {
    let Some(claim) = claim(state, handle).await? else { return Ok(None) };
    let account = account::found(state, &claim.row.account_id).await?;
    Ok(account.map(|_| claim.row))
}

fn credentials_invalid() -> Failure {
    Failure::new(Reason::CredentialsInvalid, "no account has this handle and this password")
}

fn present(key: Jwk) -> JsonWebKey {
    JsonWebKey { kty: key.kty, crv: key.crv, kid: key.kid, alg: key.alg, r#use: key.public_key_use, x: key.x }
}
