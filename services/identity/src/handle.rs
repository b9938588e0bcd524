//! The name an account is found by.

use std::fmt;

use kith_proto::errors::v1::Reason;
use kith_service::Failure;
use kith_text::handle::{HANDLE_CHARS_MAX, HANDLE_CHARS_MIN, ReservedHandles, WellKnownHandles, is_handle};
use sha2::{Digest, Sha256};

/// A normalised handle: `[a-z0-9_]{3,30}`. Personal: it goes into no log line.
#[derive(Clone, PartialEq, Eq)]
pub struct Handle(String);

impl Handle {
    /// Lowers upper case; fails with `HANDLE_INVALID` on anything else that is not a handle.
    pub fn parse(field: &str, text: &str) -> Result<Self, Failure> {
        Self::normalised(&text.to_ascii_lowercase()).ok_or_else(|| invalid(field))
    }

    /// The handle that `text` is as it stands, as events have it.
    pub fn normalised(text: &str) -> Option<Self> {
        is_handle(text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What intents about the handle are ordered by: its SHA-256, hexadecimal, so that no key tells a name.
    pub fn key(&self) -> String {
        Sha256::digest(self.0.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// Why a handle is given to nobody. Who has it from before keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    Reserved,
    /// It could be taken for a well-known or a reserved one.
    LooksAlike,
}

impl From<Barred> for Failure {
    fn from(barred: Barred) -> Self {
        let (reason, what) = match barred {
            Barred::Reserved => (Reason::HandleReserved, "is reserved"),
            Barred::LooksAlike => (Reason::HandleLooksAlike, "looks like a well-known one"),
        };
        Self::new(reason, format!("handle {what}")).with("field", "handle").violation("handle", what)
    }
}

/// Another account has the handle, or it is held back for one.
pub fn taken() -> Failure {
    Failure::new(Reason::HandleTaken, "handle is taken").violation("handle", "is taken")
}

/// Handles that are given to nobody.
pub struct BarredHandles {
    reserved: ReservedHandles,
    well_known: WellKnownHandles,
}

impl BarredHandles {
    pub fn new(reserved: ReservedHandles, well_known: WellKnownHandles) -> Self {
        Self { well_known: well_known.and(&reserved), reserved }
    }

    /// Why the handle is given to nobody, if it is not.
    pub fn bars(&self, handle: &Handle) -> Option<Barred> {
        match handle.as_str() {
            handle if self.reserved.contains(handle) => Some(Barred::Reserved),
            handle if self.well_known.is_imitated_by(handle) => Some(Barred::LooksAlike),
            _ => None,
        }
    }
}

fn invalid(field: &str) -> Failure {
    let wanted = format!("is not a handle: {HANDLE_CHARS_MIN} to {HANDLE_CHARS_MAX} of a-z, 0-9 and _");
    Failure::new(Reason::HandleInvalid, format!("{field} {wanted}")).with("field", field).violation(field, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_is_lowered_and_nothing_else_forgiven() {
        assert_eq!(Handle::parse("handle", "Ada_99").unwrap().as_str(), "ada_99");
        let longest = "x".repeat(30);
        assert_eq!(Handle::parse("handle", &longest).unwrap().as_str(), longest);
        for bad in ["", "ab", &"x".repeat(31), "@ada", "a da", "ada.b", "ädä", "ada\u{0}", "K\u{212A}K"] {
            let failure = Handle::parse("handle", bad).unwrap_err();
            assert_eq!((failure.reason_name(), &*failure.field_violations()[0].field), ("HANDLE_INVALID", "handle"));
        }
        assert_eq!(Handle::normalised("Ada"), None, "an event's handle is normalised already");
    }

    #[test]
    fn its_key_is_a_sha256() {
        let key = Handle::parse("handle", "ABC").unwrap().key();
        assert_eq!(key, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "as FIPS 180-4 has it");
    }
}
