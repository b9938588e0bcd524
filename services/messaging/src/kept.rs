//! A message as it is kept, and what its sender makes of it later. Pure.

use bytes::Bytes;
use kith_content::Content;
use kith_fold::{AppliedIds, Record};
use kith_proto::messaging::v1::{MessageEdited, MessageSent};
use kith_service::limits::EDITS_PER_MESSAGE;
use kith_tables::{Timestamp, row};

use crate::summary::signed;
use crate::tally::Tally;

row! {
    /// Message `number`, of this `id`.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MessageRow in 1 {
        pub sender_id: String,
        pub content: Content,
        pub create_time: Timestamp,
        pub payload_digest: Bytes,
        /// What it replies to; empty: nothing.
        pub reply_to_id: String,
        pub reply_to_number: i64,
        /// 0: never edited.
        pub edit_time: Timestamp,
        pub edit_count: i64,
        pub edits: AppliedIds,
        /// 0: it was not unsent.
        pub unsend_time: Timestamp,
        pub reactions: Tally,
    }
}

impl MessageRow {
    /// Of a message with that time.
    pub fn of(event: &MessageSent, at: Timestamp) -> Self {
        Self {
            sender_id: event.sender_id.clone(),
            content: event.content.clone().unwrap_or_default(),
            create_time: at,
            payload_digest: event.payload_digest.clone(),
            reply_to_id: event.reply_to_message_id.clone(),
            reply_to_number: signed(event.reply_to_number),
            ..Self::default()
        }
    }

    pub fn is_unsent(&self) -> bool {
        self.unsend_time != Timestamp::default()
    }

    /// Whether an edit dated `at` still counts, where edits do for so long.
    pub fn takes_edit(&self, at: Timestamp, edit_window_us: i64) -> bool {
        let is_early = at.0.saturating_sub(self.create_time.0) <= edit_window_us;
        is_early && usize::try_from(self.edit_count).is_ok_and(|count| count < EDITS_PER_MESSAGE)
    }

    /// False: it changes nothing. The ids of all edits that count are kept, so no copy undoes a later one.
    pub fn edit(&mut self, event: &MessageEdited, record: &Record, edit_window_us: i64) -> bool {
        const { assert!(EDITS_PER_MESSAGE <= kith_fold::APPLIED_IDS_PER_ROW) };
        let may = self.sender_id == event.sender_id && !self.is_unsent();
        if !may || !self.takes_edit(record.time, edit_window_us) || !self.edits.insert(record.id) {
            return false;
        }
        self.content = event.content.clone().unwrap_or_default();
        self.edit_time = record.time.max(self.edit_time).max(self.create_time);
        self.edit_count = self.edit_count.saturating_add(1);
        true
    }

    /// False: it changes nothing. Nothing of what it said stays, nor what would tell it by trying.
    pub fn unsend(&mut self, sender_id: &str, at: Timestamp) -> bool {
        if self.sender_id != sender_id || self.is_unsent() {
            return false;
        }
        self.content = Content::default();
        self.payload_digest = Bytes::new();
        self.reactions = Tally::default();
        self.unsend_time = Timestamp(at.0.max(self.create_time.0).max(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId, topics};
    use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
    use kith_proto::time;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);

    fn message() -> MessageRow {
        MessageRow { sender_id: ADA.to_string(), create_time: Timestamp(1_000), ..MessageRow::default() }
    }

    fn edited(message: &mut MessageRow, id: u8, at: i64) -> bool {
        let event = MessageEdited {
            sender_id: ADA.to_string(),
            content: Some(Content::close(&format!("edit {id}"))),
            edit_time: Some(time::of_us(at)),
            ..MessageEdited::default()
        };
        let partition = LogPartition { topic: topics::MESSAGING, index: 0 };
        let position = Position { partition, offset: 1 };
        let record = Record::new(position, RecordId([id; 16]), MessagingEvent::MessageEdited(event.clone()));
        message.edit(&event, &record, 500)
    }

    #[test]
    fn the_last_edit_in_time_stands_and_no_copy_undoes_it() {
        let mut message = message();
        assert!(edited(&mut message, 1, 1_500), "at the very end");
        assert!(!edited(&mut message, 2, 1_501), "too late");
        assert!(edited(&mut message, 3, 900), "by a clock behind that of the message");
        assert!(!edited(&mut message, 1, 1_500), "a copy");
        assert_eq!((message.content.clone(), message.edit_count), (Content::close(&"edit 3".to_owned()), 2));
        assert_eq!(message.edit_time, Timestamp(1_500), "never back");
        (10..24).for_each(|id| assert!(edited(&mut message, id, 1_000)));
        assert!(!edited(&mut message, 24, 1_000), "16 are enough");
    }

    #[test]
    fn what_was_unsent_says_nothing_for_ever() {
        let mut message = message();
        message.payload_digest = vec![7; 32].into();
        message.reactions.add("x");
        assert!(!message.unsend("somebody else", Timestamp(7)));
        assert!(message.unsend(&ADA.to_string(), Timestamp(7)) && !message.unsend(&ADA.to_string(), Timestamp(8)));
        assert!(!edited(&mut message, 1, 1_000));
        assert_eq!(message.unsend_time, Timestamp(1_000), "not before it was sent");
        assert!(message.content.is_empty() && message.payload_digest.is_empty() && message.reactions.is_empty());
    }
}
