//! The folder of keys: the signing key of access tokens, the keys of refresh tokens, page tokens and consistency tokens, and beside
//! them the public keys.
//!
//! Created at the first embedded start and by `kith init`, never overwritten; only a [`rotation`] replaces keys. In Kubernetes it is a
//! mounted secret.

pub mod rotation;
pub mod secret;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use jsonwebtoken::EncodingKey;
use kith_runtime::{RandomnessUnavailable, Runtime};

use self::secret::Secret;
use crate::jwks::{Jwk, JwkSet};

/// The public keys, in the folder of keys, as a JWK set.
pub const JWKS_FILE: &str = "jwks.json";
/// The private key that access tokens are signed with, in the folder of keys.
pub const SIGNING_KEY_FILE: &str = "signing-key.pem";
/// The key that page tokens are sealed with, in the folder of keys.
pub const PAGE_TOKEN_KEY_FILE: &str = "page-token.key";
/// The key that consistency tokens are sealed with, in the folder of keys.
pub const CONSISTENCY_TOKEN_KEY_FILE: &str = "consistency-token.key";
/// The key that refresh tokens are made with, in the folder of keys.
pub const REFRESH_TOKEN_KEY_FILE: &str = "refresh-token.key";
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a key is missing. Names files, never their content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is not {expected}", path = path.display())]
    Malformed { path: PathBuf, expected: &'static str },
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

/// The folder named by the setting `keys_dir`. Its functions block briefly: call them at start.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

/// The private key that access tokens are signed with.
pub struct SigningKey {
    pub(crate) encoding: EncodingKey,
    public: Jwk,
}

impl KeyFolder {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Creates the folder (mode 0700), the keys (0600) and `jwks.json` if they are missing. Existing files stay: a
    /// signing key that an operator replaced is added to the public keys, and the old one still verifies.
    pub fn create_missing(&self, runtime: &Runtime) -> Result<(), KeyError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| KeyError::File { path: self.path.clone(), error })?;
        self.create_signing_key(SIGNING_KEY_FILE, runtime)?;
        self.create_secret(PAGE_TOKEN_KEY_FILE, runtime)?;
        self.create_secret(REFRESH_TOKEN_KEY_FILE, runtime)?;
        self.create_secret(CONSISTENCY_TOKEN_KEY_FILE, runtime)?;
        self.publish(&self.signing_key()?.public)
    }

    /// Reads the signing key: Ed25519, PKCS #8, PEM.
    pub fn signing_key(&self) -> Result<SigningKey, KeyError> {
        self.signing_key_of(SIGNING_KEY_FILE)
    }

    fn signing_key_of(&self, file: &str) -> Result<SigningKey, KeyError> {
        let path = self.path.join(file);
        warn_if_open_to_others(&path);
        let malformed = || KeyError::Malformed { path: path.clone(), expected: "an Ed25519 private key, PKCS #8, PEM" };
        let pem = String::from_utf8(read_bounded(&path)?).map_err(|_| malformed())?;
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).map_err(|_| malformed())?;
        let der = key.to_pkcs8_der().map_err(|_| malformed())?;
        let encoding = EncodingKey::from_ed_der(der.as_bytes());
        Ok(SigningKey { encoding, public: Jwk::of(key.verifying_key().as_bytes()) })
    }

    /// Reads the page-token key: 32 bytes, the same for all replicas of all services; and those beside it in a rotation.
    pub fn page_token_key(&self) -> Result<Secret, KeyError> {
        self.secret(PAGE_TOKEN_KEY_FILE)
    }

    /// Reads the consistency-token key: 32 bytes, the same for all replicas of all services; and those beside it in a rotation.
    pub fn consistency_token_key(&self) -> Result<Secret, KeyError> {
        self.secret(CONSISTENCY_TOKEN_KEY_FILE)
    }

    /// Reads the refresh-token key: 32 bytes, the same for all replicas of the identity service; and those beside it in a rotation.
    /// Who has it can refresh every session; another one without a rotation voids every refresh token.
    pub fn refresh_token_key(&self) -> Result<Secret, KeyError> {
        self.secret(REFRESH_TOKEN_KEY_FILE)
    }

    fn secret(&self, file: &str) -> Result<Secret, KeyError> {
        Ok(Secret { current: self.secret_of(file)?, beside: self.beside(file)? })
    }

    fn secret_of(&self, file: &str) -> Result<[u8; 32], KeyError> {
        let path = self.path.join(file);
        warn_if_open_to_others(&path);
        let bytes = read_bounded(&path)?;
        bytes.try_into().map_err(|_| KeyError::Malformed { path, expected: "32 bytes" })
    }

    /// In the first version of PKCS #8, without the public key: OpenSSL 3.0 does not read the second one.
    fn create_signing_key(&self, file: &str, runtime: &Runtime) -> Result<(), KeyError> {
        let path = self.path.join(file);
        if path.exists() {
            return Ok(());
        }
        let pem = KeypairBytes { secret_key: random(runtime)?, public_key: None }.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|_| KeyError::Malformed { path: path.clone(), expected: "a key that can be written" })?;
        create_once(&path, pem.as_bytes())
    }

    fn create_secret(&self, file: &str, runtime: &Runtime) -> Result<(), KeyError> {
        let path = self.path.join(file);
        if path.exists() {
            return Ok(());
        }
        create_once(&path, &random(runtime)?)
    }

    fn publish(&self, key: &Jwk) -> Result<(), KeyError> {
        let mut set = self.public_keys()?;
        if set.find(&key.kid).is_some() {
            return Ok(());
        }
        set.keys.push(key.clone());
        self.write_public_keys(&set)
    }

    /// Verifies with no other key any more.
    fn publish_only(&self, key: &Jwk) -> Result<(), KeyError> {
        self.write_public_keys(&JwkSet { keys: vec![key.clone()] })
    }

    /// The keys that access tokens are verified with; none where there is no file yet.
    pub fn public_keys(&self) -> Result<JwkSet, KeyError> {
        let path = self.path.join(JWKS_FILE);
        match read_bounded(&path) {
            Ok(bytes) => JwkSet::parse(&bytes).ok_or(KeyError::Malformed { path, expected: "a JWK set" }),
            Err(KeyError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(JwkSet::default()),
            Err(error) => Err(error),
        }
    }

    fn write_public_keys(&self, set: &JwkSet) -> Result<(), KeyError> {
        replace(&self.path.join(JWKS_FILE), set.to_json().as_bytes())
    }
}

impl SigningKey {
    /// Which of the public keys verifies its signatures.
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// Its public half.
    pub fn public(&self) -> &Jwk {
        &self.public
    }
}

/// Reads at most 64 KiB.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, KeyError> {
    let read = || {
        let file = fs::File::open(path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, KEY_FILE_BYTES_MAX), &mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| KeyError::File { path: path.to_owned(), error })
}

fn random(runtime: &Runtime) -> Result<[u8; 32], RandomnessUnavailable> {
    let mut bytes = [0; 32];
    runtime.fill_random(&mut bytes)?;
    Ok(bytes)
}

/// The file appears completely or not at all, and never replaces another: of two racing processes one wins, and both
/// use its file.
fn create_once(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    let removed = fs::remove_file(&temporary);
    let done = linked.and(removed).and_then(|()| sync_folder(path));
    done.map_err(|error| KeyError::File { path: path.to_owned(), error })
}

/// A reader finds the file as it was or as it is, never half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let temporary = write_temporary(path, bytes)?;
    let renamed = fs::rename(&temporary, path).and_then(|()| sync_folder(path));
    renamed.map_err(|error| KeyError::File { path: path.to_owned(), error })
}

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, KeyError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        // Left by a killed process of the same id.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(error) => Err(KeyError::File { path: temporary, error }),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn warn_if_open_to_others(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        tracing::warn!(path = %path.display(), "every user of this machine can read this key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_and_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/keys");
        let keys = KeyFolder::at(&path);
        assert!(keys.signing_key().is_err() && keys.page_token_key().is_err());
        keys.create_missing(&Runtime::system()).unwrap();
        let secrets = || {
            let pages = (keys.page_token_key().unwrap(), keys.consistency_token_key().unwrap());
            (pages, keys.refresh_token_key().unwrap())
        };
        let read = || (keys.signing_key().unwrap().kid().to_owned(), secrets());
        let first = read();
        keys.create_missing(&Runtime::system()).unwrap();
        assert_eq!(read(), first);
        assert_eq!(mode(&path), 0o700);
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(
            names,
            [CONSISTENCY_TOKEN_KEY_FILE, JWKS_FILE, PAGE_TOKEN_KEY_FILE, REFRESH_TOKEN_KEY_FILE, SIGNING_KEY_FILE]
                .map(|name| path.join(name))
        );
        assert!(names.iter().all(|name| mode(name) == 0o600));
    }

    /// RFC 8410, section 7: version 0, and 32 bytes of key. The second version, which has the public key too, is longer.
    #[test]
    fn the_signing_key_is_in_the_form_that_common_tools_read() {
        let folder = tempfile::tempdir().unwrap();
        KeyFolder::at(folder.path()).create_missing(&Runtime::system()).unwrap();
        let pem = fs::read_to_string(folder.path().join(SIGNING_KEY_FILE)).unwrap();
        let lines: Vec<&str> = pem.lines().collect();
        let [begin, content, end] = lines[..] else { panic!("{} lines", lines.len()) };
        assert_eq!((begin, end), ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"));
        assert!(content.starts_with("MC4CAQAwBQYDK2VwBCIEI"), "48 bytes: SEQUENCE, version 0, Ed25519, 34 bytes");
        assert_eq!(content.len(), 64);
    }

    #[test]
    fn creating_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_once(&path, b"first").unwrap();
        create_once(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_signing_key_joins_the_public_keys() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&Runtime::system()).unwrap();
        let old = keys.signing_key().unwrap();
        fs::remove_file(folder.path().join(SIGNING_KEY_FILE)).unwrap();
        keys.create_missing(&Runtime::system()).unwrap();
        let new = keys.signing_key().unwrap();
        let set = JwkSet::parse(&fs::read(folder.path().join(JWKS_FILE)).unwrap()).unwrap();
        assert_ne!(old.kid(), new.kid());
        assert!(set.find(old.kid()).is_some() && set.find(new.kid()).is_some());
    }

    #[test]
    fn what_is_not_a_key_is_refused_by_file_name() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&Runtime::system()).unwrap();
        fs::write(folder.path().join(PAGE_TOKEN_KEY_FILE), b"short").unwrap();
        fs::write(folder.path().join(SIGNING_KEY_FILE), b"-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
        assert!(keys.page_token_key().unwrap_err().to_string().contains(PAGE_TOKEN_KEY_FILE));
        assert!(matches!(keys.signing_key(), Err(KeyError::Malformed { .. })));
        fs::write(folder.path().join(JWKS_FILE), b"{").unwrap();
        assert!(keys.create_missing(&Runtime::system()).is_err());
    }
}
