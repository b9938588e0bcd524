//! Who calls: accounts, by access tokens that this suite made; and services, by tokens of trusted issuers or by the certificates
//! of their connections. All are verified from public keys alone.

mod asker;
mod callers_file;
mod fetched;
mod issuer;
mod key_url;
mod operator;
mod principal;
mod principals;
mod refused;
mod revocations;
mod token;
mod verifier;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use kith_log::{Offset, RecordId};
use kith_proto::errors::v1::Reason;

pub use asker::Asker;
pub use callers_file::{CallersError, CallersFile};
pub use fetched::{FetchError, KeyFetches};
pub use key_url::KeyTransport;
pub(crate) use operator::turned_away;
pub use operator::{Operator, OperatorRules};
pub use principal::{Accounts, Principal, Refusals, Right};
pub use principals::{CallersMetrics, Identity, Principals};
pub use refused::TokenRefused;
pub use revocations::{REVOCATIONS_KEY, Revocations};
pub use token::{AccessToken, TokenIssuer};
pub use verifier::Verifier;

use crate::Failure;
use crate::peer::PeerIdentity;
use crate::source::{Source, Sources};

/// Issuer and audience of every access token.
pub const ISSUER: &str = "kith";
pub const AUDIENCE: &str = "kith";

/// The metadata in which a calling service names the account that it acts for.
pub const ON_BEHALF_OF: &str = "kith-on-behalf-of";

/// The account that a call acts for. Comes from the bearer token, or from a calling service's metadata; never from a request's
/// field.
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
#[derive(Debug, Clone)]
pub enum Authentication {
    Anonymous,
    Caller(Caller),
    /// A calling service, and the account that it names.
    Service {
        principal: Arc<Principal>,
        account: Option<Caller>,
    },
    Refused(TokenRefused),
    /// No RPC serves such a request.
    Unfit(Unfit),
}

/// Why no RPC serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// `kith-on-behalf-of` without a calling service: a gateway passes on its users' headers.
    OnBehalfOfByNoService,
    /// `kith-on-behalf-of` is no id, or there are several.
    OnBehalfOfMalformed,
}

impl Authentication {
    /// Whose clients' places a call takes: those of callers that are known.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Caller(_) | Self::Service { .. })
    }

    pub(crate) fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Service { principal, .. } => Some(principal),
            _ => None,
        }
    }

    /// Who takes of what callers share: the service and below it the account that it acts for; else the account; else the address
    /// of the connection, or of the client for which a listed proxy calls.
    pub(crate) fn sources(&self, address: IpAddr, forwarded: Option<IpAddr>) -> Sources {
        let client = Source::of_address(forwarded.unwrap_or(address));
        match self {
            Self::Caller(caller) => {
                Sources { caller: Source::Account { service: None, id: caller.account_id }, origin: client }
            }
            Self::Service { principal, account } => {
                let service = Arc::clone(principal.name());
                let by_itself = Source::Service(Arc::clone(&service));
                let origin = forwarded.map_or(by_itself, |_| client.through(Arc::clone(&service)));
                let acting = |account: &Caller| Source::Account { service: Some(service), id: account.account_id };
                Sources { caller: account.as_ref().map_or_else(|| origin.clone(), acting), origin }
            }
            Self::Anonymous | Self::Refused(_) | Self::Unfit(_) => Sources { caller: client.clone(), origin: client },
        }
    }

    /// Fails for a request that no RPC serves.
    pub(crate) fn fit(&self) -> Result<(), Failure> {
        match self {
            Self::Unfit(unfit) => Err((*unfit).into()),
            _ => Ok(()),
        }
    }
}

/// Checks the `authorization` of a request, or else the certificate of its connection. Costs a hash and a look-up for a known
/// token.
pub fn authenticate(
    verifier: &Verifier,
    principals: &Principals,
    headers: &HeaderMap,
    peer: Option<&PeerIdentity>,
) -> Authentication {
    let found = match bearer_of(headers) {
        None => match peer.and_then(|peer| principals.of_peer(peer)) {
            None => Authentication::Anonymous,
            Some(principal) => Authentication::Service { principal, account: None },
        },
        Some(Err(refused)) => Authentication::Refused(refused),
        Some(Ok(token)) => match principals.of_token(token) {
            Some(Ok(principal)) => Authentication::Service { principal, account: None },
            Some(Err(refused)) => Authentication::Refused(refused),
            None => verifier.verify(token).map_or_else(Authentication::Refused, Authentication::Caller),
        },
    };
    on_behalf_of(headers, found)
}

/// Adds the account that a service names. Whoever is no service must name none.
fn on_behalf_of(headers: &HeaderMap, found: Authentication) -> Authentication {
    let mut values = headers.get_all(ON_BEHALF_OF).iter();
    let Some(value) = values.next() else { return found };
    let account_id = value.to_str().ok().and_then(RecordId::parse).filter(|_| values.next().is_none());
    match (found, account_id) {
        (Authentication::Service { principal, .. }, Some(account_id)) => {
            Authentication::Service { principal, account: Some(Caller::of(account_id)) }
        }
        (Authentication::Service { .. }, None) => Authentication::Unfit(Unfit::OnBehalfOfMalformed),
        // Its service may be one whose token has expired.
        (Authentication::Refused(refused), _) => Authentication::Refused(refused),
        _ => Authentication::Unfit(Unfit::OnBehalfOfByNoService),
    }
}

fn bearer_of(headers: &HeaderMap) -> Option<Result<&str, TokenRefused>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = values.next()?.to_str().ok().and_then(bearer);
    Some(token.filter(|_| values.next().is_none()).ok_or(TokenRefused::Malformed))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::OnBehalfOfByNoService => {
                Self::new(Reason::OnBehalfOfRefused, format!("only a calling service may send {ON_BEHALF_OF}"))
            }
            Unfit::OnBehalfOfMalformed => Self::id_malformed(ON_BEHALF_OF),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kith_runtime::Runtime;
    use tonic::Request;

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
        authenticate(verifier, &Principals::default(), &headers, None)
    }

    fn reason(authentication: Authentication) -> (tonic::Code, &'static str) {
        let mut request = Request::new(());
        request.extensions_mut().insert(authentication);
        let failure = Asker::with_account(&request).unwrap_err();
        (failure.code(), failure.reason_name())
    }

    fn is_of(authentication: Authentication, account_id: RecordId) -> bool {
        matches!(authentication, Authentication::Caller(caller) if caller == Caller { account_id, session: Some(SESSION) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_bearer_token_names_its_account_until_it_expires() {
        let runtime = Runtime::simulated(1, 1_700_000_000_000);
        let (_folder, issuer, verifier) = suite(&runtime);
        let account_id = RecordId([9; 16]);
        let token = issuer.issue(account_id, SESSION).unwrap();
        assert_eq!(token.expires_at_ms, 1_700_000_600_000);
        for scheme in ["Bearer", "bearer", "BEARER "] {
            assert!(is_of(authenticate_with(&verifier, &[&format!("{scheme} {}", token.text)]), account_id));
        }
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(is_of(authenticate_with(&verifier, &[&format!("Bearer {}", token.text)]), account_id));
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = authenticate_with(&verifier, &[&format!("Bearer {}", token.text)]);
        assert_eq!(reason(late), (tonic::Code::Unauthenticated, "TOKEN_EXPIRED"));
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

    #[tokio::test(start_paused = true)]
    async fn whoever_is_no_service_names_no_account() {
        let runtime = Runtime::simulated(1, 0);
        let (_folder, issuer, verifier) = suite(&runtime);
        let account_id = RecordId([9; 16]).to_string();
        let person = format!("Bearer {}", issuer.issue(RecordId([8; 16]), SESSION).unwrap().text);
        for authorization in [None, Some(&*person)] {
            let mut headers = HeaderMap::new();
            headers.insert(ON_BEHALF_OF, account_id.parse().unwrap());
            authorization.map(|value| headers.insert(AUTHORIZATION, value.parse().unwrap()));
            let found = authenticate(&verifier, &Principals::default(), &headers, None);
            assert_eq!(found.fit().unwrap_err().reason_name(), "ON_BEHALF_OF_REFUSED");
            assert!(!found.is_known());
        }
    }

    #[test]
    fn a_service_names_one_account_or_none() {
        let principal = Principal::new("web", [], Accounts::Any, Refusals::default());
        let named = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ON_BEHALF_OF, value.parse().unwrap());
            }
            on_behalf_of(&headers, Authentication::Service { principal: Arc::clone(&principal), account: None })
        };
        let id = RecordId([9; 16]).to_string();
        let account = |found| match found {
            Authentication::Service { account, .. } => Ok(account.map(|caller| caller.account_id)),
            other => Err(other.fit().unwrap_err().reason_name()),
        };
        assert_eq!(account(named(&[])), Ok(None));
        assert_eq!(account(named(&[&id])), Ok(Some(RecordId([9; 16]))));
        for bad in [&["ada"][..], &[""], &[&id, &id], &[&id.to_uppercase(), "x"]] {
            assert_eq!(account(named(bad)), Err("ID_MALFORMED"), "{bad:?}");
        }
    }

    #[test]
    fn a_source_is_the_service_and_the_account_below_it_else_the_account_else_the_address() {
        let [near, far]: [IpAddr; 2] = ["10.0.0.7", "203.0.113.9"].map(|text| text.parse().unwrap());
        let account = Caller::of(RecordId([7; 16]));
        let principal = Principal::new("web", [], Accounts::Any, Refusals::default());
        let service = |account| Authentication::Service { principal: Arc::clone(&principal), account };
        let sources = |authentication: Authentication, forwarded| authentication.sources(near, forwarded);
        let levels = |authentication: &Authentication, forwarded| {
            sources(authentication.clone(), forwarded).caller.levels().collect::<Vec<_>>()
        };
        let web = Source::Service("web".into());
        let acting = Source::Account { service: Some("web".into()), id: account.account_id };
        let passed_on = Source::of_address(far).through("web".into());
        assert_eq!(levels(&service(Some(account)), Some(far)), [web.clone(), acting]);
        assert_eq!(levels(&service(None), Some(far)), [web.clone(), passed_on.clone()]);
        assert_eq!(levels(&service(None), None), std::slice::from_ref(&web));
        assert_eq!(sources(service(Some(account)), Some(far)).origin, passed_on);
        assert_eq!(sources(service(Some(account)), None).origin, web);
        assert_eq!(sources(Authentication::Caller(account), None).origin, Source::of_address(near));
        let own = Source::Account { service: None, id: account.account_id };
        assert_eq!(levels(&Authentication::Caller(account), Some(far)), [own]);
        assert_eq!(levels(&Authentication::Anonymous, None), [Source::of_address(near)]);
        assert_eq!(levels(&Authentication::Refused(TokenRefused::Expired), Some(far)), [Source::of_address(far)]);
    }
}
