//! A request taken apart, and how a gRPC service names the handler of each of its methods.

use kith_proto::rpc::Rpc;
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::auth::{self, Caller};
use crate::deadline::{Deadline, deadline};
use crate::kit::Kit;

/// What implements the gRPC services of a service crate: they share one kit.
pub trait Handlers: Send + Sync + 'static {
    fn kit(&self) -> &Kit;
}

/// Who calls, what is asked, how long there is.
pub struct Call<R: Rpc> {
    /// `None` only for a method that serves callers without a token.
    caller: Option<Caller>,
    pub deadline: Deadline,
    pub request: R::Request,
}

impl<R: Rpc> Call<R> {
    /// Fails UNAUTHENTICATED without a good bearer token.
    pub fn of(request: Request<R::Request>) -> Result<Self, Status> {
        let caller = Some(auth::caller(&request)?);
        Ok(Self { caller, deadline: deadline(&request), request: request.into_inner() })
    }

    /// For a method that needs no caller. A refused token is no hindrance: a client whose token has expired makes a new
    /// session with it attached.
    pub fn of_anybody(request: Request<R::Request>) -> Self {
        Self { caller: None, deadline: deadline(&request), request: request.into_inner() }
    }

    /// The account that calls; of anybody's call none.
    pub fn caller(&self) -> Option<Caller> {
        self.caller
    }

    /// Its id as keys have it; empty for anybody.
    pub fn viewer(&self) -> String {
        self.caller.map(|caller| caller.account_id.to_string()).unwrap_or_default()
    }
}

/// What every handler's result goes through on its way to the caller.
pub fn answered<T>(handled: Result<T, Failure>) -> Result<Response<T>, Status> {
    Ok(Response::new(handled?))
}

/// Implements a gRPC service: a line per method.
///
/// `command method: Rpc => Noun` runs [`crate::command`]; `contest` the same with a verdict to wait for; `read` and `list`
/// run [`crate::query`]; `anybody` and `handle` call a function of one's own, `async fn(&Service, Call<Rpc>) ->
/// Result<Response, Failure>`, the first also for callers without a token.
#[macro_export]
macro_rules! rpcs {
    ($trait:path => $service:ty { $($how:ident $method:ident: $rpc:ty => $by:tt $(:: $more:tt)* ),+ $(,)? }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<<$rpc as kith_proto::rpc::Rpc>::Request>,
                ) -> Result<tonic::Response<<$rpc as kith_proto::rpc::Rpc>::Response>, tonic::Status> {
                    $crate::rpcs!(@ $how self, request, $rpc, $by $(:: $more)*)
                }
            )+
        }
    };
    (@ command $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($crate::command::run::<$noun, $rpc>($self, call).await)
    }};
    (@ contest $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($crate::contest::run::<$noun, $rpc>($self, call).await)
    }};
    (@ read $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($crate::query::read::<$noun, $rpc>($self, call).await)
    }};
    (@ list $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($crate::query::list::<$noun, $rpc>($self, call).await)
    }};
    (@ handle $self:ident, $request:ident, $rpc:ty, $handler:path) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($handler($self, call).await)
    }};
    (@ anybody $self:ident, $request:ident, $rpc:ty, $handler:path) => {
        $crate::call::answered($handler($self, $crate::call::Call::<$rpc>::of_anybody($request)).await)
    };
}
