//! The record that a retry of a dead letter appends.

use kith_log::{AppendError, Header, NewRecord, RecordId, headers};
use kith_service::Failure;
use sha2::{Digest, Sha256};

use super::letters::{Content, Letter};

/// The same bytes with the same key and headers, except a new id (a fold that has applied the old id ignores a second
/// record with it), and the letter's id. A repeat gives the same record.
///
/// DEAD_LETTER_STATE: the log would not take it.
pub fn record(letter: &Letter, content: Content) -> Result<(RecordId, NewRecord), Failure> {
    let refused = |why: &str| Failure::dead_letter_state(format!("cannot be appended again: {why}"));
    let topic = letter.origin.position().map(|at| at.partition.topic);
    let topic = topic.ok_or_else(|| refused("its topic is not one of this suite"))?;
    let key = String::from_utf8(content.key.into()).map_err(|_| refused("its key is not UTF-8"))?;
    let id = id(letter.id);
    let kept = content.headers.into_iter().filter(|header| ![headers::ID, headers::RETRY_OF].contains(&&*header.name));
    let new = [(headers::ID, id), (headers::RETRY_OF, letter.id)].map(|(name, id)| Header::new(name, id.to_string()));
    let record = NewRecord { topic, key, headers: kept.chain(new).collect(), value: content.value };
    record.check().map_err(|error| match error {
        AppendError::Refused(why) => refused(&why),
        other => other.into(),
    })?;
    Ok((id, record))
}

/// A function of the letter's id, so that a repeat of the command is a copy of the same record.
fn id(letter: RecordId) -> RecordId {
    let hash = Sha256::digest(format!("retry {letter}"));
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RecordId(id)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kith_log::{MAX_HEADERS, MAX_RECORD_BYTES, topics};

    use super::*;
    use crate::ops::events::letters::Origin;

    fn letter() -> Letter {
        let origin = Origin { topic: topics::POSTS.name.to_owned(), partition: 3, offset: 9 };
        Letter::in_test(RecordId([7; 16]), origin)
    }

    fn content(key: &'static [u8], headers: &[(&str, &str)], value: &'static [u8]) -> Content {
        let headers = headers.iter().map(|(name, value)| Header::new(name, (*value).to_owned())).collect();
        Content { key: Bytes::from_static(key), headers, value: Bytes::from_static(value) }
    }

    #[test]
    fn the_bytes_stay_and_the_id_is_new_and_always_the_same() {
        let headers = [("ce_id", "old"), ("ce_type", "t"), ("kith_retry_of", "earlier"), ("ce_id", "again")];
        let (id, record) = record(&letter(), content(b"key", &headers, b"\xff")).unwrap();
        assert_eq!((record.topic, &*record.key, &record.value[..]), (topics::POSTS, "key", &b"\xff"[..]));
        let letter_id = RecordId([7; 16]).to_string();
        let expected = [("ce_type", "t"), ("ce_id", &*id.to_string()), ("kith_retry_of", &*letter_id)]
            .map(|(name, value)| Header::new(name, value.to_owned()));
        assert_eq!(record.headers, expected);
        assert_eq!(id.to_string(), "e940a65f80f57a005814ef4449c2c0e7");
    }

    #[test]
    fn what_the_log_would_not_take_is_refused() {
        let many: Vec<String> = (0..MAX_HEADERS - 1).map(|n| format!("h{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (&**name, "")).collect();
        let large = Content { value: Bytes::from(vec![1; MAX_RECORD_BYTES]), ..content(b"k", &[], b"") };
        for (what, content) in [
            ("an empty value", content(b"k", &[], b"")),
            ("a key that is no text", content(b"\xff", &[], b"v")),
            ("too many headers", content(b"k", &many, b"v")),
            ("a header without a name", content(b"k", &[("", "")], b"v")),
            ("too large with the new headers", large),
        ] {
            let refused = record(&letter(), content).unwrap_err();
            assert_eq!(refused.reason_name(), "DEAD_LETTER_STATE", "{what}");
        }
        let origin = Origin { topic: "others".to_owned(), partition: 0, offset: 0 };
        let foreign = Letter::in_test(RecordId([7; 16]), origin);
        assert_eq!(record(&foreign, content(b"k", &[], b"v")).unwrap_err().reason_name(), "DEAD_LETTER_STATE");
    }
}
