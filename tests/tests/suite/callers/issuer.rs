//! An issuer that the tested suite trusts, and the callers' file that says so.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kith_runtime::Runtime;
use kith_service::keys::{JWKS_FILE, KeyFolder, SIGNING_KEY_FILE};
use serde_json::{Value, json};

pub const AUDIENCE: &str = "kith-callers";

/// Keys of its own, in a folder with the callers' file.
pub struct Issuer {
    folder: tempfile::TempDir,
    kid: String,
}

impl Issuer {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&Runtime::system()).unwrap();
        let kid = keys.signing_key().unwrap().kid().to_owned();
        Self { folder, kid }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("callers.toml")
    }

    /// Its public keys, as a JWK set.
    pub fn public_keys(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(JWKS_FILE)).unwrap()
    }

    /// Writes the callers' file: two issuers with the same keys, and these entries.
    pub fn trust(&self, principals: &str) {
        let file = format!("jwks_file = \"{JWKS_FILE}\"");
        self.trust_by([&file, &file], principals);
    }

    /// The same, with the entries that say where the keys of [`STAFF`] and of [`PEOPLE`] are.
    pub fn trust_by(&self, [staff, people]: [&str; 2], principals: &str) {
        let issuer = |name: &str, keys: &str| {
            format!("[[issuer]]\nissuer = \"{name}\"\naudience = \"{AUDIENCE}\"\nalgorithm = \"EdDSA\"\n{keys}\n")
        };
        let text = format!("{}{}{principals}", issuer(STAFF, staff), issuer(PEOPLE, people));
        // As an operator's tool does: at once, or a half-written file may be read.
        let new = self.folder.path().join("callers.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    /// A token for ten minutes, with some claims set otherwise.
    pub fn token(&self, issuer: &str, subject: &str, otherwise: &[(&str, Value)]) -> String {
        let now = Runtime::system().now_ms() / 1_000;
        let mut claims = json!({"iss": issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600});
        otherwise.iter().for_each(|(name, value)| claims[*name] = value.clone());
        let pem = std::fs::read(Path::new(self.folder.path()).join(SIGNING_KEY_FILE)).unwrap();
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, &claims, &EncodingKey::from_ed_pem(&pem).unwrap()).unwrap()
    }
}

/// Who makes the tokens of services.
pub const STAFF: &str = "https://services.example";
/// Who makes the tokens of people.
pub const PEOPLE: &str = "https://people.example";

/// An entry of the callers' file: a service that proves itself by a token of [`STAFF`] with its name as subject.
pub fn principal(name: &str, rights: &[&str], accounts: &str) -> String {
    format!(
        "[[principal]]\nname = \"{name}\"\nissuer = \"{STAFF}\"\nsubject = \"{name}\"\nrights = {rights:?}\naccounts = \"{accounts}\"\n"
    )
}
