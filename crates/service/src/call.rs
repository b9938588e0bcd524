//! A parsed request, and the common path of every handler's result.

use std::future::Future;

use kith_proto::rpc::{Rpc, TakesIncomplete};
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::auth::{self, Caller};
use crate::deadline::{Deadline, deadline};
use crate::kit::Kit;

/// The type that implements a service crate's gRPC services, which share one kit.
pub trait Handlers: Send + Sync + 'static {
    fn kit(&self) -> &Kit;
}

/// Caller, request, deadline.
pub struct Call<R: Rpc> {
    caller: Caller,
    pub deadline: Deadline,
    pub request: R::Request,
}

impl<R: Rpc> Call<R> {
    /// Fails UNAUTHENTICATED without a valid bearer token.
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

/// The common path of every handler's result: reports folds that stand still.
pub async fn answered<T>(
    service: &impl Handlers,
    handle: impl Future<Output = Result<T, Failure>>,
    incomplete: impl FnOnce(&mut T),
) -> Result<Response<T>, Status> {
    Ok(Response::new(service.kit().candid(handle, incomplete).await?))
}

/// Marks an answer as incomplete.
pub fn cut_short(answer: &mut impl TakesIncomplete) {
    answer.set_incomplete(true);
}
