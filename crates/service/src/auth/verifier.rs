//! Verifying access tokens from a file of public keys, which may change while the process runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use kith_live::Live;
use kith_log::RecordId;
use kith_proto::security::v1::SecurityKind;
use kith_runtime::{Runtime, UnixMillis};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::refused::TokenRefused;
use super::revocations::Revocations;
use super::token::Claims;
use super::{AUDIENCE, Caller, ISSUER, SessionRef};
use crate::jwks::JwkSet;
use crate::keys::{KeyError, read_bounded};
use crate::limits::BEARER_TOKEN_BYTES;
use crate::security::{Happened, Security};

/// The ids of so many public keys are noted: during a rotation there are two.
const KEYS_NOTED: usize = 4;
/// Cached verified tokens, about 100 bytes each: a signature costs some 50 µs, a look-up under one.
const VERIFIED_TOKENS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// Verifies access tokens; clones share keys and cache.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
    /// `None`: no session counts as ended.
    revocations: Option<Arc<Revocations>>,
}

struct Shared {
    runtime: Runtime,
    keys: Arc<Live<Keys, KeyError>>,
    verified: Mutex<LruCache<[u8; 32], Verified>>,
    validation: Validation,
    /// Where it is noted which keys are known.
    security: Arc<OnceLock<Security>>,
}

/// The keys of the file at one time.
struct Keys {
    generation: u64,
    set: JwkSet,
    decoding: BTreeMap<String, DecodingKey>,
}

#[derive(Clone, Copy)]
struct Verified {
    account_id: RecordId,
    session: SessionRef,
    issued_at_ms: UnixMillis,
    expires_at_ms: UnixMillis,
    /// A cached token is valid only with the keys that verified it.
    generation: u64,
}

impl Verifier {
    /// Reads the keys (inside tokio's runtime), and checks the file for changes every 5 s while a clone of the verifier
    /// lives. Blocks briefly. If the file becomes unreadable, the keys stay, and the log says so.
    pub fn open(file: PathBuf, runtime: Runtime) -> Result<Self, KeyError> {
        let (read, made) = (file.clone(), AtomicU64::new(0));
        let security = Arc::<OnceLock<Security>>::default();
        let noted_in = Arc::clone(&security);
        let keys = Live::open(
            "the public keys of access tokens",
            move || Ok(vec![read_bounded(&read)?]),
            move |contents| {
                let keys = Keys::of(&file, contents, made.fetch_add(1, Ordering::Relaxed))?;
                noted_in.get().into_iter().for_each(|security| keys.note(security));
                Ok(keys)
            },
        )?;
        keys.follow(&runtime);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library would ask the machine's clock; ours is the runtime's.
        validation.validate_exp = false;
        // `new` would allocate all its memory at once.
        let mut verified = LruCache::unbounded();
        verified.resize(VERIFIED_TOKENS);
        let shared = Shared { runtime, keys, verified: Mutex::new(verified), validation, security };
        let shared = Arc::new(shared);
        Ok(Self { shared, revocations: None })
    }

    /// Notes there which public keys are known now, and again when the file has changed. Once.
    pub fn note_in(&self, security: &Security) {
        if self.shared.security.set(security.clone()).is_ok() {
            self.shared.keys.current().note(security);
        }
    }

    /// The same, which refuses the tokens of ended sessions.
    #[must_use]
    pub fn heeding(&self, revocations: Arc<Revocations>) -> Self {
        Self { shared: Arc::clone(&self.shared), revocations: Some(revocations) }
    }

    /// The account and the session of `token`.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenRefused> {
        if token.len() > BEARER_TOKEN_BYTES {
            return Err(TokenRefused::Malformed);
        }
        let keys = self.shared.keys.current();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let verified = match self.shared.remembered(&digest, keys.generation) {
            Some(verified) => verified,
            None => {
                let verified = keys.verify(token, &self.shared.validation)?;
                self.shared.verified().put(digest, verified);
                verified
            }
        };
        let Verified { account_id, session, issued_at_ms, expires_at_ms, .. } = verified;
        if expires_at_ms <= self.shared.runtime.now_ms() {
            return Err(TokenRefused::Expired);
        }
        // Asked each time, also for a token that was verified before.
        if let Some(revocations) = &self.revocations {
            revocations.check(account_id, session, issued_at_ms)?;
        }
        Ok(Caller { account_id, session: Some(session) })
    }

    /// The current public keys.
    pub fn public_keys(&self) -> JwkSet {
        self.shared.keys.current().set.clone()
    }
}

impl Shared {
    fn verified(&self) -> std::sync::MutexGuard<'_, LruCache<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, digest: &[u8; 32], generation: u64) -> Option<Verified> {
        self.verified().get(digest).filter(|verified| verified.generation == generation).copied()
    }
}

impl Keys {
    fn note(&self, security: &Security) {
        let kids: Vec<&str> = self.set.keys.iter().take(KEYS_NOTED).map(|key| &*key.kid).collect();
        security.note(Happened::new(SecurityKind::KeysRead, kids.join(",")));
    }

    fn of(file: &Path, contents: &[Vec<u8>], generation: u64) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { path: file.to_owned(), expected: "a JWK set with an Ed25519 key" };
        let set = contents.first().and_then(|json| JwkSet::parse(json)).ok_or_else(malformed)?;
        Ok(Self { generation, decoding: set.decoding_keys(), set })
    }

    fn verify(&self, token: &str, validation: &Validation) -> Result<Verified, TokenRefused> {
        let header = decode_header(token).map_err(|_| TokenRefused::Malformed)?;
        let key = header.kid.and_then(|kid| self.decoding.get(&kid)).ok_or(TokenRefused::Forged)?;
        let claims = decode::<Claims>(token, key, validation).map_err(|_| TokenRefused::Forged)?.claims;
        let account_id = RecordId::parse(&claims.sub).ok_or(TokenRefused::Forged)?;
        // One that names no session cannot be ended: as if its hour were over.
        let id = RecordId::parse(&claims.sid.ok_or(TokenRefused::Expired)?).ok_or(TokenRefused::Forged)?;
        Ok(Verified {
            account_id,
            session: SessionRef { id, made_at: claims.pos },
            issued_at_ms: millis(claims.iat),
            expires_at_ms: millis(claims.exp),
            generation: self.generation,
        })
    }
}

fn millis(seconds: u64) -> UnixMillis {
    UnixMillis::try_from(seconds.saturating_mul(1_000)).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use kith_live::LOOK_EVERY;
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::TokenIssuer;
    use crate::keys::{JWKS_FILE, KeyFolder};

    const NOW_MS: UnixMillis = 1_700_000_000_000;

    struct Suite {
        folder: tempfile::TempDir,
        keys: KeyFolder,
        runtime: Runtime,
        verifier: Verifier,
    }

    fn suite() -> Suite {
        let runtime = Runtime::simulated(3, NOW_MS);
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&runtime).unwrap();
        let verifier = Verifier::open(folder.path().join(JWKS_FILE), runtime.clone()).unwrap();
        Suite { folder, keys, runtime, verifier }
    }

    impl Suite {
        fn claims(&self) -> Value {
            let exp = NOW_MS / 1_000 + 60;
            let id = "0".repeat(32);
            json!({"iss": "kith", "aud": "kith", "sub": id, "iat": 1, "exp": exp, "jti": "x", "sid": id, "pos": 1})
        }

        fn signed(&self, claims: &Value) -> String {
            let key = self.keys.signing_key().unwrap();
            let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::EdDSA) };
            encode(&header, claims, &key.encoding).unwrap()
        }

        fn signed_with(&self, field: &str, value: Value) -> String {
            let mut claims = self.claims();
            claims[field] = value;
            self.signed(&claims)
        }
    }

    fn base64url(text: &str) -> String {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    #[tokio::test(start_paused = true)]
    async fn claims_must_be_ours() {
        let suite = suite();
        assert!(suite.verifier.verify(&suite.signed(&suite.claims())).is_ok());
        for (field, value) in [
            ("iss", json!("other")),
            ("aud", json!("other")),
            ("sub", json!("ada")),
            ("sub", json!("A".repeat(32))),
            ("sub", json!(7)),
            ("exp", json!("never")),
            ("exp", json!(-1)),
            ("sid", json!("ada")),
            ("pos", json!(-1)),
        ] {
            let token = suite.signed_with(field, value.clone());
            assert_eq!(suite.verifier.verify(&token), Err(TokenRefused::Forged), "{field}: {value}");
        }
        for field in ["iss", "aud", "sub", "exp"] {
            let mut claims = suite.claims();
            claims.as_object_mut().unwrap().remove(field);
            assert_eq!(suite.verifier.verify(&suite.signed(&claims)), Err(TokenRefused::Forged), "no {field}");
        }
        let expired = suite.signed_with("exp", json!(NOW_MS / 1_000));
        assert_eq!(suite.verifier.verify(&expired), Err(TokenRefused::Expired));
        let mut without_session = suite.claims();
        without_session.as_object_mut().unwrap().remove("sid");
        assert_eq!(suite.verifier.verify(&suite.signed(&without_session)), Err(TokenRefused::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn the_algorithm_is_pinned() {
        let suite = suite();
        let claims = base64url(&suite.claims().to_string());
        let key = suite.keys.signing_key().unwrap();
        for header in [r#"{"alg":"none"}"#.to_owned(), format!(r#"{{"alg":"none","kid":"{}"}}"#, key.kid())] {
            let token = format!("{}.{claims}.", base64url(&header));
            assert!(suite.verifier.verify(&token).is_err(), "{header}");
        }
        // The classic: an HMAC whose secret is the public key, which everybody has.
        let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::HS256) };
        for secret in [key.public().x.as_bytes(), &base64_bytes(&key.public().x)] {
            let token = encode(&header, &suite.claims(), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(suite.verifier.verify(&token), Err(TokenRefused::Forged));
        }
    }

    fn base64_bytes(text: &str) -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_by_another_key_or_over_other_claims_is_forged() {
        let suite = suite();
        let other = tempfile::tempdir().unwrap();
        let other = KeyFolder::at(other.path());
        other.create_missing(&suite.runtime).unwrap();
        let (ours, theirs) = (suite.keys.signing_key().unwrap(), other.signing_key().unwrap());
        for kid in [Some(ours.kid()), Some(theirs.kid()), Some("../jwks"), None] {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
            let token = encode(&header, &suite.claims(), &theirs.encoding).unwrap();
            assert_eq!(suite.verifier.verify(&token), Err(TokenRefused::Forged), "{kid:?}");
        }
        let token = suite.signed(&suite.claims());
        let parts: Vec<&str> = token.split('.').collect();
        let claims = base64url(&suite.claims().to_string().replace("0000", "1111"));
        let swapped = format!("{}.{claims}.{}", parts[0], parts[2]);
        assert_eq!(suite.verifier.verify(&swapped), Err(TokenRefused::Forged));
        for end in [0, 1, token.len() / 2, token.len() - 1] {
            assert!(suite.verifier.verify(&token[..end]).is_err(), "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_when_the_file_changes() {
        let suite = suite();
        let old = suite.signed(&suite.claims());
        assert!(suite.verifier.verify(&old).is_ok());
        let jwks = suite.folder.path().join(JWKS_FILE);

        std::fs::write(&jwks, "{ half a fi").unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(suite.verifier.verify(&old).is_ok(), "an unreadable file changes nothing");

        std::fs::remove_file(&jwks).unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(suite.verifier.verify(&old).is_ok(), "nor does one that is gone");
        std::fs::remove_file(suite.folder.path().join("signing-key.pem")).unwrap();
        suite.keys.create_missing(&suite.runtime).unwrap();
        let new = TokenIssuer::new(suite.keys.signing_key().unwrap(), suite.runtime.clone());
        let new = new.issue(RecordId([1; 16]), SessionRef { id: RecordId([2; 16]), made_at: 0 }).unwrap().text;
        assert!(suite.verifier.verify(&new).is_err());
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(suite.verifier.verify(&new).is_ok());
        assert_eq!(suite.verifier.verify(&old), Err(TokenRefused::Forged), "also though it was remembered");
        assert_eq!(suite.verifier.public_keys().keys.len(), 1);
    }
}
