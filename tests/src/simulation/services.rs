//! The services of one process, called as the server calls them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use kith_engagement::EngagementService;
use kith_fold::Projection;
use kith_fold::engine::Ports;
use kith_identity::{Deps, IdentityService};
use kith_log::RecordId;
use kith_messaging::MessagingService;
use kith_posts::PostsService;
use kith_projector::Feeds;
use kith_runtime::Runtime;
use kith_service::auth::{Authentication, Caller, TokenIssuer, Verifier};
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use tonic::Request;

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

pub struct Services {
    pub identity: IdentityService,
    pub posts: PostsService,
    pub engagement: EngagementService,
    pub messaging: MessagingService,
    pub feeds: Feeds,
}

impl Services {
    /// `projections`: as [`crate::digests::groups`] orders them.
    pub fn over(
        ports: &Ports,
        projections: &[Arc<Projection>],
        keys: &Keys,
        backfill_window_seconds: u64,
    ) -> Result<Self> {
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
        Ok(Self {
            identity: IdentityService::new(deps)?,
            posts: PostsService::new(kit(1)),
            engagement: EngagementService::new(kit(2)),
            messaging: MessagingService::new(kit(3)),
            feeds: Feeds::new(kit(4)),
        })
    }
}

/// `message` as `account` sends it; nobody, if the text is no id.
pub fn from<T>(account: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(account_id) = RecordId::parse(account) {
        request.extensions_mut().insert(Authentication::Caller(Caller { account_id }));
    }
    request
}
