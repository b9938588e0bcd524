//! A request taken apart, and how a gRPC service names the handler of each of its methods.

use std::future::Future;

use kith_proto::rpc::{Rpc, TakesIncomplete};
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
    caller: Caller,
    pub deadline: Deadline,
    pub request: R::Request,
}

impl<R: Rpc> Call<R> {
    /// Fails UNAUTHENTICATED without a good bearer token.
    pub fn of(request: Request<R::Request>) -> Result<Self, Status> {
        let caller = auth::caller(&request)?;
        Ok(Self { caller, deadline: deadline(&request), request: request.into_inner() })
    }

    /// The account that calls.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Its id as keys have it.
    pub fn viewer(&self) -> String {
        self.caller.account_id.to_string()
    }
}

/// What every handler's result goes through on its way to the caller: folds that stand still are said.
pub async fn answered<T>(
    service: &impl Handlers,
    handle: impl Future<Output = Result<T, Failure>>,
    incomplete: impl FnOnce(&mut T),
) -> Result<Response<T>, Status> {
    Ok(Response::new(service.kit().candid(handle, incomplete).await?))
}

/// Says of an answer that something may be missing in it.
pub fn cut_short(answer: &mut impl TakesIncomplete) {
    answer.set_incomplete(true);
}

/// Implements a gRPC service: a line per method.
///
/// `command method: Rpc => Noun` runs [`crate::command`]; `contest` the same with a verdict to wait for; `read` and `list`
/// run [`crate::query`].
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
        $crate::call::answered($self, $crate::command::run::<$noun, $rpc>($self, call), |_| {}).await
    }};
    (@ contest $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $crate::contest::run::<$noun, $rpc>($self, call), |_| {}).await
    }};
    (@ read $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $crate::query::read::<$noun, $rpc>($self, call), $crate::call::cut_short).await
    }};
    (@ list $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $crate::query::list::<$noun, $rpc>($self, call), $crate::call::cut_short).await
    }};
}
