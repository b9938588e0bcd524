//! Keys of 32 random bytes that authenticate or seal what a process gives out and gets back, and their rotation's overlap.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Failure;

/// A secret key, and those that are accepted beside it while one key follows another. Hidden in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub(crate) current: [u8; 32],
    pub(crate) beside: Vec<[u8; 32]>,
}

/// HMACs (RFC 2104, SHA-256) by a [`Secret`]: made with the current key, accepted of each of its keys.
#[derive(Clone)]
pub struct Macs {
    current: Hmac<Sha256>,
    beside: Vec<Hmac<Sha256>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("beside", &self.beside.len()).finish_non_exhaustive()
    }
}

impl From<&[u8; 32]> for Secret {
    fn from(key: &[u8; 32]) -> Self {
        Self { current: *key, beside: Vec::new() }
    }
}

impl Secret {
    /// A key for another purpose, of the current one alone.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Self {
        Self::from(&crate::ids::hash(purpose, &[&self.current]))
    }
}

impl Macs {
    pub fn new(secret: &Secret) -> Result<Self, Failure> {
        let keyed = |key: &[u8; 32]| Hmac::new_from_slice(key).map_err(|_| Failure::internal());
        Ok(Self {
            current: keyed(&secret.current)?,
            beside: secret.beside.iter().map(keyed).collect::<Result<_, _>>()?,
        })
    }

    /// The HMAC of what `update` feeds into it.
    pub fn make(&self, update: impl Fn(&mut Hmac<Sha256>)) -> [u8; 32] {
        fed(&self.current, update).finalize().into_bytes().into()
    }

    /// Whether one of the keys made `mac` of it. Compares in constant time.
    pub fn accept(&self, update: impl Fn(&mut Hmac<Sha256>), mac: &[u8]) -> bool {
        std::iter::once(&self.current).chain(&self.beside).any(|keyed| fed(keyed, &update).verify_slice(mac).is_ok())
    }
}

fn fed(keyed: &Hmac<Sha256>, update: impl Fn(&mut Hmac<Sha256>)) -> Hmac<Sha256> {
    let mut mac = keyed.clone();
    update(&mut mac);
    mac
}
