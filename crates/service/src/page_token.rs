//! Page tokens: opaque to callers, signed, bound to the query and the filter that made them.

pub mod cursor;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::Failure;
use crate::keys::secret::{Macs, Secret};
use crate::limits::{PAGE_CURSOR_BYTES, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

const FORMAT: u8 = 1;
const SIGNATURE_BYTES: usize = 32;
const TOKEN_CHARS_MAX: usize = (1 + PAGE_CURSOR_BYTES + SIGNATURE_BYTES).div_ceil(3) * 4;

/// Seals and opens page tokens. All replicas of a service share the key; cheap to clone.
#[derive(Clone)]
pub struct PageTokens {
    macs: Macs,
}

impl PageTokens {
    pub fn new(key: impl Into<Secret>) -> Result<Self, Failure> {
        Ok(Self { macs: Macs::new(&key.into())? })
    }

    /// A token for `cursor` (at most 5 KiB; callers can read it, but not change it) in the list of `query` (a name,
    /// with its generation) with these values of its `filter`.
    pub fn seal(&self, query: &str, filter: &[&[u8]], cursor: &[u8]) -> Result<String, Failure> {
        if cursor.len() > PAGE_CURSOR_BYTES {
            return Err(Failure::internal());
        }
        let mut token = Vec::with_capacity(1 + cursor.len() + SIGNATURE_BYTES);
        token.push(FORMAT);
        token.extend_from_slice(cursor);
        token.extend_from_slice(&self.macs.make(said(query, filter, cursor)));
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// The cursor in `token`; `None` for the empty token, which asks for the first page.
    ///
    /// Fails with `PAGE_TOKEN_INVALID` on anything that [`Self::seal`] did not make with this key for this query and
    /// this filter.
    pub fn open(&self, query: &str, filter: &[&[u8]], token: &str) -> Result<Option<Vec<u8>>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        self.cursor_of(query, filter, token).map(Some).ok_or_else(Failure::page_token_invalid)
    }

    fn cursor_of(&self, query: &str, filter: &[&[u8]], token: &str) -> Option<Vec<u8>> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (&format, rest) = bytes.split_first()?;
        let (cursor, signature) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_BYTES)?)?;
        if format != FORMAT {
            return None;
        }
        self.macs.accept(said(query, filter, cursor), signature).then(|| cursor.to_vec())
    }
}

/// What a token's HMAC is over.
fn said(query: &str, filter: &[&[u8]], cursor: &[u8]) -> impl Fn(&mut Hmac<Sha256>) {
    let filter = crate::ids::hash("kith.page-filter.v1", filter);
    move |mac| {
        for part in [&[FORMAT][..], query.as_bytes(), &filter, cursor] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
    }
}

/// How many items a page has: 0 is the default of 50, more than 100 is 100 (AIP-158), less than 0 is refused.
pub fn page_size(field: &str, asked: i32) -> Result<usize, Failure> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(asked) => Ok(asked.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Failure::page_size_negative(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key: u8) -> PageTokens {
        PageTokens::new(&[key; 32]).unwrap()
    }

    #[test]
    fn a_token_gives_its_cursor_back() {
        for cursor in [&b""[..], b"position 9", &[255; PAGE_CURSOR_BYTES]] {
            let token = tokens(1).seal("ListFollowers", &[b"ada"], cursor).unwrap();
            assert_eq!(tokens(1).open("ListFollowers", &[b"ada"], &token).unwrap().as_deref(), Some(cursor));
        }
        assert_eq!(tokens(1).open("ListFollowers", &[], "").unwrap(), None);
        assert!(tokens(1).seal("ListFollowers", &[], &[0; PAGE_CURSOR_BYTES + 1]).is_err());
    }

    #[test]
    fn a_token_of_another_query_filter_or_key_is_refused() {
        let token = tokens(1).seal("ListFollowers", &[b"ada", b""], b"cursor").unwrap();
        let opened = [
            tokens(1).open("ListFollowing", &[b"ada", b""], &token),
            tokens(1).open("ListFollowers", &[b"bob", b""], &token),
            tokens(1).open("ListFollowers", &[b"ada"], &token),
            tokens(1).open("ListFollowers", &[b"ad", b"a"], &token),
            tokens(2).open("ListFollowers", &[b"ada", b""], &token),
        ];
        for refused in opened {
            assert_eq!(refused.unwrap_err().reason_name(), "PAGE_TOKEN_INVALID");
        }
    }

    #[test]
    fn a_changed_or_truncated_token_is_refused() {
        let token = tokens(1).seal("Q", &[], b"cursor").unwrap();
        for end in 1..token.len() {
            assert!(tokens(1).open("Q", &[], &token[..end]).is_err(), "{end}");
        }
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(tokens(1).open("Q", &[], &String::from_utf8(changed).unwrap()).is_err(), "{at}");
        }
        for junk in ["=", "a", "not base64!", &"A".repeat(100_000), "\u{0}"] {
            assert!(tokens(1).open("Q", &[], junk).is_err());
        }
    }

    #[test]
    fn page_sizes_follow_the_convention() {
        let size = |asked| page_size("page_size", asked).ok();
        assert_eq!([size(0), size(1), size(100), size(101)], [Some(50), Some(1), Some(100), Some(100)]);
        assert_eq!([size(-1), size(i32::MIN)], [None, None]);
    }
}
