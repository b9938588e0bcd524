//! One key follows another in three steps, so that no process meets what it cannot read.
//!
//! 1. *Prepare*: the next key is made (`FILE.next`). Every process accepts what it makes; none makes anything with it.
//! 2. *Switch*: the next key makes; the one before (`FILE.previous`) is only accepted. A signing key's private half is gone then.
//! 3. *Retire*: the one before is gone.
//!
//! Processes read the folder when they start (`jwks.json` within 5 s too), so all are restarted between two steps. A step that was
//! cut off is done again by its repeat. The time of a switch stands in a file (`FILE.switched`), since files' own times are lost when
//! they are taken out of a secret store.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use kith_runtime::Runtime;

use super::{
    CONSISTENCY_TOKEN_KEY_FILE, KeyError, KeyFolder, PAGE_TOKEN_KEY_FILE, REFRESH_TOKEN_KEY_FILE, SIGNING_KEY_FILE,
    read_bounded, replace, sync_folder,
};
use crate::limits::{ACCESS_TOKEN_LIFETIME_SECONDS, SESSION_IDLE_SECONDS};

const NEXT: &str = ".next";
const PREVIOUS: &str = ".previous";
const SWITCHED: &str = ".switched";
/// A repeat of a step that is made at once is a mistake: nobody has got the folder since.
const PREPARED_FOR: Duration = Duration::from_secs(60);
/// How far the clocks of two processes may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A key that can be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs access tokens.
    Signing,
    /// Authenticates page tokens.
    PageToken,
    /// Makes refresh tokens.
    RefreshToken,
    /// Seals consistency tokens.
    ConsistencyToken,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Prepare,
    Switch,
    Retire,
}

/// The step that a key's rotation comes to next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub step: Step,
    /// What the key before made is used until then: an earlier step would void it.
    pub not_before: Option<SystemTime>,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("what the key before made may be used for {} more seconds", wait.as_secs())]
    TooEarly { wait: Duration },
}

impl KeyKind {
    pub const ALL: [Self; 4] = [Self::Signing, Self::PageToken, Self::RefreshToken, Self::ConsistencyToken];

    /// As commands name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::PageToken => "page-token",
            Self::RefreshToken => "refresh-token",
            Self::ConsistencyToken => "consistency-token",
        }
    }

    pub const fn file(self) -> &'static str {
        match self {
            Self::Signing => SIGNING_KEY_FILE,
            Self::PageToken => PAGE_TOKEN_KEY_FILE,
            Self::RefreshToken => REFRESH_TOKEN_KEY_FILE,
            Self::ConsistencyToken => CONSISTENCY_TOKEN_KEY_FILE,
        }
    }

    /// The file of a key at another turn than the current one.
    fn named(self, turn: &str) -> String {
        self.file().to_owned() + turn
    }

    /// For how long what the key made is used after another one makes: the longest life of an access token, a walk through pages of
    /// a day, a client that reads a day after it wrote, a session that is not used and a day for the turn of its token.
    pub const fn used_for(self) -> Duration {
        match self {
            Self::Signing => Duration::from_secs(ACCESS_TOKEN_LIFETIME_SECONDS).saturating_add(CLOCKS_DIFFER),
            Self::PageToken | Self::ConsistencyToken => DAY,
            Self::RefreshToken => Duration::from_secs(SESSION_IDLE_SECONDS).saturating_add(DAY),
        }
    }
}

impl std::str::FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| format!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl KeyFolder {
    /// The step that the rotation of that key comes to next, and from when on it may be made.
    pub fn due(&self, kind: KeyKind) -> Result<Due, KeyError> {
        if self.turn(kind, NEXT).exists() && self.is_published(kind)? {
            let prepared = self.modified(kind, NEXT)?;
            return Ok(Due { step: Step::Switch, not_before: prepared.checked_add(PREPARED_FOR) });
        }
        if !self.turn(kind, NEXT).exists() && self.has_previous(kind)? {
            let switched = self.switched(kind)?;
            return Ok(Due { step: Step::Retire, not_before: switched.checked_add(kind.used_for()) });
        }
        Ok(Due { step: Step::Prepare, not_before: None })
    }

    /// Makes the next step. `early`: also before its time. Fails with [`RotationError::TooEarly`], and changes nothing then.
    pub fn rotate(&self, kind: KeyKind, early: bool, runtime: &Runtime) -> Result<Step, RotationError> {
        let Due { step, not_before } = self.due(kind)?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(runtime.now_ms()).unwrap_or(0));
        let wait = not_before.and_then(|time| time.duration_since(now).ok()).filter(|_| !early);
        if let Some(wait) = wait {
            return Err(RotationError::TooEarly { wait });
        }
        match step {
            Step::Prepare => self.prepare(kind, runtime)?,
            Step::Switch => self.switch(kind, now)?,
            Step::Retire => self.retire(kind)?,
        }
        Ok(step)
    }

    fn prepare(&self, kind: KeyKind, runtime: &Runtime) -> Result<(), KeyError> {
        // Without the key that stands nothing is rotated.
        read_bounded(&self.path.join(kind.file()))?;
        let next = kind.named(NEXT);
        match kind {
            KeyKind::Signing => {
                self.create_signing_key(&next, runtime)?;
                self.publish(&self.signing_key_of(&next)?.public)
            }
            KeyKind::PageToken | KeyKind::RefreshToken | KeyKind::ConsistencyToken => {
                self.create_secret(&next, runtime)
            }
        }
    }

    fn switch(&self, kind: KeyKind, now: SystemTime) -> Result<(), KeyError> {
        let (next, current) = (self.turn(kind, NEXT), self.path.join(kind.file()));
        if kind != KeyKind::Signing {
            let previous = self.turn(kind, PREVIOUS);
            replace(&previous, &read_bounded(&current)?)?;
        }
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        replace(&self.turn(kind, SWITCHED), since_epoch.as_secs().to_string().as_bytes())?;
        let renamed = fs::rename(&next, &current).and_then(|()| sync_folder(&current));
        renamed.map_err(|error| KeyError::File { path: current, error })
    }

    fn retire(&self, kind: KeyKind) -> Result<(), KeyError> {
        if kind == KeyKind::Signing {
            return self.publish_only(&self.signing_key()?.public);
        }
        let previous = self.turn(kind, PREVIOUS);
        let removed = fs::remove_file(&previous).and_then(|()| sync_folder(&previous));
        removed.map_err(|error| KeyError::File { path: previous, error })
    }

    fn modified(&self, kind: KeyKind, turn: &str) -> Result<SystemTime, KeyError> {
        let path = self.turn(kind, turn);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        modified.map_err(|error| KeyError::File { path, error })
    }

    /// When the key took its place; else its file's own time, which is no earlier.
    fn switched(&self, kind: KeyKind) -> Result<SystemTime, KeyError> {
        let path = self.turn(kind, SWITCHED);
        let expected = "the seconds since 1970";
        let bytes = match read_bounded(&path) {
            Err(KeyError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return self.modified(kind, "");
            }
            read => read?,
        };
        let seconds = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        let time = seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        time.ok_or(KeyError::Malformed { path, expected })
    }

    /// The keys of that kind that are accepted beside the current one.
    pub(super) fn beside(&self, file: &str) -> Result<Vec<[u8; 32]>, KeyError> {
        let turns = [NEXT, PREVIOUS].map(|turn| file.to_owned() + turn);
        turns.iter().filter(|file| self.path.join(file).exists()).map(|file| self.secret_of(file)).collect()
    }

    fn turn(&self, kind: KeyKind, turn: &str) -> PathBuf {
        self.path.join(kind.named(turn))
    }

    /// Whether every process can come to accept what the next key makes.
    fn is_published(&self, kind: KeyKind) -> Result<bool, KeyError> {
        if kind != KeyKind::Signing {
            return Ok(true);
        }
        let next = self.signing_key_of(&kind.named(NEXT))?;
        Ok(self.public_keys()?.find(next.kid()).is_some())
    }

    fn has_previous(&self, kind: KeyKind) -> Result<bool, KeyError> {
        if kind != KeyKind::Signing {
            return Ok(self.turn(kind, PREVIOUS).exists());
        }
        let current = self.signing_key()?;
        Ok(self.public_keys()?.keys.iter().any(|key| key.kid != current.kid()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Macs;
    use super::*;

    fn folder() -> (tempfile::TempDir, KeyFolder) {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.create_missing(&Runtime::system()).unwrap();
        (folder, keys)
    }

    fn steps(keys: &KeyFolder, kind: KeyKind, count: usize) -> Vec<Step> {
        (0..count).map(|_| keys.rotate(kind, true, &Runtime::system()).unwrap()).collect()
    }

    fn content(mac: &mut hmac::Hmac<sha2::Sha256>) {
        hmac::Mac::update(mac, b"content");
    }

    #[test]
    fn at_each_step_each_process_accepts_what_any_other_makes() {
        for kind in [KeyKind::PageToken, KeyKind::RefreshToken, KeyKind::ConsistencyToken] {
            let (_folder, keys) = folder();
            let read = || match kind {
                KeyKind::PageToken => Macs::new(&keys.page_token_key().unwrap()).unwrap(),
                KeyKind::ConsistencyToken => Macs::new(&keys.consistency_token_key().unwrap()).unwrap(),
                _ => Macs::new(&keys.refresh_token_key().unwrap()).unwrap(),
            };
            let accepts = |process: &Macs, maker: &Macs| process.accept(content, &maker.make(content));
            let mut processes = vec![read()];
            for step in [Step::Prepare, Step::Switch, Step::Retire] {
                assert_eq!(keys.rotate(kind, true, &Runtime::system()).unwrap(), step);
                processes.push(read());
                // Those started before this step and after it run side by side.
                let [.., before, after] = &processes[..] else { panic!("no two") };
                assert!(accepts(before, after) && accepts(after, before), "{kind:?} {step:?}");
            }
            let [first, .., last] = &processes[..] else { panic!("no two") };
            assert!(!accepts(last, first) && !accepts(first, last), "the first key is gone");
            assert_eq!(keys.due(kind).unwrap().step, Step::Prepare);
        }
    }

    #[test]
    fn a_signing_key_is_published_before_it_signs_and_outlives_its_use() {
        let (folder, keys) = folder();
        let published = |kid: &str| keys.public_keys().unwrap().find(kid).is_some();
        let first = keys.signing_key().unwrap().kid().to_owned();
        assert_eq!(steps(&keys, KeyKind::Signing, 1), [Step::Prepare]);
        assert_eq!((keys.signing_key().unwrap().kid(), keys.public_keys().unwrap().keys.len()), (&*first, 2));
        assert_eq!(steps(&keys, KeyKind::Signing, 1), [Step::Switch]);
        let second = keys.signing_key().unwrap().kid().to_owned();
        assert!(second != first && published(&first) && published(&second));
        assert!(fs::read(folder.path().join("signing-key.pem.switched")).is_ok());
        // One that starts now publishes nothing else.
        keys.create_missing(&Runtime::system()).unwrap();
        let early = keys.rotate(KeyKind::Signing, false, &Runtime::system()).unwrap_err();
        let RotationError::TooEarly { wait } = early else { panic!("{early}") };
        // Put there anew, out of a secret store.
        fs::write(folder.path().join("signing-key.pem.switched"), "1000000000\n").unwrap();
        let due = keys.due(KeyKind::Signing).unwrap();
        assert_eq!(due.not_before, SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_000_000_900)));
        assert!(wait <= KeyKind::Signing.used_for() && wait > Duration::from_secs(600), "{wait:?}");
        assert_eq!(steps(&keys, KeyKind::Signing, 1), [Step::Retire]);
        assert!(!published(&first) && published(&second));
    }

    #[test]
    fn a_step_that_was_cut_off_is_done_by_its_repeat() {
        let (folder, keys) = folder();
        // Killed before the public half of the next key was written.
        keys.create_signing_key("signing-key.pem.next", &Runtime::system()).unwrap();
        assert_eq!(steps(&keys, KeyKind::Signing, 2), [Step::Prepare, Step::Switch]);
        // Killed before the next key was renamed.
        let first = fs::read(folder.path().join(PAGE_TOKEN_KEY_FILE)).unwrap();
        steps(&keys, KeyKind::PageToken, 1);
        fs::write(folder.path().join("page-token.key.previous"), &first).unwrap();
        assert_eq!(steps(&keys, KeyKind::PageToken, 1), [Step::Switch]);
        let secret = keys.page_token_key().unwrap();
        assert!(secret.current[..] != first[..] && secret.beside == [<[u8; 32]>::try_from(first).unwrap()]);
    }

    #[test]
    fn without_its_key_nothing_is_rotated() {
        let (folder, keys) = folder();
        for kind in KeyKind::ALL {
            fs::remove_file(folder.path().join(kind.file())).unwrap();
            assert!(keys.rotate(kind, true, &Runtime::system()).is_err(), "{kind:?}");
        }
    }
}
