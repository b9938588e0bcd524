//! Making access tokens: JWT (RFC 7519), EdDSA.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kith_log::RecordId;
use kith_runtime::{Runtime, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{AUDIENCE, ISSUER, SessionRef};
use crate::Failure;
use crate::keys::SigningKey;
use crate::limits::ACCESS_TOKEN_LIFETIME_SECONDS;

/// Makes access tokens; only the identity service holds one.
pub struct TokenIssuer {
    key: EncodingKey,
    header: Header,
    runtime: Runtime,
}

/// A token as a caller gets it. Hidden in logs.
pub struct AccessToken {
    pub text: String,
    pub expires_at_ms: UnixMillis,
}

/// The content of a token. Times are seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub iat: u64,
    pub exp: u64,
    pub jti: String,
    /// The session. Without it: made by a release that had no sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// [`SessionRef::made_at`].
    #[serde(default)]
    pub pos: u64,
}

impl TokenIssuer {
    pub fn new(key: SigningKey, runtime: Runtime) -> Self {
        let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::EdDSA) };
        Self { key: key.encoding, header, runtime }
    }

    /// A token for a session of `account_id`, valid for 10 minutes.
    pub fn issue(&self, account_id: RecordId, session: SessionRef) -> Result<AccessToken, Failure> {
        let mut jti = [0; 16];
        self.runtime.fill_random(&mut jti).map_err(|error| Failure::defect("making a token", &error))?;
        let iat = u64::try_from(self.runtime.now_ms()).unwrap_or(0) / 1_000;
        let exp = iat + ACCESS_TOKEN_LIFETIME_SECONDS;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: account_id.to_string(),
            iat,
            exp,
            jti: RecordId(jti).to_string(),
            sid: Some(session.id.to_string()),
            pos: session.made_at,
        };
        let text = encode(&self.header, &claims, &self.key);
        let text = text.map_err(|error| Failure::defect("signing a token", &error))?;
        Ok(AccessToken { text, expires_at_ms: UnixMillis::try_from(exp * 1_000).unwrap_or(UnixMillis::MAX) })
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}
