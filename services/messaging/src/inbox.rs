//! An account's conversations, with what is new in each: spread from the conversations, one row each.

use kith_fold::{Effect, Found, State};
use kith_log::RecordId;
use kith_proto::messaging::v1::{Conversation, ConversationKind};
use kith_proto::time;
use kith_service::Failure;
use kith_tables::{Column, Key, MAX_SLICE_ROWS, Order, RowRange, Section, StoreError, Table, Timestamp, Value, row};

use crate::conversation::Summary;
use crate::members::Member;

/// Conversations of one account that a query looks at; more than these are left out, and the answer says so.
pub const CONVERSATIONS_PER_INBOX: usize = 10_000;

pub static INBOX: Table = Table {
    name: "inbox",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("conversation_id")],
    order: Order::Ascending,
    sections: &[Section::of::<InboxRow>("conversation")],
    summary: &[],
};

row! {
    /// A conversation as one of its members sees it.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct InboxRow in 0 {
        pub kind: i64,
        /// Sorted, a space between them. Nothing of how far others have read: their markers leave this row alone.
        pub member_ids: String,
        pub create_time: Timestamp,
        pub last_message_number: i64,
        pub last_message_time: Timestamp,
        /// When it was last written in, or created.
        pub activity_time: Timestamp,
        pub read_number: i64,
        /// Messages above `read_number`. All are of others: whoever writes has read up to what he writes.
        pub unread_count: i64,
    }
}

impl InboxRow {
    /// What a member sees of the conversation.
    pub fn of(summary: &Summary, member: &Member) -> Self {
        Self {
            kind: summary.kind,
            member_ids: summary.members.account_ids().join(" "),
            create_time: summary.create_time,
            last_message_number: summary.last_number,
            last_message_time: summary.last_message_time,
            activity_time: summary.activity_time(),
            read_number: member.read_number,
            unread_count: summary.last_number.saturating_sub(member.read_number).max(0),
        }
    }

    pub fn present(self, conversation_id: &str) -> Conversation {
        let has_messages = self.last_message_number > 0;
        let kind = i32::try_from(self.kind).ok().and_then(|kind| ConversationKind::try_from(kind).ok());
        Conversation {
            conversation_id: conversation_id.to_owned(),
            kind: kind.unwrap_or_default().into(),
            member_ids: self.member_ids.split_terminator(' ').map(str::to_owned).collect(),
            last_message_number: self.last_message_number.unsigned_abs(),
            last_message_time: has_messages.then(|| time::of_us(self.last_message_time.0)),
            unread_count: self.unread_count.unsigned_abs(),
            read_number: self.read_number.unsigned_abs(),
            create_time: Some(time::of_us(self.create_time.0)),
        }
    }
}

/// The row of one member's inbox. The conversation's log partition is its one source: `mark` is an offset there.
pub fn put(conversation_id: &str, summary: &Summary, member: &Member, mark: u64) -> Effect {
    let (partition, row) = (Key::text(&member.account_id), InboxRow::of(summary, member));
    Effect::put(&INBOX, partition, [conversation_id.into()], row, mark)
}

/// What an account's inbox holds.
pub struct Inbox {
    /// In no order that means anything.
    pub conversations: Vec<Found<InboxRow>>,
    /// Whether some are missing, as there are too many.
    pub incomplete: bool,
}

/// The whole inbox of an account, at most [`CONVERSATIONS_PER_INBOX`].
///
/// The order that callers want changes with every message, and rows are never deleted: rows by time would pile up one
/// for each message. An inbox is small, so it is read whole and sorted.
pub async fn inbox(state: &State, account_id: RecordId) -> Result<Inbox, StoreError> {
    let key = Key::text(&account_id.to_string());
    let mut conversations: Vec<Found<InboxRow>> = Vec::new();
    loop {
        let after = conversations.last().map(|last| last.clustering.clone());
        let range = RowRange { after, ..RowRange::all::<InboxRow>() };
        let page = state.slice::<InboxRow>(&INBOX, &key, range, MAX_SLICE_ROWS).await?;
        let is_last = page.len() < MAX_SLICE_ROWS;
        conversations.extend(page);
        if is_last || conversations.len() > CONVERSATIONS_PER_INBOX {
            let incomplete = conversations.len() > CONVERSATIONS_PER_INBOX;
            conversations.truncate(CONVERSATIONS_PER_INBOX);
            return Ok(Inbox { conversations, incomplete });
        }
    }
}

/// The rows of these conversations in an account's inbox, at most a batch, in their order.
pub async fn rows(
    state: &State,
    account_id: RecordId,
    conversation_ids: &[RecordId],
) -> Result<Vec<Option<Found<InboxRow>>>, StoreError> {
    let clusterings = conversation_ids.iter().map(|id| vec![Value::Text(id.to_string())]);
    state.rows::<InboxRow>(&INBOX, &Key::text(&account_id.to_string()), clusterings).await
}

/// A place in the list of conversations: the one written in last first; of two at one time the smaller id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    activity_time: std::cmp::Reverse<Timestamp>,
    conversation_id: String,
}

impl Place {
    pub fn of(found: &Found<InboxRow>) -> Self {
        let activity_time = std::cmp::Reverse(found.row.activity_time);
        Self { activity_time, conversation_id: found.text(0).to_owned() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut cursor = self.activity_time.0.0.to_be_bytes().to_vec();
        cursor.extend_from_slice(self.conversation_id.as_bytes());
        cursor
    }

    pub fn decode(cursor: &[u8]) -> Result<Self, Failure> {
        let parsed = cursor.split_first_chunk().and_then(|(time, id)| {
            let conversation_id = RecordId::parse(std::str::from_utf8(id).ok()?)?.to_string();
            Some(Self { activity_time: std::cmp::Reverse(Timestamp(i64::from_be_bytes(*time))), conversation_id })
        });
        parsed.ok_or_else(Failure::page_token_invalid)
    }
}

/// A page of an inbox behind `after`, and where the next one starts, if there is one.
///
/// A conversation that is written in between two pages moves to the top, so a later page does not show it: whoever
/// walks the list sees each at most once.
pub fn page(
    mut conversations: Vec<Found<InboxRow>>,
    after: Option<&Place>,
    size: usize,
) -> (Vec<Found<InboxRow>>, Option<Place>) {
    conversations.retain(|found| after.is_none_or(|after| Place::of(found) > *after));
    conversations.sort_by_cached_key(Place::of);
    let has_more = conversations.len() > size;
    conversations.truncate(size);
    let next = conversations.last().filter(|_| has_more).map(Place::of);
    (conversations, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(at: i64, id: u8) -> Found<InboxRow> {
        let row = InboxRow { activity_time: Timestamp(at), ..InboxRow::default() };
        Found { clustering: vec![RecordId([id; 16]).to_string().as_str().into()], position: 0, row }
    }

    #[test]
    fn a_place_reads_back_and_a_broken_one_is_refused() {
        let place = Place::of(&row(-5, 9));
        let cursor = place.encode();
        assert_eq!(Place::decode(&cursor).unwrap(), place);
        for broken in [&cursor[..39], &cursor[..7], &[], &[0xff; 40], &[cursor.clone(), vec![b'0']].concat()] {
            assert_eq!(Place::decode(broken).unwrap_err().reason_name(), "PAGE_TOKEN_INVALID");
        }
    }

    proptest! {
        #[test]
        fn pages_together_are_the_list_newest_first(
            times in prop::collection::vec(-3..3_i64, 0..40),
            size in 1..8_usize,
        ) {
            let rows: Vec<_> = times.iter().zip(0..).map(|(&at, id)| row(at, id)).collect();
            let mut walked: Vec<Found<InboxRow>> = Vec::new();
            let mut after = None;
            loop {
                let (page, next) = page(rows.clone(), after.as_ref(), size);
                prop_assert!(page.len() == size || next.is_none());
                walked.extend(page);
                let Some(next) = next else { break };
                after = Some(Place::decode(&next.encode()).unwrap());
            }
            prop_assert_eq!(walked.len(), rows.len());
            let key = |found: &Found<InboxRow>| (-found.row.activity_time.0, found.text(0).to_owned());
            prop_assert!(walked.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
        }
    }
}
