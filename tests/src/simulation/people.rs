//! The trusted issuer of a simulation: its callers' file, and tokens for people.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kith_runtime::Runtime;
use kith_service::keys::{JWKS_FILE, KeyFolder, SIGNING_KEY_FILE};
use serde_json::json;
use tonic::Status;

use super::world::EPOCH_MS;

pub const ISSUER: &str = "https://people.example";
/// The client to which the tokens are issued.
pub const CLIENT: &str = "web";
const AUDIENCE: &str = "kith";
/// Longer than any history, whatever the clocks of its processes show.
const LIFETIME_SECONDS: i64 = 12 * 3_600;
/// Always the same (the example of RFC 8410), so that a history is a function of its seed: keys in the log are made of tokens.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// Writes the callers' file, and the issuer's keys beside it.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let keys = folder.join("people");
    std::fs::create_dir(&keys)?;
    std::fs::write(keys.join(SIGNING_KEY_FILE), KEY)?;
    KeyFolder::at(&keys).create_missing(&Runtime::system())?;
    let file = folder.join("callers.toml");
    let text = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nalgorithm = \"EdDSA\"\njwks_file = \"people/{JWKS_FILE}\"\n"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

/// A token for a person; another `id` makes it another token.
pub fn token(subject: &str, id: &str) -> Result<String, Status> {
    let exp = EPOCH_MS / 1_000 + LIFETIME_SECONDS;
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": exp, "azp": CLIENT, "jti": id});
    let key = EncodingKey::from_ed_pem(KEY.as_bytes());
    let token = key.and_then(|key| encode(&Header::new(Algorithm::EdDSA), &claims, &key));
    token.map_err(|error| Status::internal(error.to_string()))
}
