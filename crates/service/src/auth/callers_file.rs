//! The callers' file (TOML): the issuers that this suite trusts, and the services that may call, each with its rights.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use kith_fold::THE_SUITE;
use serde::Deserialize;

use super::issuer::{Issuer, KeySource};
use super::key_url::{KeyTransport, KeyUrl};
use super::{Accounts, ISSUER, Operator, Principal, Refusals, Right};

/// The longest file: thousands of services.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const NAME_CHARS_MAX: usize = 64;
/// Longer names would be no keys of tables.
const ISSUER_BYTES_MAX: usize = 255;
const LEEWAY_SECONDS_DEFAULT: u32 = 30;
const LEEWAY_SECONDS_MAX: u32 = 300;

/// Why the file does not count. Names entries, never the content of keys or tokens.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    #[error("{path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is longer than {FILE_BYTES_MAX} bytes", path = path.display())]
    TooLong { path: PathBuf },
    #[error("{path} is no callers' file: {error}", path = path.display())]
    Toml { path: PathBuf, error: toml::de::Error },
    #[error("{path}: {entry} {problem}", path = path.display())]
    Entry { path: PathBuf, entry: String, problem: String },
    #[error("{path} is no JWK set with a key for {algorithm:?}", path = path.display())]
    Keys { path: PathBuf, algorithm: Algorithm },
}

/// What the file says.
pub struct CallersFile {
    pub(super) issuers: BTreeMap<Arc<str>, Issuer>,
    /// By issuer and subject.
    pub(super) by_subject: BTreeMap<(Arc<str>, String), Arc<Principal>>,
    /// By the name in a client certificate.
    pub(super) by_peer: BTreeMap<String, Arc<Principal>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    issuer: Vec<IssuerText>,
    #[serde(default)]
    principal: Vec<PrincipalText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerText {
    issuer: String,
    audience: String,
    algorithm: AlgorithmText,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
    /// Of the server at `jwks_url`.
    ca_file: Option<PathBuf>,
    subject_claim: Option<String>,
    leeway_seconds: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
enum AlgorithmText {
    #[serde(rename = "EdDSA")]
    EdDsa,
    ES256,
    RS256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalText {
    name: String,
    issuer: Option<String>,
    subject: Option<String>,
    tls: Option<String>,
    rights: BTreeSet<Right>,
    /// For whose accounts it acts: an issuer, or `any`.
    accounts: Option<String>,
    /// The client to which issuers issue tokens for people who use it; the name, unless set.
    client_id: Option<String>,
}

impl CallersFile {
    /// What the text of the file at `path` says; not the keys that it names. The files that it names are as it names them, beside it.
    pub fn parse(path: &Path, text: &[u8], over: KeyTransport, refusals: &Refusals) -> Result<Self, CallersError> {
        let toml = |error| CallersError::Toml { path: path.to_owned(), error };
        let text: FileText = toml::from_slice(text).map_err(toml)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::of(text, &Place { folder, over }, refusals).map_err(|(entry, problem)| CallersError::Entry {
            path: path.to_owned(),
            entry,
            problem,
        })
    }

    /// The issuers whose keys are at a URL.
    pub fn by_url(&self) -> impl Iterator<Item = (&Issuer, &KeyUrl)> {
        self.issuers.values().filter_map(|issuer| match &issuer.keys {
            KeySource::Url(url) => Some((issuer, url)),
            KeySource::File(_) => None,
        })
    }

    /// How many issuers it trusts, and how many services may call.
    pub fn counts(&self) -> (usize, usize) {
        (self.issuers.len(), self.by_subject.len() + self.by_peer.len())
    }

    /// How many of them may give operators' commands.
    pub fn operators(&self) -> usize {
        let all = self.by_subject.values().chain(self.by_peer.values());
        all.filter(|principal| principal.has(Right::Operate)).count()
    }

    /// Services without any right.
    pub fn idle(&self) -> impl Iterator<Item = &str> {
        let all = self.by_subject.values().chain(self.by_peer.values());
        all.filter(|principal| !principal.has_rights()).map(|principal| &**principal.name())
    }

    fn of(text: FileText, place: &Place<'_>, refusals: &Refusals) -> Result<Self, Wrong> {
        let mut file = Self { issuers: BTreeMap::new(), by_subject: BTreeMap::new(), by_peer: BTreeMap::new() };
        for issuer in text.issuer {
            let entry = format!("issuer `{}`", issuer.issuer);
            let issuer = issuer.parse(place).map_err(|problem| (entry.clone(), problem))?;
            if file.issuers.insert(Arc::clone(&issuer.name), issuer).is_some() {
                return Err((entry, "stands twice".to_owned()));
            }
        }
        let mut names = BTreeSet::new();
        for principal in text.principal {
            let entry = format!("principal `{}`", principal.name);
            if !names.insert(principal.name.clone()) {
                return Err((entry, "stands twice".to_owned()));
            }
            file.add(principal, refusals).map_err(|problem| (entry, problem))?;
        }
        Ok(file)
    }

    fn add(&mut self, text: PrincipalText, refusals: &Refusals) -> Result<(), String> {
        let PrincipalText { name, issuer, subject, tls, rights, accounts, client_id } = text;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_name) {
            return Err(format!("has a name that is not 1 to {NAME_CHARS_MAX} of a-z, 0-9, `-`, `_` and `.`"));
        }
        if [Operator::ANYONE, THE_SUITE].contains(&&*name) {
            return Err("has the name of whoever is no operator that is known".to_owned());
        }
        let accounts = match (accounts.or_else(|| issuer.clone()), rights.contains(&Right::ActAs)) {
            (Some(any), _) if any == "any" => Accounts::Any,
            (Some(issuer), _) => Accounts::OfIssuer(self.known(&issuer)?),
            (None, true) => return Err("has `act-as`, and does not say for which `accounts`".to_owned()),
            (None, false) => Accounts::Any,
        };
        let principal = Principal::new(&name, rights, accounts, refusals.clone());
        let principal = principal.of_party(client_id.unwrap_or(name));
        let is_new = match (issuer, subject, tls) {
            (Some(issuer), Some(subject), None) if !subject.is_empty() => {
                self.by_subject.insert((self.known(&issuer)?, subject), principal).is_none()
            }
            (None, None, Some(tls)) if !tls.is_empty() => self.by_peer.insert(tls, principal).is_none(),
            _ => return Err("needs either `issuer` and `subject`, or `tls`".to_owned()),
        };
        if is_new { Ok(()) } else { Err("proves itself as another one does".to_owned()) }
    }

    fn known(&self, issuer: &str) -> Result<Arc<str>, String> {
        let known = self.issuers.get_key_value(issuer).map(|(name, _)| Arc::clone(name));
        known.ok_or_else(|| format!("names the issuer `{issuer}`, which the file does not have"))
    }
}

/// The entry, and what is wrong with it.
type Wrong = (String, String);

/// Where the file is, and how the keys that it names may come.
struct Place<'a> {
    folder: &'a Path,
    over: KeyTransport,
}

impl IssuerText {
    fn parse(self, place: &Place<'_>) -> Result<Issuer, String> {
        let keys = self.keys(place)?;
        let Self { issuer, audience, algorithm, subject_claim, leeway_seconds, .. } = self;
        if issuer.is_empty() || issuer.len() > ISSUER_BYTES_MAX || issuer == ISSUER || issuer == "any" {
            return Err(format!("is not 1 to {ISSUER_BYTES_MAX} bytes long, or is one of `{ISSUER}` and `any`"));
        }
        if audience.is_empty() {
            return Err("has no `audience`".to_owned());
        }
        let subject_claim = subject_claim.unwrap_or_else(|| "sub".to_owned());
        if ["", "email", "preferred_username", "upn", "username", "login", "name", "nickname"]
            .contains(&&*subject_claim)
        {
            return Err("has a `subject_claim` that may be given to another person one day".to_owned());
        }
        let leeway_seconds = leeway_seconds.unwrap_or(LEEWAY_SECONDS_DEFAULT);
        if leeway_seconds > LEEWAY_SECONDS_MAX {
            return Err(format!("has a `leeway_seconds` over {LEEWAY_SECONDS_MAX}"));
        }
        let algorithm = match algorithm {
            AlgorithmText::EdDsa => Algorithm::EdDSA,
            AlgorithmText::ES256 => Algorithm::ES256,
            AlgorithmText::RS256 => Algorithm::RS256,
        };
        Ok(Issuer { name: issuer.into(), audience, algorithm, keys, subject_claim, leeway_seconds })
    }

    fn keys(&self, place: &Place<'_>) -> Result<KeySource, String> {
        let beside = |file: &PathBuf| place.folder.join(file);
        match (&self.jwks_file, &self.jwks_url, &self.ca_file) {
            (Some(file), None, None) => Ok(KeySource::File(beside(file))),
            (None, Some(url), ca) => {
                let url = KeyUrl::parse(url, ca.as_ref().map(beside), place.over);
                Ok(KeySource::Url(url.map_err(|why| format!("has a `jwks_url` that {why}"))?))
            }
            _ => Err("needs either `jwks_file`, or `jwks_url` and perhaps `ca_file`".to_owned()),
        }
    }
}

/// The bytes of the callers' file at `path`. Blocks briefly.
pub fn read(path: &Path) -> Result<Vec<u8>, CallersError> {
    let unreadable = |error| CallersError::File { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CallersError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUERS: &str = r#"
        [[issuer]]
        issuer = "https://login.example"
        audience = "kith"
        algorithm = "EdDSA"
        jwks_file = "login.json"
    "#;

    fn read(text: &str) -> Result<CallersFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callers.toml");
        std::fs::write(&path, text).unwrap();
        let parse = |text: Vec<u8>| CallersFile::parse(&path, &text, KeyTransport::LoopbackToo, &Refusals::default());
        super::read(&path)
            .and_then(parse)
            .map_err(|error| error.to_string().replace(&*folder.path().to_string_lossy(), ""))
    }

    fn principal(rest: &str) -> Result<CallersFile, String> {
        read(&format!("{ISSUERS}[[principal]]\nname = \"web\"\n{rest}"))
    }

    #[test]
    fn it_says_who_may_call_and_what_each_may_do() {
        let web = "issuer = \"https://login.example\"\nsubject = \"web\"\nrights = [\"read\", \"act-as\"]\n";
        let app = "[[principal]]\nname = \"app\"\ntls = \"spiffe://example/app\"\nrights = []\n";
        let file = principal(&format!("{web}{app}")).unwrap();
        assert_eq!((file.counts(), file.idle().collect::<Vec<_>>()), ((1, 2), vec!["app"]));
        let web = &file.by_subject[&("https://login.example".into(), "web".to_owned())];
        assert!(web.may(Right::ActAs).is_ok() && web.may(Right::Operate).is_err());
        assert_eq!(&**file.by_peer["spiffe://example/app"].name(), "app");
        assert_eq!(file.operators(), 0);
        let ops = "[[principal]]\nname = \"ops\"\ntls = \"ops.example\"\nrights = [\"operate\"]\n";
        assert_eq!(read(ops).unwrap().operators(), 1);
        let reserved = read(&ops.replace("\"ops\"", "\"anyone\"")).err().unwrap();
        assert!(reserved.contains("no operator that is known"), "{reserved}");
        assert_eq!(read("").unwrap().counts(), (0, 0));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_entry() {
        let by_token = "issuer = \"https://login.example\"\nsubject = \"web\"\n";
        for (text, wrong) in [
            ("rights = [\"read\"]".to_owned(), "needs either `issuer` and `subject`, or `tls`"),
            (format!("{by_token}tls = \"a\"\nrights = []"), "needs either"),
            ("tls = \"a\"\nrights = [\"act-as\"]".to_owned(), "does not say for which `accounts`"),
            (format!("{by_token}rights = [\"everything\"]"), "unknown variant `everything`"),
            (format!("{by_token}rights = []\naccounts = \"https://other\""), "which the file does not have"),
            (format!("{by_token}rights = []\nright = []"), "unknown field `right`"),
            (format!("{by_token}rights = []\n[[principal]]\nname = \"web\"\n{by_token}rights = []"), "stands twice"),
            (format!("{by_token}rights = []\n[[principal]]\nname = \"w\"\n{by_token}rights = []"), "as another one"),
        ] {
            let error = principal(&text).err().unwrap();
            assert!(error.contains(wrong) && error.contains("callers.toml"), "{text}: {error}");
        }
        for (from, to, wrong) in [
            ("EdDSA", "HS256", "unknown variant `HS256`"),
            ("https://login.example", "kith", "one of `kith` and `any`"),
            ("jwks_file", "subject_claim = \"email\"\njwks_file", "given to another person"),
            ("jwks_file", "leeway_seconds = 301\njwks_file", "over 300"),
            ("jwks_file = \"login.json\"", "", "needs either `jwks_file`, or `jwks_url`"),
            ("jwks_file", "jwks_url = \"https://login.example/keys\"\njwks_file", "needs either"),
            ("jwks_file", "ca_file = \"ca.pem\"\njwks_file", "needs either"),
            ("jwks_file = \"", "jwks_url = \"", "is not `https://`"),
            ("audience = \"kith\"", "audience = \"\"", "no `audience`"),
        ] {
            let error = read(&ISSUERS.replace(from, to)).err().unwrap();
            assert!(error.contains(wrong), "{to}: {error}");
        }
        for (over, url, is_fit) in [
            (KeyTransport::TlsOnly, "https://login.example/keys", true),
            (KeyTransport::TlsOnly, "https://login.example:8443", true),
            (KeyTransport::LoopbackToo, "http://127.0.0.1:80/keys", true),
            (KeyTransport::LoopbackToo, "http://[::1]:80/keys", true),
            (KeyTransport::TlsOnly, "http://127.0.0.1:80/keys", false),
            (KeyTransport::LoopbackToo, "http://login.example/keys", false),
            (KeyTransport::LoopbackToo, "http://localhost/keys", false),
            (KeyTransport::LoopbackToo, "https://user@login.example/keys", false),
            (KeyTransport::LoopbackToo, "https:///keys", false),
            (KeyTransport::TlsOnly, "https://login.example:65536/keys", false),
            (KeyTransport::TlsOnly, "https://login.example:0/keys", false),
            (KeyTransport::TlsOnly, "https://[2001:db8::1]:65979/keys", false),
            (KeyTransport::TlsOnly, "https://[2001:db8::1]/keys", true),
            (KeyTransport::LoopbackToo, "file:///keys", false),
            (KeyTransport::LoopbackToo, "", false),
        ] {
            assert_eq!(KeyUrl::parse(url, None, over).is_ok(), is_fit, "{over:?} {url}");
        }
        assert!(read(&"#".repeat(FILE_BYTES_MAX as usize + 1)).err().unwrap().contains("longer than"));
    }
}
