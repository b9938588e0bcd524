//! The services of one process, called as its server calls them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kith::services::{RELEASE, Serving};
use kith_fold::Projection;
use kith_fold::engine::Ports;
use kith_runtime::Runtime;
use kith_service::auth::{CallersMetrics, KeyTransport, Principals, Revocations, TokenIssuer, Verifier};
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use kith_service::rate::Refused;
use tonic::service::RoutesBuilder;

use super::callers::Callers;
use super::people;
use crate::digests;

/// Argon2 as cheap as it takes.
const PASSWORD_MEMORY_KIB: u32 = 8;
/// Shorter than any setting: each use of a refresh token gives the next.
const REFRESH_TOKEN_ROTATES_SECONDS: u64 = 0;
const MAX_LAG_RECORDS: u64 = 100_000;
/// The threshold of pulling, which handlers do not ask.
const ONLY_FOLDS_NEED_IT: u64 = 0;

/// The keys that all processes share: made once, from no seed of a history.
pub struct Keys {
    folder: tempfile::TempDir,
    callers: PathBuf,
}

impl Keys {
    pub fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        KeyFolder::at(folder.path()).create_missing(&Runtime::system())?;
        let callers = people::write(folder.path())?;
        Ok(Self { folder, callers })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The handlers of all services over the groups of one process, as the binary makes them.
pub fn handlers(
    ports: &Ports,
    projections: &[Arc<Projection>],
    revocations: Revocations,
    keys: &Keys,
    backfill_window_seconds: u64,
) -> Result<Callers> {
    let page_tokens = Arc::new(PageTokens::new(&[7; 32])?);
    // Nonces are of no seed: nothing that is compared depends on them.
    let key = KeyFolder::at(keys.path()).consistency_token_key()?;
    let tokens = ConsistencyTokens::new(key, ports.log.partition_count(), Runtime::system())?;
    let seals = || (Arc::clone(&page_tokens), tokens.clone());
    let kit = |of: &Arc<Projection>| Arc::new(Kit::new(Arc::clone(of), seals(), MAX_LAG_RECORDS));
    let mut settings = digests::settings(ONLY_FOLDS_NEED_IT, ports.log.partition_count())?;
    settings.keys_dir = keys.path().to_owned();
    settings.password_memory_kib = PASSWORD_MEMORY_KIB;
    settings.backfill_window_seconds = backfill_window_seconds;
    settings.refresh_token_rotates_seconds = REFRESH_TOKEN_ROTATES_SECONDS;
    let verifier = Verifier::open(settings.jwks_file(), ports.runtime.clone())?.heeding(Arc::new(revocations));
    let issuer = TokenIssuer::new(KeyFolder::at(keys.path()).signing_key()?, ports.runtime.clone());
    let kits = projections.iter().map(|of| (of.group_name(), kit(of))).collect();
    let principals = Principals::open(
        keys.callers.clone(),
        KeyTransport::LoopbackToo,
        ports.runtime.clone(),
        CallersMetrics::default(),
    )?;
    let refused = Refused::default();
    let serving =
        Serving { kits, settings: &settings, verifier: &verifier, principals: &principals, refused: &refused };
    let mut routes = RoutesBuilder::default();
    for service in RELEASE.0 {
        (service.add_to)(&mut routes, &serving)?;
    }
    Ok(Callers::within(routes.routes(), issuer, verifier, tokens))
}
