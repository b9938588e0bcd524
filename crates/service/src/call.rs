//! A parsed request, and the common path of every handler's result.

use std::future::Future;

use kith_proto::rpc::{Rpc, TakesIncomplete};
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::auth::Asker;
use crate::deadline::{Deadline, deadline};
use crate::kit::Kit;

/// The type that implements a service crate's gRPC services, which share one kit.
pub trait Handlers: Send + Sync + 'static {
    fn kit(&self) -> &Kit;
}

/// Who asks, request, deadline.
pub struct Call<R: Rpc> {
    pub asker: Asker,
    pub deadline: Deadline,
    pub request: R::Request,
}

impl<R: Rpc> Call<R> {
    /// For an RPC that needs an account: see [`Asker::with_account`].
    pub fn of(request: Request<R::Request>) -> Result<Self, Status> {
        let asker = Asker::with_account(&request)?;
        Ok(Self { asker, deadline: deadline(&request), request: request.into_inner() })
    }

    /// For an RPC that reads; with `is_public` a calling service may read as nobody in particular.
    pub fn reading(request: Request<R::Request>, is_public: bool) -> Result<Self, Status> {
        if !is_public {
            return Self::of(request);
        }
        let asker = Asker::reading(&request)?;
        Ok(Self { asker, deadline: deadline(&request), request: request.into_inner() })
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
