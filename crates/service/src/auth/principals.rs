//! The calling services that a process knows: from the callers' file, which may change while the process runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use kith_proto::security::v1::SecurityKind;
use kith_runtime::{Runtime, UnixMillis};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::issuer::{Issuer, IssuerKeys, KeySource, issuer_named_by};
use super::verifier::Stamp;
use super::{CallersError, CallersFile, Principal, Refusals, TokenRefused};
use crate::ids::hash;
use crate::keys::read_bounded;
use crate::peer::PeerIdentity;
use crate::security::Happened;

/// As which word it is noted that the callers' file was read.
const CALLERS_READ: &str = "callers-file";
/// How often the files are checked for a change.
const REREAD_EVERY: Duration = Duration::from_secs(5);
/// Cached verified tokens: services use each of theirs for long.
const VERIFIED_TOKENS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

/// Knows calling services; clones share all. The default knows none.
#[derive(Clone, Default)]
pub struct Principals {
    shared: Option<Arc<Shared>>,
}

/// Whom a trusted issuer's token proves: issuer and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    /// SHA-256 of issuer and subject, hexadecimal: the subject itself is kept nowhere.
    pub key: String,
    /// SHA-256 of the token, hexadecimal.
    pub token_key: String,
    /// To which client the token was issued.
    pub party: Option<String>,
}

struct Shared {
    runtime: Runtime,
    file: PathBuf,
    refusals: Refusals,
    known: RwLock<Arc<Known>>,
    verified: Mutex<LruCache<[u8; 32], Verified>>,
}

/// What the files said at one time.
struct Known {
    generation: u64,
    stamps: Vec<(PathBuf, Stamp)>,
    callers: CallersFile,
    keys: BTreeMap<Arc<str>, IssuerKeys>,
}

#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    expires_at_ms: UnixMillis,
    /// A cached token is valid only with the files that it was verified by.
    generation: u64,
}

impl Principals {
    /// Reads the file and the keys that it names (inside tokio's runtime), and checks them for changes every 5 s while a clone
    /// lives. Blocks briefly. If a file becomes unreadable, all stays as it was, with a warning.
    pub fn open(file: PathBuf, runtime: Runtime, refusals: Refusals) -> Result<Self, CallersError> {
        let known = Known::read(&file, &refusals, 0)?;
        // `new` would allocate all its memory at once.
        let mut verified = LruCache::unbounded();
        verified.resize(VERIFIED_TOKENS);
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            file,
            refusals,
            known: RwLock::new(Arc::new(known)),
            verified: Mutex::new(verified),
        });
        shared.refusals.security().note(Happened::new(SecurityKind::KeysRead, CALLERS_READ));
        runtime.clone().spawn(follow(runtime, Arc::downgrade(&shared)));
        Ok(Self { shared: Some(shared) })
    }

    /// Reads the file and the keys that it names once, to tell what is wrong with them.
    pub fn check(file: &Path) -> Result<CallersFile, CallersError> {
        Ok(Known::read(file, &Refusals::default(), 0)?.callers)
    }

    /// The service that proves itself by the token; `None`: it names no trusted issuer.
    pub fn of_token(&self, token: &str) -> Option<Result<Arc<Principal>, TokenRefused>> {
        let shared = self.shared.as_ref()?;
        let known = shared.known();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let verified = match shared.remembered(&digest, known.generation) {
            Some(verified) => verified,
            None => {
                let (issuer, keys) = known.issuer_of(token)?;
                match known.verify(issuer, keys, token, shared.runtime.now_ms()) {
                    Ok(verified) => shared.remember(digest, verified),
                    Err(refused) => return Some(Err(refused)),
                }
            }
        };
        let is_valid = shared.runtime.now_ms() < verified.expires_at_ms;
        Some(if is_valid { Ok(verified.principal) } else { Err(TokenRefused::Expired) })
    }

    /// Whom a trusted issuer's token proves, whether or not the callers' file names it.
    pub fn identity_of(&self, token: &str) -> Result<Identity, TokenRefused> {
        let shared = self.shared.as_ref().ok_or(TokenRefused::Untrusted)?;
        let known = shared.known();
        let (issuer, keys) = known.issuer_of(token).ok_or(TokenRefused::Untrusted)?;
        let proof = issuer.verify(keys, token, shared.runtime.now_ms())?;
        let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = hash("kith.identity.v1", &[issuer.name.as_bytes(), proof.subject.as_bytes()]);
        // Without the signature: of one content there may be several that verify (ECDSA).
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let token_key = hex(Sha256::digest(signed).into());
        Ok(Identity { issuer: issuer.name.to_string(), key: hex(key), token_key, party: proof.party })
    }

    /// The service that has one of these names in its certificate.
    pub fn of_peer(&self, peer: &PeerIdentity) -> Option<Arc<Principal>> {
        let known = self.shared.as_ref()?.known();
        peer.names.iter().find_map(|name| known.callers.by_peer.get(name)).cloned()
    }
}

impl Shared {
    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn verified(&self) -> MutexGuard<'_, LruCache<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, digest: &[u8; 32], generation: u64) -> Option<Verified> {
        self.verified().get(digest).filter(|verified| verified.generation == generation).cloned()
    }

    fn remember(&self, digest: [u8; 32], verified: Verified) -> Verified {
        self.verified().put(digest, verified.clone());
        verified
    }

    fn reread_if_changed(&self) {
        let now = self.known();
        if now.stamps.iter().all(|(path, stamp)| Stamp::of(path).is_ok_and(|found| found == *stamp)) {
            return;
        }
        match Known::read(&self.file, &self.refusals, now.generation + 1) {
            Ok(known) => {
                let (issuers, principals) = known.callers.counts();
                tracing::info!(issuers, principals, "the callers' file was read again");
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
                self.refusals.security().note(Happened::new(SecurityKind::KeysRead, CALLERS_READ));
            }
            Err(error) => tracing::warn!(%error, "calling services stay as they were"),
        }
    }
}

async fn follow(runtime: Runtime, shared: Weak<Shared>) {
    loop {
        runtime.sleep(REREAD_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        runtime.blocking(move || shared.reread_if_changed()).await;
    }
}

impl Known {
    fn read(file: &Path, refusals: &Refusals, generation: u64) -> Result<Self, CallersError> {
        // Stamps are taken first: a change in between is then detected the next time.
        let mut stamps = vec![(file.to_owned(), stamp(file)?)];
        let callers = CallersFile::read(file, refusals)?;
        let mut keys = BTreeMap::new();
        for issuer in callers.issuers.values() {
            let KeySource::File(path) = &issuer.keys;
            // As the file itself was named: beside it.
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            stamps.push((path.clone(), stamp(&path)?));
            keys.insert(Arc::clone(&issuer.name), keys_in(path, issuer)?);
        }
        Ok(Self { generation, stamps, callers, keys })
    }

    /// The trusted issuer that the token names.
    fn issuer_of(&self, token: &str) -> Option<(&Issuer, &IssuerKeys)> {
        let issuer = self.callers.issuers.get(&*issuer_named_by(token)?)?;
        Some((issuer, self.keys.get(&issuer.name)?))
    }

    fn verify(
        &self,
        issuer: &Issuer,
        keys: &IssuerKeys,
        token: &str,
        now_ms: UnixMillis,
    ) -> Result<Verified, TokenRefused> {
        let proof = issuer.verify(keys, token, now_ms)?;
        let principal = self.callers.by_subject.get(&(Arc::clone(&issuer.name), proof.subject));
        let principal = principal.cloned().ok_or(TokenRefused::Untrusted)?;
        Ok(Verified { principal, expires_at_ms: proof.expires_at_ms, generation: self.generation })
    }
}

fn stamp(path: &Path) -> Result<Stamp, CallersError> {
    Stamp::of(path).map_err(|error| unreadable(path, error))
}

fn keys_in(path: PathBuf, issuer: &Issuer) -> Result<IssuerKeys, CallersError> {
    let json = read_bounded(&path).map_err(|error| unreadable(&path, error))?;
    IssuerKeys::parse(&json, issuer.algorithm).ok_or(CallersError::Keys { path, algorithm: issuer.algorithm })
}

fn unreadable(path: &Path, error: crate::keys::KeyError) -> CallersError {
    let error = match error {
        crate::keys::KeyError::File { error, .. } => error,
        other => std::io::Error::other(other),
    };
    CallersError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
