//! The tokens of a session, as its holder gets them.

use kith_log::RecordId;
use kith_proto::time;
use kith_service::Failure;
use kith_service::auth::{SessionRef, TokenIssuer};
use kith_service::keys::secret::Secret;
use prost_types::Timestamp;

use super::refresh_token::{RefreshToken, RefreshTokens};
use super::{SessionRow, command};

/// Makes both kinds.
pub struct SessionTokens {
    pub issuer: TokenIssuer,
    refresh: RefreshTokens,
}

/// A new access token, and the refresh token for the next one.
pub struct Pair {
    pub access_token: String,
    pub expire_time: Option<Timestamp>,
    pub refresh_token: String,
}

impl SessionTokens {
    pub fn new(issuer: TokenIssuer, refresh_key: Secret) -> Result<Self, Failure> {
        Ok(Self { issuer, refresh: RefreshTokens::new(refresh_key)? })
    }

    /// Those of a session that stands; the refresh token is the one with that number.
    pub fn pair(&self, account_id: &str, session_id: &str, row: &SessionRow, number: i64) -> Result<Pair, Failure> {
        let parse = |id: &str| RecordId::parse(id).ok_or_else(Failure::internal);
        let (account_id, session_id, made_at) = (parse(account_id)?, parse(session_id)?, command::made_at(row));
        let number = u32::try_from(number).map_err(|_| Failure::internal())?;
        let access = self.issuer.issue(account_id, SessionRef { id: session_id, made_at })?;
        let refresh_token = self.refresh.make(RefreshToken { account_id, session_id, made_at, number });
        let expire_time = Some(time::timestamp(access.expires_at_ms));
        Ok(Pair { access_token: access.text, expire_time, refresh_token })
    }

    pub fn read_refresh(&self, text: &str) -> Result<RefreshToken, Failure> {
        self.refresh.read(text)
    }
}
