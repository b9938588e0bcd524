//! The calling services that a process knows: from the callers' file, which may change while the process runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_live::{Contents, Live};
use kith_proto::security::v1::SecurityKind;
use kith_runtime::{Runtime, UnixMillis};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::fetched::{self, FetchError, FetchedKeys, KeyFetches};
use super::issuer::{Issuer, IssuerKeys, KeySource, Proof, issuer_named_by};
use super::key_url::KeyTransport;
use super::{CallersError, CallersFile, Principal, Refusals, TokenRefused, callers_file};
use crate::ids::hash;
use crate::keys::read_bounded;
use crate::metrics::Metrics;
use crate::peer::PeerIdentity;
use crate::security::{Happened, Security};

/// As which word it is noted that the callers' file was read.
const CALLERS_READ: &str = "callers-file";
/// Cached verified tokens: services use each of theirs for long.
const VERIFIED_TOKENS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

/// Knows calling services; clones share all. The default knows none.
#[derive(Clone, Default)]
pub struct Principals {
    shared: Option<Arc<Shared>>,
}

/// What is counted of calling services; clones share it.
#[derive(Clone, Default)]
pub struct CallersMetrics {
    refusals: Refusals,
    fetches: KeyFetches,
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
    known: Arc<Live<Known, CallersError>>,
    verified: Mutex<LruCache<[u8; 32], Verified>>,
}

/// What the files said at one time.
struct Known {
    generation: u64,
    callers: CallersFile,
    keys: BTreeMap<Arc<str>, Keys>,
}

/// An issuer's keys.
#[derive(Clone)]
enum Keys {
    /// Out of its file.
    Read(Arc<IssuerKeys>),
    Fetched(Arc<FetchedKeys>),
}

#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    issuer: Arc<str>,
    expires_at_ms: UnixMillis,
    /// A cached token is valid only with the files, and the version of fetched keys, that it was verified by.
    by: (u64, u64),
}

/// Makes what a process knows of the callers' file.
struct Maker {
    file: PathBuf,
    over: KeyTransport,
    runtime: Runtime,
    metrics: CallersMetrics,
    /// What it made last: keys that are fetched already are not fetched anew.
    last: Mutex<(u64, BTreeMap<Arc<str>, Keys>)>,
}

impl CallersMetrics {
    /// Registers them; once per process.
    pub fn register(metrics: &Metrics, security: &Security) -> Self {
        Self { refusals: Refusals::register(metrics, security), fetches: KeyFetches::register(metrics) }
    }
}

impl Principals {
    /// Reads the file and the files of keys that it names (inside tokio's runtime), and checks them for changes every 5 s while a clone
    /// lives. Blocks briefly. If a file becomes unreadable, all stays as it was, and the log says so. Keys at a URL are fetched from
    /// now on; it does not wait for them.
    pub fn open(
        file: PathBuf,
        over: KeyTransport,
        runtime: Runtime,
        metrics: CallersMetrics,
    ) -> Result<Self, CallersError> {
        let read = {
            let file = file.clone();
            move || read_all(&file, over).map(|(contents, _)| contents)
        };
        let maker = Maker { file, over, runtime: runtime.clone(), metrics, last: Mutex::default() };
        let known = Live::open("the callers' file", read, move |contents| maker.make(contents))?;
        known.follow(&runtime);
        // `new` would allocate all its memory at once.
        let mut verified = LruCache::unbounded();
        verified.resize(VERIFIED_TOKENS);
        Ok(Self { shared: Some(Arc::new(Shared { runtime, known, verified: Mutex::new(verified) })) })
    }

    /// Reads the file and the files of keys that it names once, to tell what is wrong with them.
    pub fn check(file: &Path, over: KeyTransport) -> Result<CallersFile, CallersError> {
        let (contents, callers) = read_all(file, over)?;
        keys_in_files(&callers, &contents)?;
        Ok(callers)
    }

    /// Fetches the keys of each issuer that has them at a URL once: the URL, and how many fit.
    pub async fn look(callers: &CallersFile, runtime: &Runtime) -> Vec<(String, Result<usize, FetchError>)> {
        let looks = callers.by_url().map(async |(issuer, url)| {
            let found = fetched::look(issuer, url, runtime).await;
            (url.to_string(), found)
        });
        futures::future::join_all(looks).await
    }

    /// The service that proves itself by the token; `None`: it names no trusted issuer.
    pub fn of_token(&self, token: &str) -> Option<Result<Arc<Principal>, TokenRefused>> {
        let shared = self.shared.as_ref()?;
        let known = shared.known.current();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let verified = match shared.remembered(&digest, &known) {
            Some(verified) => Ok(verified),
            None => {
                let issuer = known.issuer_of(token)?;
                known.verify(issuer, token, shared.runtime.now_ms()).map(|verified| shared.remember(digest, verified))
            }
        };
        let now_ms = shared.runtime.now_ms();
        Some(verified.and_then(|verified| match now_ms < verified.expires_at_ms {
            true => Ok(verified.principal),
            false => Err(TokenRefused::Expired),
        }))
    }

    /// Whom a trusted issuer's token proves, whether or not the callers' file names it.
    pub fn identity_of(&self, token: &str) -> Result<Identity, TokenRefused> {
        let shared = self.shared.as_ref().ok_or(TokenRefused::Untrusted)?;
        let known = shared.known.current();
        let issuer = known.issuer_of(token).ok_or(TokenRefused::Untrusted)?;
        let (proof, _) = known.prove(issuer, token, shared.runtime.now_ms())?;
        let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = hash("kith.identity.v1", &[issuer.name.as_bytes(), proof.subject.as_bytes()]);
        // Without the signature: of one content there may be several that verify (ECDSA).
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let token_key = hex(Sha256::digest(signed).into());
        Ok(Identity { issuer: issuer.name.to_string(), key: hex(key), token_key, party: proof.party })
    }

    /// The service that has one of these names in its certificate.
    pub fn of_peer(&self, peer: &PeerIdentity) -> Option<Arc<Principal>> {
        let known = self.shared.as_ref()?.known.current();
        peer.names.iter().find_map(|name| known.callers.by_peer.get(name)).cloned()
    }
}

impl Shared {
    fn verified(&self) -> MutexGuard<'_, LruCache<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, digest: &[u8; 32], known: &Known) -> Option<Verified> {
        let verified = self.verified().get(digest).cloned()?;
        let (_, version) = known.keys.get(&verified.issuer)?.current().ok()?;
        (verified.by == (known.generation, version)).then_some(verified)
    }

    fn remember(&self, digest: [u8; 32], verified: Verified) -> Verified {
        self.verified().put(digest, verified.clone());
        verified
    }
}

impl Keys {
    /// With their version, if they may change without a file that does.
    fn current(&self) -> Result<(Arc<IssuerKeys>, u64), TokenRefused> {
        match self {
            Self::Read(keys) => Ok((Arc::clone(keys), 0)),
            Self::Fetched(keys) => keys.current(),
        }
    }

    /// A token names a key that is not among them.
    fn want(&self) {
        match self {
            Self::Read(_) => {}
            Self::Fetched(keys) => keys.want(),
        }
    }
}

impl Known {
    /// The trusted issuer that the token names.
    fn issuer_of(&self, token: &str) -> Option<&Issuer> {
        self.callers.issuers.get(&*issuer_named_by(token)?)
    }

    /// Whom the token proves, and by which version of the issuer's keys.
    fn prove(&self, issuer: &Issuer, token: &str, now_ms: UnixMillis) -> Result<(Proof, u64), TokenRefused> {
        let source = self.keys.get(&issuer.name).ok_or(TokenRefused::Untrusted)?;
        let (keys, version) = source.current()?;
        let proof = issuer.verify(&keys, token, now_ms);
        if proof == Err(TokenRefused::KeyUnknown) {
            source.want();
        }
        Ok((proof?, version))
    }

    fn verify(&self, issuer: &Issuer, token: &str, now_ms: UnixMillis) -> Result<Verified, TokenRefused> {
        let (proof, version) = self.prove(issuer, token, now_ms)?;
        let issuer = Arc::clone(&issuer.name);
        let principal = self.callers.by_subject.get(&(Arc::clone(&issuer), proof.subject));
        let principal = principal.cloned().ok_or(TokenRefused::Untrusted)?;
        Ok(Verified { principal, issuer, expires_at_ms: proof.expires_at_ms, by: (self.generation, version) })
    }
}

impl Maker {
    fn make(&self, contents: &[Vec<u8>]) -> Result<Known, CallersError> {
        let text = contents.first().map_or(&[][..], Vec::as_slice);
        let callers = CallersFile::parse(&self.file, text, self.over, &self.metrics.refusals)?;
        let mut keys = keys_in_files(&callers, contents)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, before) = &mut *last;
        for (issuer, url) in callers.by_url() {
            let fetched = match before.get(&issuer.name) {
                Some(Keys::Fetched(keys)) if keys.are_of(issuer, url) => Arc::clone(keys),
                _ => {
                    let CallersMetrics { refusals, fetches } = &self.metrics;
                    FetchedKeys::follow(issuer, url, &self.runtime, fetches, refusals.security())
                }
            };
            keys.insert(Arc::clone(&issuer.name), Keys::Fetched(fetched));
        }
        *generation += 1;
        *before = keys.clone();
        self.metrics.refusals.security().note(Happened::new(SecurityKind::KeysRead, CALLERS_READ));
        Ok(Known { generation: *generation, callers, keys })
    }
}

/// The callers' file, and behind it the files of keys in the order of their issuers.
fn read_all(file: &Path, over: KeyTransport) -> Result<(Contents, CallersFile), CallersError> {
    let text = callers_file::read(file)?;
    let callers = CallersFile::parse(file, &text, over, &Refusals::default())?;
    let mut contents = vec![text];
    for (_, path) in files_of_keys(&callers) {
        contents.push(read_bounded(path).map_err(|error| unreadable(path, error))?);
    }
    Ok((contents, callers))
}

fn files_of_keys(callers: &CallersFile) -> impl Iterator<Item = (&Issuer, &Path)> {
    callers.issuers.values().filter_map(|issuer| match &issuer.keys {
        KeySource::File(path) => Some((issuer, path.as_path())),
        KeySource::Url(_) => None,
    })
}

/// `contents`: as [`read_all`] gives them.
fn keys_in_files(callers: &CallersFile, contents: &[Vec<u8>]) -> Result<BTreeMap<Arc<str>, Keys>, CallersError> {
    let keys = files_of_keys(callers).zip(contents.iter().skip(1)).map(|((issuer, path), json)| {
        let unfit = || CallersError::Keys { path: path.to_owned(), algorithm: issuer.algorithm };
        let keys = IssuerKeys::parse(json, issuer.algorithm).ok_or_else(unfit)?;
        Ok((Arc::clone(&issuer.name), Keys::Read(Arc::new(keys))))
    });
    keys.collect()
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
