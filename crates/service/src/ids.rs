//! Ids: 16 bytes, shown as 32 hexadecimal characters, derived by hash, so that a repeated command has the same one.

use kith_log::RecordId;
use kith_runtime::Runtime;
use sha2::{Digest, Sha256};

use crate::Failure;
use crate::limits::REQUEST_ID_CHARS;

/// The id of a command's one record, and of the thing that it creates, if that is independent (a post).
///
/// The same (actor, rpc, request_id) gives the same id for ever: the formula is part of the contract of the log.
pub fn record_id(actor: RecordId, rpc: &str, request_id: &RequestId) -> RecordId {
    truncated("kith.record.v1", &[&actor.0, rpc.as_bytes(), request_id.0.as_bytes()])
}

/// The id of a command that a calling service asks for, made of the id that it would have if its account asked: under one request
/// id, two services ask for two things.
pub fn by_principal(principal: &str, id: RecordId) -> RecordId {
    truncated("kith.principal.v1", &[principal.as_bytes(), &id.0])
}

/// The id of a thing that a command creates within another: a comment on a post, a message in a conversation. The same
/// request id for another `place` creates another thing.
pub fn made_in(command: RecordId, place: &str) -> RecordId {
    truncated("kith.made-in.v1", &[&command.0, place.as_bytes()])
}

/// The id of one item of a batched command, which is a separate record.
pub fn item_id(command: RecordId, item: &[u8]) -> RecordId {
    truncated("kith.item.v1", &[&command.0, item])
}

/// The id of an account that is being created: it has no actor yet. `handle` is the normalised one.
pub fn account_id(handle: &str, request_id: &RequestId) -> RecordId {
    truncated("kith.account.v1", &[handle.as_bytes(), request_id.0.as_bytes()])
}

/// Parses the id in a request's field. Fails with `ID_MALFORMED` unless it is 32 lower-case hexadecimal characters.
pub fn parse_id(field: &str, text: &str) -> Result<RecordId, Failure> {
    RecordId::parse(text).ok_or_else(|| Failure::id_malformed(field))
}

/// As [`parse_id`], for an id that may be left out.
pub fn parse_id_or_empty(field: &str, text: &str) -> Result<(), Failure> {
    if text.is_empty() { Ok(()) } else { parse_id(field, text).map(|_| ()) }
}

/// The digest of a request's content (not `request_id`, not `at_least`), in a fixed field order. The same `request_id`
/// with another digest is refused.
pub fn payload_digest(fields: &[&[u8]]) -> [u8; 32] {
    hash("kith.payload.v1", fields)
}

/// Identifies repeats of a command (AIP-155).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// At most 64 printable ASCII characters. If empty, the server makes one: such a command cannot be repeated.
    pub fn parse(field: &str, text: &str, runtime: &Runtime) -> Result<Self, Failure> {
        if text.is_empty() {
            return Self::random(runtime);
        }
        if text.len() > REQUEST_ID_CHARS || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(Failure::request_id_malformed(field));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn random(runtime: &Runtime) -> Result<Self, Failure> {
        let mut bytes = [0; 16];
        runtime.fill_random(&mut bytes).map_err(|_| Failure::internal())?;
        // A caller's own request_id cannot be confused with it in practice: it would have to be guessed.
        Ok(Self(RecordId(bytes).to_string()))
    }
}

fn truncated(domain: &str, parts: &[&[u8]]) -> RecordId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(domain, parts)[..16]);
    RecordId(id)
}

/// Every part follows its length: ("ab", "c") and ("a", "bc") differ.
pub(crate) fn hash(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

const ID_END_DIGITS: usize = 16;
/// See [`id_end`].
pub const ID_END_BYTES: usize = ID_END_DIGITS / 2;

/// The end of an id, of which every digit depends on all of what the id was made of: for page tokens that remember many. `None`:
/// it is no id.
pub fn id_end(id: &str) -> Option<[u8; ID_END_BYTES]> {
    let digits = id.get(id.len().checked_sub(ID_END_DIGITS)?..)?;
    u64::from_str_radix(digits, 16).ok().map(u64::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> RequestId {
        RequestId::parse("request_id", text, &Runtime::system()).unwrap()
    }

    #[test]
    fn ids_are_part_of_the_contract_of_the_log() {
        let id = record_id(RecordId([7; 16]), "kith.posts.v1.PostService/CreatePost", &request("r-1"));
        assert_eq!(id.to_string(), "55c4a91267910ed25b6c773d697e8abd");
        assert_eq!(account_id("ada", &request("r-1")).to_string(), "e3061a9ff96bbf9e56bad06624622381");
        assert_ne!(made_in(id, "one"), made_in(id, "other"));
        assert_eq!(made_in(id, "one").to_string(), "d0060552db8fdb25f8f1100e56ee1815");
    }

    #[test]
    fn another_actor_rpc_or_request_is_another_id() {
        let of = |actor, rpc, id| record_id(RecordId([actor; 16]), rpc, &request(id));
        let id = of(1, "A", "b");
        assert_eq!(id, of(1, "A", "b"));
        for other in [of(2, "A", "b"), of(1, "B", "b"), of(1, "A", "c"), of(1, "Ab", " ")] {
            assert_ne!(id, other);
        }
        assert_ne!(payload_digest(&[b"ab", b"c"]), payload_digest(&[b"a", b"bc"]));
        assert_ne!(payload_digest(&[b"ab"]), payload_digest(&[b"ab", b""]));
    }

    #[test]
    fn request_ids_are_printable_ascii() {
        assert_eq!(request("order 17~").as_str(), "order 17~");
        let longest = "x".repeat(64);
        assert_eq!(request(&longest).as_str(), longest);
        for bad in ["x".repeat(65), "tab\t".into(), "é".into(), "\u{7f}".into()] {
            let failure = RequestId::parse("request_id", &bad, &Runtime::system()).unwrap_err();
            assert_eq!(failure.field_violations()[0].field, "request_id");
        }
    }

    #[test]
    fn a_missing_request_id_is_made_from_the_runtime() {
        assert_ne!(request(""), request(""));
        assert_eq!(request("").as_str().len(), 32);
    }

    #[test]
    fn a_malformed_id_names_its_field() {
        let good = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(parse_id("post_id", good).unwrap().to_string(), good);
        for bad in ["", "0", &good.to_uppercase(), &format!("{good}0"), "zz0102030405060708090a0b0c0d0e0f"] {
            let failure = parse_id("post_id", bad).unwrap_err();
            assert_eq!((failure.reason_name(), &*failure.field_violations()[0].field), ("ID_MALFORMED", "post_id"));
        }
    }
}
