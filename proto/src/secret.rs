//! `Debug` of messages that carry a secret: all but the secret, so that none reaches a log by accident. A field is secret that says so
//! in its proto (`kith.options.v1.secret`).

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/secret.rs"));

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::private::v1::AccountRequested;
    use crate::identity::v1::{CreateAccountRequest, CreateSessionRequest, CreateSessionResponse};

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
