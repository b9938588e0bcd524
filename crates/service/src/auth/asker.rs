//! Who asks for what an RPC does: an account, a service that acts for one, or a service by itself.

use std::sync::Arc;

use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use tonic::Request;

use super::{Authentication, Caller, ON_BEHALF_OF, Principal, Right};
use crate::Failure;
use crate::ids::{self, RequestId};
use crate::source::{Source, Sources};

/// Who asks. Its rights over the account are checked with the tables ([`crate::kit::Kit`]).
#[derive(Debug, Clone, Default)]
pub struct Asker {
    account: Option<Caller>,
    principal: Option<Arc<Principal>>,
    sources: Sources,
}

impl Asker {
    /// An account by itself, which the handler proved.
    pub fn of(account: Caller) -> Self {
        Self { account: Some(account), ..Self::default() }
    }

    /// For RPCs that need an account. Fails UNAUTHENTICATED without a token, or with a bad or expired one; INVALID_ARGUMENT for a
    /// service that names no account; PERMISSION_DENIED for one without the right to act for any.
    pub fn with_account<T>(request: &Request<T>) -> Result<Self, Failure> {
        let asker = Self::known(request)?;
        asker.caller()?;
        Ok(asker)
    }

    /// For RPCs that also serve a service that acts for nobody, if it has the right to read.
    pub fn reading<T>(request: &Request<T>) -> Result<Self, Failure> {
        let asker = Self::known(request)?;
        match &asker.principal {
            Some(principal) if asker.account.is_none() => principal.may(Right::Read)?,
            _ => {}
        }
        Ok(asker)
    }

    /// For RPCs that also serve without a token. A bad or expired one counts as none, so that a client whose token has expired can
    /// make a new session with it attached. Fails UNAVAILABLE while it is not known whether the token is good: the same request would
    /// mean another one later.
    pub fn anyone<T>(request: &Request<T>) -> Result<Self, Failure> {
        match request.extensions().get::<Authentication>() {
            None | Some(Authentication::Anonymous) => Ok(Self::nobody(request)),
            Some(Authentication::Refused(refused)) if !refused.is_temporary() => Ok(Self::nobody(request)),
            Some(_) => Self::known(request),
        }
    }

    /// For RPCs that ask nobody who they are.
    pub fn nobody<T>(request: &Request<T>) -> Self {
        let sources = request.extensions().get().cloned().unwrap_or_default();
        Self { sources, ..Self::default() }
    }

    /// For RPCs that only calling services call. Fails UNAUTHENTICATED without a token, or with a bad or expired one; PERMISSION_DENIED
    /// for an account.
    pub fn service<T>(request: &Request<T>) -> Result<Self, Failure> {
        let asker = Self::known(request)?.without_account();
        asker.as_service()?;
        Ok(asker)
    }

    /// The calling service. Fails PERMISSION_DENIED for an account that calls by itself.
    pub fn as_service(&self) -> Result<&Principal, Failure> {
        let principal = self.principal.as_deref();
        principal.ok_or_else(|| Failure::new(Reason::RightMissing, "only a calling service may do this"))
    }

    /// The account. Fails INVALID_ARGUMENT for a service that names none.
    pub fn caller(&self) -> Result<Caller, Failure> {
        self.account.ok_or_else(|| Failure::field_missing(ON_BEHALF_OF))
    }

    /// The account's id as keys have it; empty: nobody in particular.
    pub fn viewer(&self) -> String {
        self.account.map(|caller| caller.account_id.to_string()).unwrap_or_default()
    }

    /// The same by itself, whatever account it has or names.
    #[must_use]
    pub fn without_account(self) -> Self {
        Self { account: None, ..self }
    }

    /// Who takes of what callers share.
    pub fn source(&self) -> &Source {
        &self.sources.caller
    }

    /// From where the call comes, whatever account calls.
    pub fn origin(&self) -> &Source {
        &self.sources.origin
    }

    /// Whether nobody is known who asks.
    pub fn is_nobody(&self) -> bool {
        self.account.is_none() && self.principal.is_none()
    }

    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The calling service's name; empty: none calls.
    pub fn principal_name(&self) -> String {
        self.principal.as_ref().map(|principal| principal.name().to_string()).unwrap_or_default()
    }

    /// The id of a command's one record. Under one request id two services ask for two things, as do a service and its account.
    pub fn record_id(&self, rpc: &str, request_id: &RequestId) -> Result<RecordId, Failure> {
        Ok(self.own(ids::record_id(self.caller()?.account_id, rpc, request_id)))
    }

    /// The id, made the asking service's own, if one asks.
    pub fn own(&self, id: RecordId) -> RecordId {
        match &self.principal {
            Some(principal) => ids::by_principal(principal.name(), id),
            None => id,
        }
    }

    fn known<T>(request: &Request<T>) -> Result<Self, Failure> {
        let nobody = Self::nobody(request);
        match request.extensions().get::<Authentication>() {
            Some(Authentication::Caller(caller)) => Ok(Self { account: Some(*caller), ..nobody }),
            Some(Authentication::Service { principal, account }) => {
                if account.is_some() {
                    principal.may(Right::ActAs)?;
                }
                Ok(Self { account: *account, principal: Some(Arc::clone(principal)), ..nobody })
            }
            Some(Authentication::Refused(refused)) => Err((*refused).into()),
            Some(Authentication::Unfit(unfit)) => Err((*unfit).into()),
            Some(Authentication::Anonymous) | None => Err(Failure::unauthenticated("this method needs a bearer token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accounts, Refusals, TokenRefused, Unfit};
    use super::*;

    fn request(authentication: Authentication) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(authentication);
        request
    }

    fn service(rights: &[Right], account: Option<u8>) -> Request<()> {
        let principal = Principal::new("web", rights.iter().copied(), Accounts::Any, Refusals::default());
        let account = account.map(|account| Caller::of(RecordId([account; 16])));
        request(Authentication::Service { principal, account })
    }

    fn reason<T>(result: Result<T, Failure>) -> &'static str {
        result.err().map_or("OK", |failure| failure.reason_name())
    }

    #[test]
    fn a_service_acts_for_the_account_that_it_names_and_reads_for_nobody() {
        let all = [Right::Read, Right::ActAs];
        let acting = Asker::with_account(&service(&all, Some(7))).unwrap();
        assert_eq!(acting.caller().unwrap().account_id, RecordId([7; 16]));
        assert_eq!(Asker::reading(&service(&all, None)).unwrap().viewer(), "");
        assert_eq!(reason(Asker::with_account(&service(&all, None))), "FIELD_INVALID");
        assert_eq!(reason(Asker::reading(&service(&[Right::ActAs], None))), "RIGHT_MISSING");
        for asked in [Asker::with_account, Asker::reading, Asker::anyone] {
            assert_eq!(reason(asked(&service(&[Right::Read], Some(7)))), "RIGHT_MISSING");
        }
    }

    #[test]
    fn only_those_who_ask_who_calls_need_a_token() {
        for authentication in [Authentication::Anonymous, Authentication::Refused(TokenRefused::Expired)] {
            assert!(Asker::anyone(&request(authentication.clone())).is_ok());
            assert!(Asker::reading(&request(authentication.clone())).is_err());
            assert!(Asker::with_account(&request(authentication)).is_err());
        }
        assert!(Asker::anyone(&Request::new(())).is_ok());
        let unfit = || request(Authentication::Unfit(Unfit::OnBehalfOfByNoService));
        assert_eq!(reason(Asker::anyone(&unfit())), "ON_BEHALF_OF_REFUSED");
    }

    #[test]
    fn whoever_cannot_be_known_at_the_moment_is_not_nobody() {
        for (refused, told) in [
            (TokenRefused::KeysMissing, "ISSUER_KEYS_MISSING"),
            (TokenRefused::KeysStale, "ISSUER_KEYS_STALE"),
            (TokenRefused::Unconfirmed, "REVOCATIONS_BEHIND"),
        ] {
            assert_eq!(reason(Asker::anyone(&request(Authentication::Refused(refused)))), told);
        }
    }

    #[test]
    fn the_request_ids_of_two_services_are_two() {
        let request_id = RequestId::parse("request_id", "1", &kith_runtime::Runtime::system()).unwrap();
        let id = |name: Option<&str>| {
            let principal = name.map(|name| Principal::new(name, [], Accounts::Any, Refusals::default()));
            let asker = Asker { account: Some(Caller::of(RecordId([7; 16]))), principal, ..Asker::default() };
            asker.record_id("A", &request_id).unwrap()
        };
        assert_eq!(id(Some("web")), id(Some("web")));
        assert!(id(Some("web")) != id(Some("app")) && id(Some("web")) != id(None));
        assert_eq!(id(None), ids::record_id(RecordId([7; 16]), "A", &request_id));
    }
}
