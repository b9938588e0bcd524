//! Who calls: access tokens, made for accounts and verified from public keys alone.

mod refused;
mod revocations;
mod token;
mod verifier;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use kith_log::{Offset, RecordId};
use tonic::{Request, Status};

pub use refused::TokenRefused;
pub use revocations::{REVOCATIONS_KEY, Revocations};
pub use token::{AccessToken, TokenIssuer};
pub use verifier::Verifier;

use crate::Failure;

/// Issuer and audience of every access token.
pub const ISSUER: &str = "kith";
pub const AUDIENCE: &str = "kith";

/// The account that a call acts for. Comes from the bearer token, never from a request's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub account_id: RecordId,
    /// `None`: it calls without one.
    pub session: Option<SessionRef>,
}

/// A session of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRef {
    pub id: RecordId,
    /// The offset of its record in the account's partition of `kith.identity.private.v1`: sessions are ended by being
    /// older than a place there, which no clock decides.
    pub made_at: Offset,
}

impl Caller {
    /// Without a session.
    pub fn of(account_id: RecordId) -> Self {
        Self { account_id, session: None }
    }
}

/// The layer's result about the caller; in the extensions of every request. A refused token fails only RPCs that need
/// the caller, so that a client whose token has expired can still make a new session with it attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Anonymous,
    Caller(Caller),
    Refused(TokenRefused),
}

/// The caller, for RPCs that need one. Fails UNAUTHENTICATED without a bearer token, or with a bad or expired one.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let missing = || Failure::unauthenticated("this method needs a bearer token");
    Ok(optional_caller(request)?.ok_or_else(missing)?)
}

/// The caller, for RPCs that also serve without one. Fails UNAUTHENTICATED with a bad or expired token: an anonymous
/// answer would hide content from the token's owner.
pub fn optional_caller<T>(request: &Request<T>) -> Result<Option<Caller>, Status> {
    match request.extensions().get::<Authentication>() {
        Some(Authentication::Caller(caller)) => Ok(Some(*caller)),
        Some(Authentication::Refused(refused)) => Err(Failure::from(*refused).into()),
        Some(Authentication::Anonymous) | None => Ok(None),
    }
}

/// Checks the `authorization` of a request. Costs a hash and a look-up for a known token.
pub fn authenticate(verifier: &Verifier, headers: &HeaderMap) -> Authentication {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Authentication::Anonymous };
    let token = value.to_str().ok().and_then(bearer);
    match (token, values.next()) {
        (Some(token), None) => match verifier.verify(token) {
            Ok(caller) => Authentication::Caller(caller),
            Err(refused) => Authentication::Refused(refused),
        },
        _ => Authentication::Refused(TokenRefused::Malformed),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kith_runtime::Runtime;
    use tonic_types::StatusExt;

    use super::*;
    use crate::keys::{JWKS_FILE, KeyFolder};

    const SESSION: SessionRef = SessionRef { id: RecordId([3; 16]), made_at: 7 };

    fn suite(runtime: &Runtime) -> (tempfile::TempDir, TokenIssuer, Verifier) {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(runtime).unwrap();
        let issuer = TokenIssuer::new(keys.signing_key().unwrap(), runtime.clone());
        let verifier = Verifier::open(folder.path().join(JWKS_FILE), runtime.clone()).unwrap();
        (folder, issuer, verifier)
    }

    fn authenticate_with(verifier: &Verifier, values: &[&str]) -> Authentication {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        authenticate(verifier, &headers)
    }

    fn reason(authentication: Authentication) -> (tonic::Code, String) {
        let mut request = Request::new(());
        request.extensions_mut().insert(authentication);
        let status = caller(&request).unwrap_err();
        (status.code(), status.get_details_error_info().unwrap().reason)
    }

    #[tokio::test(start_paused = true)]
    async fn a_bearer_token_names_its_account_until_it_expires() {
        let runtime = Runtime::simulated(1, 1_700_000_000_000);
        let (_folder, issuer, verifier) = suite(&runtime);
        let account_id = RecordId([9; 16]);
        let token = issuer.issue(account_id, SESSION).unwrap();
        assert_eq!(token.expires_at_ms, 1_700_000_600_000);
        let expected = Authentication::Caller(Caller { account_id, session: Some(SESSION) });
        for scheme in ["Bearer", "bearer", "BEARER "] {
            assert_eq!(authenticate_with(&verifier, &[&format!("{scheme} {}", token.text)]), expected);
        }
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(authenticate_with(&verifier, &[&format!("Bearer {}", token.text)]), expected);
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = authenticate_with(&verifier, &[&format!("Bearer {}", token.text)]);
        assert_eq!(reason(late), (tonic::Code::Unauthenticated, "TOKEN_EXPIRED".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_one_bearer_token_is_refused() {
        let runtime = Runtime::simulated(1, 0);
        let (_folder, issuer, verifier) = suite(&runtime);
        let good = format!("Bearer {}", issuer.issue(RecordId([9; 16]), SESSION).unwrap().text);
        let long = format!("Bearer {}", "a".repeat(5_000));
        for bad in [&["Basic YTpi"][..], &["Bearer"], &["Bearer "], &[&good, &good], &["Bearer a.b.c"], &[&long]] {
            assert_eq!(reason(authenticate_with(&verifier, bad)).1, "UNAUTHENTICATED", "{bad:?}");
        }
    }

    #[test]
    fn only_those_who_ask_who_calls_need_a_token() {
        let mut request = Request::new(());
        assert_eq!(optional_caller(&request).unwrap(), None);
        request.extensions_mut().insert(Authentication::Anonymous);
        assert_eq!(optional_caller(&request).unwrap(), None);
        assert_eq!(reason(Authentication::Anonymous).1, "UNAUTHENTICATED");
        request.extensions_mut().insert(Authentication::Refused(TokenRefused::Expired));
        assert!(optional_caller(&request).is_err());
    }
}
