//! The service's RPCs: parse, who calls, the state at least as new as asked, decide, append, answer with a token.

mod account;
mod graph;
mod session;

use std::sync::Arc;

use kith_fold::WaitError;
use kith_proto::identity::v1::account_service_server::{self, AccountServiceServer};
use kith_proto::identity::v1::graph_service_server::{self, GraphServiceServer};
use kith_proto::identity::v1::session_service_server::{self, SessionServiceServer};
use kith_service::auth::{TokenIssuer, Verifier};
use kith_service::kit::Kit;
use kith_service::{Failure, limited, limits};
use kith_tables::StoreError;
use kith_text::handle::ReservedHandles;
use tonic::service::RoutesBuilder;

use crate::password::PasswordHasher;

/// What the service needs.
pub struct Deps {
    pub kit: Arc<Kit>,
    /// Makes access tokens.
    pub issuer: TokenIssuer,
    /// Knows the public keys that they are verified with.
    pub verifier: Verifier,
    /// What one password hash takes, in KiB.
    pub password_memory_kib: u32,
    /// How far back before a follow the other's posts belong in the home feed.
    pub backfill_window_seconds: u64,
    /// Handles that no new account can have.
    pub reserved_handles: ReservedHandles,
}

/// The service's handlers; clones share everything.
#[derive(Clone)]
pub struct IdentityService {
    shared: Arc<Shared>,
}

struct Shared {
    kit: Arc<Kit>,
    issuer: TokenIssuer,
    verifier: Verifier,
    passwords: PasswordHasher,
    backfill_window_seconds: u32,
    reserved_handles: ReservedHandles,
}

impl IdentityService {
    /// Fails when the memory of a password hash is not one that argon2 takes.
    pub fn new(deps: Deps) -> Result<Self, Failure> {
        let passwords = PasswordHasher::new(deps.kit.runtime.clone(), deps.password_memory_kib)?;
        let backfill_window_seconds = u32::try_from(deps.backfill_window_seconds).unwrap_or(u32::MAX);
        let Deps { kit, issuer, verifier, reserved_handles, .. } = deps;
        let shared = Shared { kit, issuer, verifier, passwords, backfill_window_seconds, reserved_handles };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Adds the service's three gRPC services to those of the process; gives their full names.
    pub fn add_to(&self, routes: &mut RoutesBuilder) -> Vec<&'static str> {
        routes.add_service(limited!(AccountServiceServer::new(self.clone())));
        routes.add_service(limited!(SessionServiceServer::new(self.clone())));
        routes.add_service(limited!(GraphServiceServer::new(self.clone())));
        vec![
            account_service_server::SERVICE_NAME,
            session_service_server::SERVICE_NAME,
            graph_service_server::SERVICE_NAME,
        ]
    }

    fn kit(&self) -> &Kit {
        &self.shared.kit
    }
}

/// Why a command that is in the log cannot be answered: nothing that says that nothing was written.
fn after_append(error: WaitError) -> Failure {
    match error {
        WaitError::Behind { .. } => Failure::deadline_exceeded(),
        WaitError::Stopped { .. } => Failure::fold_stopped(),
        WaitError::Store(error) => store_after_append(error),
    }
}

fn store_after_append(error: StoreError) -> Failure {
    tracing::warn!(%error, "the tables did not answer after an append");
    Failure::outcome_unknown()
}

/// Refuses more than a batch.
fn batch(field: &str, items: &[String]) -> Result<(), Failure> {
    if items.len() > limits::BATCH_ITEMS {
        return Err(Failure::batch_too_long(field, items.len()));
    }
    Ok(())
}
