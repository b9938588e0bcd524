//! A message of the client library as a record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use kith_runtime::UnixMillis;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::{Header, LogPartition, Offset, Position, Record};

/// `None` if its offset is none (it never is, of a message that was fetched).
pub(super) fn record(partition: LogPartition, message: &BorrowedMessage<'_>) -> Option<Record> {
    let offset = Offset::try_from(message.offset()).ok()?;
    let bytes = |bytes: Option<&[u8]>| Bytes::copy_from_slice(bytes.unwrap_or_default());
    Some(Record {
        position: Position { partition, offset },
        key: bytes(message.key()),
        headers: headers(message),
        value: bytes(message.payload()),
        // Topics are made with `message.timestamp.type=LogAppendTime`; a message without a time is not clamped.
        logged_ms: message.timestamp().to_millis().unwrap_or(UnixMillis::MAX),
    })
}

/// rdkafka panics on a header whose name is not UTF-8, which any other producer may write: such a record comes without
/// headers, and its fold finds that it cannot be decoded.
fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let read = || {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            Header::new(header.key, Bytes::copy_from_slice(header.value.unwrap_or_default()))
        };
        headers.iter().map(header).collect()
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}
