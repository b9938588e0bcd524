//! The services of one process, called as its server calls them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use kith_engagement::EngagementService;
use kith_fold::Projection;
use kith_fold::engine::Ports;
use kith_identity::Deps;
use kith_messaging::MessagingService;
use kith_posts::PostsService;
use kith_runtime::Runtime;
use kith_service::auth::{TokenIssuer, Verifier};
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use tonic::service::RoutesBuilder;

use super::callers::Callers;

/// Argon2 as cheap as it takes.
const PASSWORD_MEMORY_KIB: u32 = 8;
const MAX_LAG_RECORDS: u64 = 100_000;

/// The keys that all processes share: made once, from no seed of a history.
pub struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    pub fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        KeyFolder::at(folder.path()).create_missing(&Runtime::system())?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The handlers of all services over the groups of one process (`projections`, as [`crate::digests::groups`] orders
/// them), as the binary makes them.
pub fn handlers(
    ports: &Ports,
    projections: &[Arc<Projection>],
    keys: &Keys,
    backfill_window_seconds: u64,
) -> Result<Callers> {
    let folder = KeyFolder::at(keys.path());
    let page_tokens = Arc::new(PageTokens::new(&[7; 32])?);
    let kit = |n: usize| Arc::new(Kit::new(Arc::clone(&projections[n]), Arc::clone(&page_tokens), MAX_LAG_RECORDS));
    let deps = Deps {
        kit: kit(0),
        issuer: TokenIssuer::new(folder.signing_key()?, ports.runtime.clone()),
        verifier: Verifier::open(keys.path().join("jwks.json"), ports.runtime.clone())?,
        password_memory_kib: PASSWORD_MEMORY_KIB,
        backfill_window_seconds,
        reserved_handles: Default::default(),
    };
    let mut routes = RoutesBuilder::default();
    kith_identity::add_to(&mut routes, deps)?;
    PostsService::new(kit(1)).add_to(&mut routes);
    EngagementService::new(kit(2)).add_to(&mut routes);
    MessagingService::new(kit(3)).add_to(&mut routes);
    kith_projector::add_to(&mut routes, kit(4));
    Ok(Callers::within(routes.routes()))
}
