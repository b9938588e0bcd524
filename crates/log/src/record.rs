use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use kith_runtime::UnixMillis;

use crate::{AppendError, MAX_HEADERS, MAX_RECORD_BYTES, Position, Topic};

/// The id of a record (`ce_id`): 16 bytes, a hash of the request, so that a repeated command has the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RecordId(pub [u8; 16]);

impl RecordId {
    /// Hexadecimal, 32 characters, as ids of resources.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|n| Self(n.to_be_bytes()))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names of headers (CloudEvents 1.0, Kafka binding, binary mode; and W3C trace context).
pub mod headers {
    pub const SPEC_VERSION: &str = "ce_specversion";
    pub const ID: &str = "ce_id";
    pub const SOURCE: &str = "ce_source";
    pub const TYPE: &str = "ce_type";
    pub const TIME: &str = "ce_time";
    pub const SUBJECT: &str = "ce_subject";
    pub const CAUSATION_ID: &str = "ce_causationid";
    pub const CORRELATION_ID: &str = "ce_correlationid";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const TRACE_PARENT: &str = "traceparent";
    /// In a record whose bytes an operator appended again: the id of its dead letter.
    pub const RETRY_OF: &str = "kith_retry_of";

    /// The least version of reader that understands the record, where that is not the first: an older one stops there.
    pub const READER: &str = "kith_reader";

    /// In a command's record, the calling service that asked for it: the name of a principal, no secret.
    pub const PRINCIPAL: &str = "kith_principal";

    /// Every name above.
    pub const ALL: [&str; 13] = [
        SPEC_VERSION,
        ID,
        SOURCE,
        TYPE,
        TIME,
        SUBJECT,
        CAUSATION_ID,
        CORRELATION_ID,
        CONTENT_TYPE,
        TRACE_PARENT,
        RETRY_OF,
        READER,
        PRINCIPAL,
    ];
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: Arc<str>,
    pub value: Bytes,
}

impl Header {
    /// A header; names of [`headers`] are not copied.
    pub fn new(name: &str, value: impl Into<Bytes>) -> Self {
        Self { name: shared_name(name), value: value.into() }
    }
}

/// A record that is to be appended.
#[derive(Debug, Clone)]
pub struct NewRecord {
    pub topic: Topic,
    pub key: String,
    pub headers: Vec<Header>,
    /// Never empty: an empty value is a tombstone to other readers of the topic.
    pub value: Bytes,
}

impl NewRecord {
    /// Bytes that count towards [`crate::MAX_RECORD_BYTES`].
    pub fn len_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
        self.key.len() + headers + self.value.len()
    }

    /// What every adapter refuses before it accepts a record.
    pub fn check(&self) -> Result<(), AppendError> {
        if self.len_bytes() > MAX_RECORD_BYTES {
            let len = self.len_bytes();
            return Err(AppendError::Refused(format!("{len} bytes are more than {MAX_RECORD_BYTES}")));
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(AppendError::Refused(format!("more than {MAX_HEADERS} headers")));
        }
        if self.headers.iter().any(|h| h.name.is_empty() || !h.name.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(AppendError::Refused("a header's name is not printable ASCII".to_owned()));
        }
        if self.value.is_empty() {
            return Err(AppendError::Refused("the value is empty".to_owned()));
        }
        Ok(())
    }
}

/// A record of the log. Its bytes may be anything: readers must expect hostile ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    pub key: Bytes,
    pub headers: Vec<Header>,
    pub value: Bytes,
    /// When the log took it, by the log's own clock, milliseconds since 1970: the broker's, not the writer's.
    pub logged_ms: UnixMillis,
}

impl Record {
    /// The value of the first header of that name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|h| &*h.name == name)?;
        std::str::from_utf8(&header.value).ok()
    }

    /// `ce_id`, if the record carries a well-formed one.
    pub fn id(&self) -> Option<RecordId> {
        self.header(headers::ID).and_then(RecordId::parse)
    }

    /// The record's approximate memory, bytes: it counts towards [`crate::READ_AHEAD_BYTES`].
    pub fn held_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| size_of::<Header>() + h.value.len()).sum();
        size_of::<Self>() + self.key.len() + headers + self.value.len()
    }
}

/// Names that are ours are shared, so that a record does not hold ten strings of its own.
fn shared_name(name: &str) -> Arc<str> {
    static OURS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| headers::ALL.into_iter().map(Arc::from).collect());
    OURS.iter().find(|ours| &***ours == name).map_or_else(|| Arc::from(name), Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back() {
        let id = RecordId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        for bad in ["", "00", "0x0102030405060708090a0b0c0d0e0ff", "000102030405060708090A0B0C0D0EFF"] {
            assert_eq!(RecordId::parse(bad), None, "{bad}");
        }
    }
}
