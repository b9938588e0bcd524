//! A request taken apart, and what every handler's result goes through.

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
