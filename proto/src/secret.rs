//! `Debug` of messages that carry a secret: all but the secret, so that none reaches a log by accident.

use std::fmt;

use crate::identity::private::v1::AccountRequested;
use crate::identity::v1::{CreateAccountRequest, CreateSessionRequest, CreateSessionResponse};

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

impl fmt::Debug for CreateAccountRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAccountRequest")
            .field("handle", &self.handle)
            .field("password", &HIDDEN)
            .field("profile", &self.profile)
            .field("request_id", &self.request_id)
            .field("at_least", &self.at_least)
            .finish()
    }
}

impl fmt::Debug for CreateSessionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSessionRequest")
            .field("handle", &self.handle)
            .field("password", &HIDDEN)
            .field("at_least", &self.at_least)
            .finish()
    }
}

impl fmt::Debug for CreateSessionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSessionResponse")
            .field("access_token", &HIDDEN)
            .field("expire_time", &self.expire_time)
            .field("account_id", &self.account_id)
            .field("as_of", &self.as_of)
            .finish()
    }
}

impl fmt::Debug for AccountRequested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRequested")
            .field("account_id", &self.account_id)
            .field("handle", &self.handle)
            .field("profile", &self.profile)
            .field("password_hash", &HIDDEN)
            .field("create_time", &self.create_time)
            .field("payload_digest", &self.payload_digest)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let secret = || "correct horse".to_owned();
        let shown = [
            format!("{:?}", CreateAccountRequest { password: secret(), ..Default::default() }),
            format!("{:?}", CreateSessionRequest { password: secret(), ..Default::default() }),
            format!("{:?}", CreateSessionResponse { access_token: secret(), ..Default::default() }),
            format!("{:?}", AccountRequested { password_hash: secret(), ..Default::default() }),
        ];
        for text in shown {
            assert!(text.contains(HIDDEN) && !text.contains("horse"), "{text}");
        }
    }
}
