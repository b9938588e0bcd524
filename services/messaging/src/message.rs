//! Messages as callers read them.

use kith_fold::{Found, State};
use kith_log::RecordId;
use kith_proto::messaging::v1::Message;
use kith_proto::time;
use kith_service::Failure;
use kith_tables::{Key, RowRange, StoreError, Value};

use crate::conversation::{CONVERSATIONS, MessageIdRow, MessageRow, under_id};

/// A message with its number.
pub struct Numbered {
    pub number: i64,
    pub message_id: String,
    pub row: MessageRow,
}

impl Numbered {
    pub fn present(self, conversation_id: &str) -> Message {
        Message {
            conversation_id: conversation_id.to_owned(),
            message_id: self.message_id,
            number: self.number.unsigned_abs(),
            sender_id: self.row.sender_id,
            text: self.row.text,
            create_time: Some(time::of_us(self.row.create_time.0)),
        }
    }
}

/// Up to `limit` messages below number `before` (`None`: all), newest first. Fewer than asked: there are no more.
pub async fn newest(
    state: &State,
    conversation_id: RecordId,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let after = before.map(|number| vec![number.into()]);
    let range = RowRange { after, ..RowRange::all::<MessageRow>() };
    let found =
        state.slice::<MessageRow>(&CONVERSATIONS, &Key::text(&conversation_id.to_string()), range, limit).await?;
    Ok(found.into_iter().map(numbered).collect())
}

/// The message of that id, and the offset of its record.
pub async fn by_id(
    state: &State,
    conversation_id: RecordId,
    message_id: RecordId,
) -> Result<Option<(Numbered, u64)>, StoreError> {
    let (key, id) = (Key::text(&conversation_id.to_string()), message_id.to_string());
    let Some(place) = state.row::<MessageIdRow>(&CONVERSATIONS, &key, under_id(&id)).await? else { return Ok(None) };
    let clustering: [Value; 2] = [place.row.message_number.into(), id.as_str().into()];
    let found = state.row::<MessageRow>(&CONVERSATIONS, &key, clustering).await?;
    Ok(found.map(|found| (numbered(found), place.position)))
}

/// The cursor of a page of messages: the number of its last one.
pub fn encode_cursor(number: i64) -> [u8; 8] {
    number.to_be_bytes()
}

pub fn decode_cursor(cursor: &[u8]) -> Result<i64, Failure> {
    let number = cursor.try_into().map(i64::from_be_bytes).map_err(|_| Failure::page_token_invalid())?;
    if number > 0 { Ok(number) } else { Err(Failure::page_token_invalid()) }
}

fn numbered(found: Found<MessageRow>) -> Numbered {
    let number = match found.clustering.first() {
        Some(Value::BigInt(number)) => *number,
        _ => 0,
    };
    Numbered { number, message_id: found.text(1).to_owned(), row: found.row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_a_broken_one_is_refused() {
        assert_eq!(decode_cursor(&encode_cursor(17)).unwrap(), 17);
        for broken in [&[][..], &[1; 7], &[1; 9], &encode_cursor(0), &encode_cursor(-1)] {
            assert_eq!(decode_cursor(broken).unwrap_err().reason_name(), "PAGE_TOKEN_INVALID");
        }
    }
}
