use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

pub const NOW_MS: UnixMillis = 1_700_000_000_000;
const NOW: i64 = NOW_MS / 1_000;
pub const NAME: &str = "https://login.example";

/// An issuer with its private key.
pub struct Signer {
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub fn of(algorithm: Algorithm) -> Self {
        let ed = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(include_bytes!("tests/ec.pem")),
            Algorithm::RS256 => EncodingKey::from_rsa_pem(include_bytes!("tests/rsa.pem")),
            _ => EncodingKey::from_ed_pem(ed.as_bytes()),
        };
        Self { algorithm, key: key.unwrap() }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = kid.into();
        jwk
    }

    pub fn set(&self, kid: &str) -> String {
        json!({"keys": [self.jwk(kid)]}).to_string()
    }

    pub fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }

    /// Of a service called `web`, valid for a minute, with some claims set otherwise.
    pub fn token(&self, otherwise: &[(&str, Value)]) -> String {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(self.algorithm) };
        self.sign(&header, &claims(otherwise))
    }
}

pub fn claims(otherwise: &[(&str, Value)]) -> Value {
    let mut claims = json!({"iss": NAME, "aud": "kith", "sub": "web", "iat": NOW, "exp": NOW + 60});
    for (name, value) in otherwise {
        claims[*name] = value.clone();
    }
    claims
}

fn issuer(algorithm: Algorithm) -> Issuer {
    Issuer {
        name: NAME.into(),
        audience: "kith".to_owned(),
        algorithm,
        keys: KeySource::File("keys.json".into()),
        subject_claim: "sub".to_owned(),
        leeway_seconds: 30,
    }
}

fn keys(signer: &Signer) -> IssuerKeys {
    IssuerKeys::parse(signer.set("k").as_bytes(), signer.algorithm).unwrap()
}

fn verified(token: &str) -> Result<String, TokenRefused> {
    let signer = Signer::of(Algorithm::EdDSA);
    issuer(Algorithm::EdDSA).verify(&keys(&signer), token, NOW_MS).map(|proof| proof.subject)
}

#[test]
fn each_algorithm_is_verified_and_no_other_is() {
    let all = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
    for algorithm in all {
        let signer = Signer::of(algorithm);
        let verified = |token: &str| issuer(algorithm).verify(&keys(&signer), token, NOW_MS);
        let proof = verified(&signer.token(&[])).unwrap();
        assert_eq!((&*proof.subject, proof.expires_at_ms), ("web", NOW_MS + 90_000));
        for other in all.into_iter().filter(|other| *other != algorithm) {
            assert_eq!(
                verified(&Signer::of(other).token(&[])),
                Err(TokenRefused::Untrusted),
                "{algorithm:?} {other:?}"
            );
        }
        // The classic: an HMAC whose secret is the public key, which everybody has.
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(signer.set("k").as_bytes());
        let confused = encode(&header, &claims(&[]), &secret).unwrap();
        assert_eq!(verified(&confused), Err(TokenRefused::Untrusted));
    }
}

#[test]
fn times_are_bounded_on_both_sides() {
    let of = |claim: &str, at: Value| verified(&Signer::of(Algorithm::EdDSA).token(&[(claim, at)]));
    let day = 24 * 3_600;
    for (claim, at) in [("exp", NOW - 29), ("exp", NOW + 29 + day), ("nbf", NOW + 29), ("iat", NOW + 29), ("nbf", 0)] {
        assert_eq!(of(claim, at.into()), Ok("web".to_owned()), "{claim} {}", at - NOW);
    }
    assert_eq!(of("exp", json!(NOW as f64 + 0.5)), Ok("web".to_owned()), "a fraction of a second");
    assert_eq!(of("exp", (NOW - 31).into()), Err(TokenRefused::Expired));
    for (claim, at) in [
        ("exp", json!(NOW + 31 + day)),
        ("exp", json!(9e99)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("now")),
        ("iat", json!(NOW + 31)),
    ] {
        assert_eq!(of(claim, at.clone()), Err(TokenRefused::Untrusted), "{claim} {at}");
    }
}

#[test]
fn a_token_says_who_and_for_whom() {
    let of = |claim: &str, value: Value| verified(&Signer::of(Algorithm::EdDSA).token(&[(claim, value)]));
    assert_eq!(of("aud", json!(["other", "kith"])), Ok("web".to_owned()));
    for (claim, value) in [
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!({"kith": true})),
        ("iss", json!("https://login.example/")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("x".repeat(SUBJECT_BYTES + 1))),
    ] {
        assert_eq!(of(claim, value.clone()), Err(TokenRefused::Untrusted), "{claim} {value}");
    }
}

#[test]
fn what_is_critical_is_refused_and_what_is_no_token_is_malformed() {
    let signer = Signer::of(Algorithm::EdDSA);
    let text = signer.token(&[]);
    let parts: Vec<&str> = text.split('.').collect();
    let with_head = |head: Value| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), parts[1], parts[2]);
    for crit in [json!(["exp"]), json!([]), json!("b64")] {
        let token = with_head(json!({"alg": "EdDSA", "kid": "k", "crit": crit}));
        assert_eq!(verified(&token), Err(TokenRefused::Untrusted), "{crit}");
    }
    for alg in ["none", "None", "EdDSA "] {
        assert_eq!(verified(&with_head(json!({"alg": alg, "kid": "k"}))), Err(TokenRefused::Untrusted), "{alg}");
    }
    assert_eq!(verified(&with_head(json!({"alg": "EdDSA", "kid": "other"}))), Err(TokenRefused::KeyUnknown));
    for bad in ["", "a.b.c", "....", &"x".repeat(ISSUER_TOKEN_BYTES + 1)] {
        assert_eq!(verified(bad), Err(TokenRefused::Malformed));
    }
    for end in [parts[0].len() + parts[1].len() + 1, text.len() - 1] {
        assert_eq!(verified(&text[..end]), Err(TokenRefused::Untrusted), "{end}");
    }
    let other = signer.token(&[("sub", json!("admin"))]);
    let claims = other.split('.').nth(1).unwrap();
    assert_eq!(verified(&format!("{}.{claims}.{}", parts[0], parts[2])), Err(TokenRefused::Untrusted));
}

#[test]
fn only_keys_that_fit_count() {
    let (ed, rsa) = (Signer::of(Algorithm::EdDSA), Signer::of(Algorithm::RS256));
    let usable = |keys: Value, algorithm| IssuerKeys::parse(json!({"keys": keys}).to_string().as_bytes(), algorithm);
    let both = json!([ed.jwk("a"), rsa.jwk("b"), {"kty": "oct", "k": "AA"}, {"kty": "new"}, 7]);
    assert!(usable(both.clone(), Algorithm::EdDSA).is_some_and(|keys| keys.0.len() == 1));
    assert!(usable(both, Algorithm::ES256).is_none());
    for (field, value) in [("use", json!("enc")), ("alg", json!("RS512")), ("n", json!("AQAB"))] {
        let mut jwk = rsa.jwk("b");
        jwk[field] = value;
        assert!(usable(json!([jwk]), Algorithm::RS256).is_none(), "{field}");
    }
    assert!(usable(json!(vec![ed.jwk("a"); ISSUER_KEYS + 1]), Algorithm::EdDSA).is_none());
    // Without a name there must be one key alone.
    let unnamed = ed.sign(&Header::new(Algorithm::EdDSA), &claims(&[]));
    let keys = |keys: Value| usable(keys, Algorithm::EdDSA).unwrap();
    let verified = |keys| issuer(Algorithm::EdDSA).verify(&keys, &unnamed, NOW_MS);
    assert!(verified(keys(json!([ed.jwk("a")]))).is_ok());
    assert_eq!(verified(keys(json!([ed.jwk("a"), ed.jwk("b")]))), Err(TokenRefused::KeyUnknown));
}
