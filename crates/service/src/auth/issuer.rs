//! A trusted issuer's tokens (JWT, RFC 7519): verified by the issuer's keys, with one algorithm, and refused unless they say who,
//! for whom, and until when.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use kith_runtime::UnixMillis;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::TokenRefused;
use super::key_url::KeyUrl;
use crate::limits::{ISSUER_KEYS, ISSUER_TOKEN_BYTES, ISSUER_TOKEN_LIFETIME_SECONDS, SUBJECT_BYTES};

/// The shortest RSA modulus.
const RSA_BYTES_MIN: usize = 256;
/// The ids of so many keys are noted, and of each so many characters: a record holds them.
const KEYS_NOTED: usize = 4;
const ID_CHARS_NOTED: usize = 64;

/// An issuer of tokens, as the callers' file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its `iss`.
    pub name: Arc<str>,
    /// What `aud` must have.
    pub audience: String,
    pub algorithm: Algorithm,
    pub keys: KeySource,
    /// The claim that names the subject.
    pub subject_claim: String,
    /// How far its clock and ours may be apart.
    pub leeway_seconds: u32,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    Url(KeyUrl),
}

/// An issuer's public keys that fit its algorithm.
pub struct IssuerKeys(Vec<IssuerKey>);

struct IssuerKey {
    kid: Option<String>,
    decoding: DecodingKey,
}

/// Whom a token proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Unique within the issuer; never an e-mail address.
    pub subject: String,
    pub expires_at_ms: UnixMillis,
    /// To which client the token was issued: `azp`, or `client_id`.
    pub party: Option<String>,
}

#[derive(Deserialize)]
struct JwkSetText {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct HeaderText {
    alg: String,
    kid: Option<String>,
    /// Extensions that a reader must understand (RFC 7515, section 4.1.11): there are none that we do.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct IssuerText {
    iss: String,
}

/// The issuer that an unverified token names: it says whose keys to verify it with.
pub fn issuer_named_by(token: &str) -> Option<String> {
    if token.len() > ISSUER_TOKEN_BYTES {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    Some(serde_json::from_slice::<IssuerText>(&claims).ok()?.iss)
}

impl IssuerKeys {
    /// The keys of a JWK set (RFC 7517) that fit the algorithm; `None`: it is no set, has no such key, or too many.
    pub fn parse(json: &[u8], algorithm: Algorithm) -> Option<Self> {
        let set: JwkSetText = serde_json::from_slice(json).ok()?;
        if set.keys.len() > ISSUER_KEYS {
            return None;
        }
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<IssuerKey> = keys.filter_map(|jwk| key(&jwk, algorithm)).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The ids of the first ones, as they are noted: cut off, and without what a terminal would act on. `-` stands for none.
    pub(super) fn ids(&self) -> String {
        let shown = |kid: &str| -> String {
            let chars = kid.chars().take(ID_CHARS_NOTED);
            chars.map(|char| if char.is_ascii_graphic() { char } else { '?' }).collect()
        };
        let ids = self.0.iter().take(KEYS_NOTED).map(|key| key.kid.as_deref().map_or_else(|| "-".to_owned(), shown));
        ids.collect::<Vec<_>>().join(",")
    }

    /// The key that the token names. A token may name none while there is one key.
    fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        let found = match kid {
            Some(kid) => self.0.iter().find(|key| key.kid.as_deref() == Some(kid)),
            None => self.0.first().filter(|_| self.0.len() == 1),
        };
        found.map(|key| &key.decoding)
    }
}

fn key(jwk: &Jwk, algorithm: Algorithm) -> Option<IssuerKey> {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    let fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519 && bytes(&key.x) == 32
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::RSA(key), Algorithm::RS256) => bytes(&key.n) >= RSA_BYTES_MIN,
        _ => false,
    };
    let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)));
    let named = jwk.common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm));
    let decoding = DecodingKey::from_jwk(jwk).ok().filter(|_| fits && signs && named)?;
    Some(IssuerKey { kid: jwk.common.key_id.clone(), decoding })
}

/// As `alg` has it.
fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "EdDSA",
    }
}

impl Issuer {
    /// Whom the token proves at that time. Why one is refused is logged for operators only (level `debug`).
    pub fn verify(&self, keys: &IssuerKeys, token: &str, now_ms: UnixMillis) -> Result<Proof, TokenRefused> {
        let proof = self.claims(keys, token).and_then(|claims| self.proof(&claims, now_ms));
        proof.map_err(|(refused, why)| {
            tracing::debug!(issuer = &*self.name, why, "a token of a trusted issuer was refused");
            refused
        })
    }

    fn claims(&self, keys: &IssuerKeys, token: &str) -> Result<Map<String, Value>, Refusal> {
        if token.len() > ISSUER_TOKEN_BYTES {
            return Err((TokenRefused::Malformed, "it is too long"));
        }
        let head = token.split('.').next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok());
        let head: Option<HeaderText> = head.and_then(|head| serde_json::from_slice(&head).ok());
        let head = head.ok_or((TokenRefused::Malformed, "its header does not read"))?;
        if head.alg != name_of(self.algorithm) {
            return Err((TokenRefused::Untrusted, "its algorithm is not the issuer's"));
        }
        if head.crit.is_some() {
            return Err((TokenRefused::Untrusted, "it has an extension that is critical"));
        }
        let key =
            keys.find(head.kid.as_deref()).ok_or((TokenRefused::KeyUnknown, "its key is none of the issuer's"))?;
        let mut validation = Validation::new(self.algorithm);
        // All claims are checked here: the library would ask the machine's clock.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        let decoded = decode::<Map<String, Value>>(token, key, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|_| (TokenRefused::Untrusted, "its signature is not the key's"))
    }

    fn proof(&self, claims: &Map<String, Value>, now_ms: UnixMillis) -> Result<Proof, Refusal> {
        let untrusted = |why| Err((TokenRefused::Untrusted, why));
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.name) {
            return untrusted("it is another issuer's");
        }
        let is_for_us = match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(all)) => all.iter().any(|audience| audience.as_str() == Some(&self.audience)),
            _ => false,
        };
        if !is_for_us {
            return untrusted("it is for another audience");
        }
        let (now, leeway) = (now_ms as f64 / 1_000.0, f64::from(self.leeway_seconds));
        let Some(expires_at) = claims.get("exp").and_then(Value::as_f64) else {
            return untrusted("it does not say when it expires");
        };
        if expires_at + leeway <= now {
            return Err((TokenRefused::Expired, "it has expired"));
        }
        if expires_at > now + leeway + ISSUER_TOKEN_LIFETIME_SECONDS as f64 {
            return untrusted("it is valid for too long");
        }
        for (name, why) in [("nbf", "it is not valid yet"), ("iat", "it was issued in the future")] {
            match claims.get(name).map(Value::as_f64) {
                None => {}
                Some(Some(at)) if at <= now + leeway => {}
                Some(_) => return untrusted(why),
            }
        }
        let subject = text(&self.subject_claim).filter(|subject| (1..=SUBJECT_BYTES).contains(&subject.len()));
        let Some(subject) = subject else { return untrusted("it does not name its subject") };
        let expires_at_ms = ((expires_at + leeway) * 1_000.0) as UnixMillis;
        let party = text("azp").or_else(|| text("client_id")).map(str::to_owned);
        Ok(Proof { subject: subject.to_owned(), expires_at_ms, party })
    }
}

/// What the caller is told, and what operators are.
type Refusal = (TokenRefused, &'static str);

#[cfg(test)]
pub(super) mod tests;
