//! How services are called: in this process or over connections, with the same generated clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_log::{Offset, RecordId};
use kith_service::auth::{
    self, Accounts, Authentication, Caller, Principal, Principals, Refusals, Right, SessionRef, TokenIssuer, Verifier,
};
use kith_service::consistency_token::ConsistencyTokens;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// What a generated client calls through.
pub type Way = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// All services of one process, or of several.
#[derive(Clone)]
pub struct Callers {
    ways: Ways,
    identity: Identity,
    tokens: ConsistencyTokens,
}

#[derive(Clone)]
enum Ways {
    /// One process has all services.
    One(Way),
    /// By the names that operations give services.
    Each(BTreeMap<&'static str, Way>),
}

/// How a caller authenticates.
#[derive(Clone)]
enum Identity {
    /// As the server's layers would have found it out; what names a session is found out by the verifier.
    Known(Arc<TokenIssuer>, Verifier),
    Bearer(Arc<TokenIssuer>),
}

impl Callers {
    /// Handlers of this process, called without the layers of a server. `verifier` checks what `issuer` signs.
    pub fn within(routes: Routes, issuer: TokenIssuer, verifier: Verifier, tokens: ConsistencyTokens) -> Self {
        let way = ServiceExt::<http::Request<Body>>::map_err(routes.prepare(), |never| match never {});
        let identity = Identity::Known(Arc::new(issuer), verifier);
        Self { ways: Ways::One(BoxCloneSyncService::new(way)), identity, tokens }
    }

    /// Servers, by the names of services; `issuer` signs as they do.
    pub fn over(channels: BTreeMap<&'static str, Channel>, issuer: TokenIssuer, tokens: ConsistencyTokens) -> Self {
        let way =
            |channel: Channel| BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(Box::new(error))));
        let ways = channels.into_iter().map(|(service, channel)| (service, way(channel))).collect();
        Self { ways: Ways::Each(ways), identity: Identity::Bearer(Arc::new(issuer)), tokens }
    }

    /// What seals and opens as the services do.
    pub fn tokens(&self) -> &ConsistencyTokens {
        &self.tokens
    }

    /// The way to a service.
    ///
    /// # Panics
    /// For a service that is none.
    pub fn way(&self, service: &str) -> Way {
        match &self.ways {
            Ways::One(way) => way.clone(),
            Ways::Each(ways) => ways[service].clone(),
        }
    }

    /// `message` as `actor` sends it; nobody, if the text is no id.
    pub fn from<T>(&self, actor: &str, message: T) -> Request<T> {
        self.by(actor, None, message)
    }

    /// The same with an access token of a session of the actor.
    pub fn by<T>(&self, actor: &str, session: Option<SessionRef>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let Some(account_id) = RecordId::parse(actor) else { return request };
        let bearer = |issuer: &TokenIssuer| {
            // A session that nothing ends.
            let session = session.unwrap_or(SessionRef { id: account_id, made_at: Offset::MAX });
            let token = issuer.issue(account_id, session).ok()?;
            format!("Bearer {}", token.text).parse::<MetadataValue<_>>().ok()
        };
        match &self.identity {
            Identity::Known(..) if session.is_none() => {
                request.extensions_mut().insert(Authentication::Caller(Caller::of(account_id)));
            }
            Identity::Known(issuer, verifier) => {
                bearer(issuer).map(|bearer| request.metadata_mut().insert("authorization", bearer));
                let headers = request.metadata().clone().into_headers();
                request.extensions_mut().insert(auth::authenticate(verifier, &Principals::default(), &headers, None));
            }
            Identity::Bearer(issuer) => {
                bearer(issuer).map(|bearer| request.metadata_mut().insert("authorization", bearer));
            }
        }
        request
    }

    /// `message` as a service sends it for an account, or by itself, if the text is no id. Fails over connections, where none is known.
    pub fn acting<T>(&self, (name, accounts): (&str, Accounts), actor: &str, message: T) -> Result<Request<T>, Status> {
        let Identity::Known(..) = self.identity else {
            return Err(Status::unimplemented("no calling service is known here"));
        };
        let rights = [Right::ActAs, Right::CreateAccounts, Right::ResetPasswords, Right::Read];
        let principal = Principal::new(name, rights, accounts, Refusals::default());
        let account = RecordId::parse(actor).map(Caller::of);
        let mut request = Request::new(message);
        request.extensions_mut().insert(Authentication::Service { principal, account });
        Ok(request)
    }
}
