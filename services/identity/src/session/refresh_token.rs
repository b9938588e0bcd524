//! Refresh tokens: which session, which number, and an HMAC over both by a key that only the identity service has. Nothing of
//! them is stored, and the next one of a session is a function of its number.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use kith_log::{Offset, RecordId};
use kith_proto::errors::v1::Reason;
use kith_service::Failure;
use kith_service::keys::secret::{Macs, Secret};
use kith_service::limits::REFRESH_TOKEN_CHARS;
use sha2::Sha256;

const FORMAT: u8 = 1;
const DOMAIN: &[u8] = b"kith.refresh-token.v1";
const ID_BYTES: usize = 16;
const SAID_BYTES: usize = 1 + 2 * ID_BYTES + size_of::<u64>() + size_of::<u32>();

/// Makes and reads refresh tokens. Hidden in logs.
pub struct RefreshTokens {
    macs: Macs,
}

/// What a refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub account_id: RecordId,
    pub session_id: RecordId,
    /// The offset of the session's record in the account's partition: tables that lack it are waited for.
    pub made_at: Offset,
    /// From 1.
    pub number: u32,
}

impl RefreshTokens {
    pub fn new(key: impl Into<Secret>) -> Result<Self, Failure> {
        Ok(Self { macs: Macs::new(&key.into())? })
    }

    pub fn make(&self, token: RefreshToken) -> String {
        let mut bytes = token.said();
        bytes.extend_from_slice(&self.macs.make(over(&bytes)));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Fails with `REFRESH_TOKEN_INVALID` on what was not made with one of the keys.
    pub fn read(&self, text: &str) -> Result<RefreshToken, Failure> {
        self.opened(text).ok_or_else(invalid)
    }

    fn opened(&self, text: &str) -> Option<RefreshToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (said, mac) = bytes.split_at_checked(SAID_BYTES)?;
        self.macs.accept(over(said), mac).then(|| RefreshToken::heard(said)).flatten()
    }
}

fn over(said: &[u8]) -> impl Fn(&mut Hmac<Sha256>) {
    move |mac| {
        mac.update(DOMAIN);
        mac.update(said);
    }
}

impl RefreshToken {
    fn said(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SAID_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.account_id.0);
        bytes.extend_from_slice(&self.session_id.0);
        bytes.extend_from_slice(&self.made_at.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn heard(said: &[u8]) -> Option<Self> {
        let (&format, rest) = said.split_first()?;
        let (account_id, rest) = rest.split_first_chunk()?;
        let (session_id, rest) = rest.split_first_chunk()?;
        let (made_at, rest) = rest.split_first_chunk()?;
        let number = u32::from_be_bytes(rest.try_into().ok()?);
        let (account_id, session_id) = (RecordId(*account_id), RecordId(*session_id));
        (format == FORMAT).then_some(Self { account_id, session_id, made_at: u64::from_be_bytes(*made_at), number })
    }
}

/// Fails with `FIELD_INVALID` on what has not the form of one.
pub fn check_form(field: &str, text: &str) -> Result<(), Failure> {
    let is_character = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match (1..=REFRESH_TOKEN_CHARS).contains(&text.len()) && text.bytes().all(is_character) {
        true => Ok(()),
        false => {
            let wanted = format!("is not 1 to {REFRESH_TOKEN_CHARS} characters of base64url");
            Err(Failure::field_invalid(field, &wanted))
        }
    }
}

pub fn invalid() -> Failure {
    Failure::new(Reason::RefreshTokenInvalid, "the refresh token was not made by this suite")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: RefreshToken =
        RefreshToken { account_id: RecordId([1; 16]), session_id: RecordId([2; 16]), made_at: 1 << 40, number: 7 };

    fn tokens(key: u8) -> RefreshTokens {
        RefreshTokens::new(&[key; 32]).unwrap()
    }

    #[test]
    fn one_reads_back_and_is_the_same_whenever_it_is_made() {
        let text = tokens(1).make(TOKEN);
        assert_eq!(tokens(1).read(&text), Ok(TOKEN));
        assert_eq!(text, tokens(1).make(TOKEN));
        assert_ne!(text, tokens(1).make(RefreshToken { number: 8, ..TOKEN }));
        assert!(text.len() <= REFRESH_TOKEN_CHARS);
    }

    #[test]
    fn another_key_or_any_other_byte_is_refused() {
        let text = tokens(1).make(TOKEN);
        let reason = |text: &str| {
            check_form("refresh_token", text).and_then(|()| tokens(1).read(text)).unwrap_err().reason_name().to_owned()
        };
        assert_eq!(reason(&tokens(2).make(TOKEN)), "REFRESH_TOKEN_INVALID");
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(reason(&URL_SAFE_NO_PAD.encode(&changed)), "REFRESH_TOKEN_INVALID", "byte {at}");
            assert_eq!(reason(&URL_SAFE_NO_PAD.encode(&bytes[..=at][..at.max(1)])), "REFRESH_TOKEN_INVALID");
        }
        for malformed in ["", "a b", "ä", &"a".repeat(REFRESH_TOKEN_CHARS + 1)] {
            assert_eq!(reason(malformed), "FIELD_INVALID", "{malformed}");
        }
    }
}
