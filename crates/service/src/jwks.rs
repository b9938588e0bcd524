//! The public keys that access tokens are verified with: a JWK set (RFC 7517) of Ed25519 keys (RFC 8037).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// More keys than any rotation needs.
const KEYS_MAX: usize = 32;

/// One public key, with the names that RFC 7517 gives its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    pub kty: String,
    pub crv: String,
    #[serde(rename = "use")]
    pub public_key_use: String,
    pub alg: String,
    pub kid: String,
    pub x: String,
}

/// The usable keys of a set. Keys of other kinds in the file are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct AnyJwkSet {
    keys: Vec<serde_json::Value>,
}

impl Jwk {
    /// The key of these bytes; its `kid` is its thumbprint (RFC 7638).
    pub fn of(public: &[u8; 32]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            public_key_use: "sig".to_owned(),
            alg: "EdDSA".to_owned(),
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            x,
        }
    }

    /// `None` for a key that this suite does not verify with. Checks the length, which the verifier does not.
    fn decoding_key(&self) -> Option<DecodingKey> {
        if self.kty != "OKP" || self.crv != "Ed25519" || self.alg != "EdDSA" || self.public_key_use != "sig" {
            return None;
        }
        let public: [u8; 32] = URL_SAFE_NO_PAD.decode(&self.x).ok()?.try_into().ok()?;
        Some(DecodingKey::from_ed_der(&public))
    }
}

impl JwkSet {
    /// Parses a set; `None` when it is not one, has no usable key, or too many.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let set: AnyJwkSet = serde_json::from_slice(json).ok()?;
        if set.keys.len() > KEYS_MAX {
            return None;
        }
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<Jwk> = keys.filter(|key| key.decoding_key().is_some()).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    pub fn to_json(&self) -> String {
        // It cannot fail: the set is strings in lists.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(crate) fn decoding_keys(&self) -> BTreeMap<String, DecodingKey> {
        self.keys.iter().filter_map(|key| Some((key.kid.clone(), key.decoding_key()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_the_one_of_the_rfc() {
        // RFC 8037, appendix A.3.
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(Jwk::of(&public.try_into().unwrap()).kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_set_reads_back_without_the_keys_of_other_kinds() {
        let set = JwkSet { keys: vec![Jwk::of(&[1; 32]), Jwk::of(&[2; 32])] };
        assert_eq!(JwkSet::parse(set.to_json().as_bytes()), Some(set.clone()));
        let mut json: serde_json::Value = serde_json::from_str(&set.to_json()).unwrap();
        json["keys"][0]["kty"] = "RSA".into();
        json["keys"][1]["extra"] = 1.into();
        assert_eq!(JwkSet::parse(json.to_string().as_bytes()).unwrap().keys, [Jwk::of(&[2; 32])]);
    }

    #[test]
    fn what_is_not_a_set_of_usable_keys_is_none() {
        let short = JwkSet { keys: vec![Jwk { x: "AAAA".into(), ..Jwk::of(&[1; 32]) }] }.to_json();
        let many = JwkSet { keys: vec![Jwk::of(&[1; 32]); KEYS_MAX + 1] }.to_json();
        for bad in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{}]}"#, &short, &many] {
            assert_eq!(JwkSet::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
