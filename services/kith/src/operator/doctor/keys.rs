//! The folder of keys: whether the keys exist, are readable, and only their owner's.

use std::path::Path;

use kith_finding::{Finding, Weight};
use kith_service::config::{ServiceName, Settings};
use kith_service::jwks::JwkSet;
use kith_service::keys::{
    CONSISTENCY_TOKEN_KEY_FILE, JWKS_FILE, KeyError, KeyFolder, PAGE_TOKEN_KEY_FILE, REFRESH_TOKEN_KEY_FILE,
    SIGNING_KEY_FILE,
};

use super::machine::mode;

const MADE_BY: &str = "run `kith init`, which makes what is missing";
/// A JWK set is shorter.
const JWKS_BYTES_MAX: u64 = 64 * 1024;

pub fn examine(settings: &Settings) -> Vec<Finding> {
    let folder = &settings.keys_dir;
    if settings.is_embedded() && !folder.exists() {
        return vec![Finding::sound(folder.display().to_string(), "keys", "not made yet: `kith run` makes them")];
    }
    if folder.exists() && !is_for_keys(folder) {
        let found = ("holds other things, and no key", "keys, or nothing yet");
        let fix = "this is not a keys folder: choose another `keys_dir`";
        return vec![Finding::judged(folder.display().to_string(), "keys", found, Weight::Wrong, fix)];
    }
    let mut checks = vec![folder_mode(folder)];
    let keys = KeyFolder::at(folder);
    for (file, key) in
        [(PAGE_TOKEN_KEY_FILE, keys.page_token_key()), (CONSISTENCY_TOKEN_KEY_FILE, keys.consistency_token_key())]
    {
        checks.push(readable(&folder.join(file), key.err()));
        checks.push(key_mode(&folder.join(file)));
    }
    let signing = settings.services.contains(&ServiceName::Identity).then(|| keys.signing_key());
    let kid = signing.as_ref().and_then(|key| key.as_ref().ok()).map(|key| key.kid().to_owned());
    if let Some(signing) = signing {
        checks.push(readable(&folder.join(SIGNING_KEY_FILE), signing.err()));
        checks.push(key_mode(&folder.join(SIGNING_KEY_FILE)));
        let refresh_tokens = keys.refresh_token_key().map(drop);
        checks.push(readable(&folder.join(REFRESH_TOKEN_KEY_FILE), refresh_tokens.err()));
        checks.push(key_mode(&folder.join(REFRESH_TOKEN_KEY_FILE)));
    }
    checks.push(public_keys(&settings.jwks_file(), kid.as_deref()));
    // A missing file has been reported already.
    checks.retain(|check| check.name != "mode" || Path::new(&check.subject).exists());
    checks
}

/// Whether it holds a key, or nothing yet. Another program's folder must not be changed for keys.
fn is_for_keys(folder: &Path) -> bool {
    let keys = [SIGNING_KEY_FILE, REFRESH_TOKEN_KEY_FILE, PAGE_TOKEN_KEY_FILE, CONSISTENCY_TOKEN_KEY_FILE, JWKS_FILE];
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none() || keys.iter().any(|key| folder.join(key).exists()),
        // It may still be one whose files can be opened by their names.
        Err(_) => keys.iter().any(|key| folder.join(key).exists()),
    }
}

fn readable(path: &Path, error: Option<KeyError>) -> Finding {
    let found = error.as_ref().map_or("reads".to_owned(), ToString::to_string);
    let fix = match &error {
        Some(KeyError::Malformed { .. }) => "put a copy of the key back; a new one voids what the old one made",
        _ => MADE_BY,
    };
    Finding::checked(path.display().to_string(), "key", (found, "reads"), error.is_none(), Weight::Wrong, fix)
}

/// A key is its owner's; its group may read it, since secrets are mounted into a container that way.
fn key_mode(path: &Path) -> Finding {
    let weight = |mode| match mode {
        open if open & 0o007 != 0 => Weight::Wrong,
        shared if shared & 0o030 != 0 => Weight::Doubtful,
        _ => Weight::Sound,
    };
    mode(path, 0o600, weight)
}

/// A user with write access can replace the keys. In a folder with the sticky bit, as of mounted secrets, only a file's
/// owner can.
fn folder_mode(path: &Path) -> Finding {
    let weight = |mode| match mode {
        sticky if sticky & 0o1000 != 0 => Weight::Sound,
        open if open & 0o002 != 0 => Weight::Wrong,
        shared if shared & 0o077 != 0 => Weight::Doubtful,
        _ => Weight::Sound,
    };
    mode(path, 0o700, weight)
}

/// `kid`: the key that this process signs with must be among them.
fn public_keys(path: &Path, kid: Option<&str>) -> Finding {
    let read = || {
        if std::fs::metadata(path).map_err(|error| error.to_string())?.len() > JWKS_BYTES_MAX {
            return Err("too long for a JWK set".to_owned());
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let set = JwkSet::parse(&bytes).ok_or("no JWK set of Ed25519 keys")?;
        match kid {
            Some(kid) if set.find(kid).is_none() => Err("without the key that tokens are signed with".to_owned()),
            _ => Ok(format!("{} keys", set.keys.len())),
        }
    };
    let (subject, name, wanted) = (path.display().to_string(), "public keys", "the keys that tokens are verified with");
    match read() {
        Ok(found) => Finding::sound(subject, name, found),
        Err(why) => Finding::judged(subject, name, (why, wanted), Weight::Wrong, MADE_BY),
    }
}
