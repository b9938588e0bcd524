//! An account's conversations, with what is new in each: spread from the conversations, one row each.

use std::cmp::Reverse;

use async_trait::async_trait;
use futures::try_join;
use kith_fold::{Effect, Found, State};
use kith_proto::messaging::v1::{
    Conversation, ConversationKind, GetUnreadCountsRequest, GetUnreadCountsResponse, ListConversationsRequest,
    ListConversationsResponse, UnreadCount, rpc,
};
use kith_proto::time;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, Reads};
use kith_service::{Failure, limits};
use kith_tables::{Column, Key, MAX_SLICE_ROWS, Order, RowRange, Section, StoreError, Table, Timestamp, Value, row};

use crate::MessagingService;
use crate::members::Member;
use crate::summary::Summary;

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
        /// Messages of others above `read_number`.
        pub unread_count: i64,
    }
}

impl InboxRow {
    /// What a member sees of the conversation.
    pub fn of(summary: &Summary, member: &Member) -> Self {
        Self {
            kind: summary.kind,
            member_ids: summary.members.account_ids().collect::<Vec<_>>().join(" "),
            create_time: summary.create_time,
            last_message_number: summary.last_number,
            last_message_time: summary.last_message_time,
            activity_time: summary.activity_time(),
            read_number: member.progress.read_number(),
            unread_count: summary.unread(member),
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

/// The conversations of the accounts that ask.
pub struct Inboxes;

#[async_trait]
impl Lists<rpc::ListConversations> for Inboxes {
    type Service = MessagingService;
    type Wanted = ();

    fn parse(_: ListConversationsRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &MessagingService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListConversationsResponse, Option<Vec<Value>>), Failure> {
        let after = page.after.as_deref().map(|after| Place::read(after).ok_or_else(Failure::page_token_invalid));
        let after = after.transpose()?;
        let inbox = whole(&seen.state, &seen.viewer).await?;
        let (rows, next) = cut(inbox.conversations, after.as_ref(), page.size);
        let present = |found: Found<InboxRow>| {
            let conversation_id = found.text(0).to_owned();
            found.row.present(&conversation_id)
        };
        let conversations = rows.into_iter().map(present).collect();
        let incomplete = inbox.incomplete;
        let response = ListConversationsResponse { conversations, incomplete, ..ListConversationsResponse::default() };
        Ok((response, next.map(Place::into_values)))
    }
}

#[async_trait]
impl Reads<rpc::GetUnreadCounts> for Inboxes {
    type Service = MessagingService;
    type Wanted = Vec<String>;

    fn parse(request: GetUnreadCountsRequest) -> Result<Vec<String>, Failure> {
        let ids = request.conversation_ids;
        if ids.len() > limits::BATCH_ITEMS {
            return Err(Failure::batch_too_long("conversation_ids", ids.len()));
        }
        let mut numbered = ids.iter().enumerate();
        numbered.try_for_each(|(at, id)| parse_id(&format!("conversation_ids[{at}]"), id).map(|_| ()))?;
        Ok(ids)
    }

    async fn read(
        _: &MessagingService,
        seen: &Seen<'_>,
        conversation_ids: Vec<String>,
    ) -> Result<GetUnreadCountsResponse, Failure> {
        let clusterings = conversation_ids.iter().map(|id| vec![id.as_str().into()]);
        let key = Key::text(&seen.viewer);
        let asked = seen.state.rows::<InboxRow>(&INBOX, &key, clusterings);
        let (rows, inbox) = try_join!(asked, whole(&seen.state, &seen.viewer))?;
        let counts = conversation_ids.into_iter().zip(rows).map(|(conversation_id, found)| {
            let unread_count = found.map_or(0, |found| found.row.unread_count.unsigned_abs());
            UnreadCount { conversation_id, unread_count }
        });
        let unread = || inbox.conversations.iter().map(|found| found.row.unread_count.unsigned_abs());
        Ok(GetUnreadCountsResponse {
            counts: counts.collect(),
            total_unread_count: unread().sum(),
            unread_conversation_count: unread().filter(|&count| count > 0).count() as u64,
            incomplete: inbox.incomplete,
            ..GetUnreadCountsResponse::default()
        })
    }
}

/// What an account's inbox holds.
struct Inbox {
    /// In no order that means anything.
    conversations: Vec<Found<InboxRow>>,
    /// Whether some are missing, as there are too many.
    incomplete: bool,
}

/// The whole inbox of an account, at most [`CONVERSATIONS_PER_INBOX`].
///
/// The order that callers want changes with every message, and rows are never deleted: rows by time would pile up one
/// for each message. An inbox is small, so it is read whole and sorted.
async fn whole(state: &State, account_id: &str) -> Result<Inbox, StoreError> {
    let key = Key::text(account_id);
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

/// A place in the list of conversations: the one written in last first; of two at one time the smaller id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    activity_time: Reverse<Timestamp>,
    conversation_id: String,
}

impl Place {
    fn of(found: &Found<InboxRow>) -> Self {
        Self { activity_time: Reverse(found.row.activity_time), conversation_id: found.text(0).to_owned() }
    }

    fn into_values(self) -> Vec<Value> {
        vec![self.activity_time.0.into(), Value::Text(self.conversation_id)]
    }

    fn read(values: &[Value]) -> Option<Self> {
        match values {
            [Value::Timestamp(time), Value::Text(id)] => {
                Some(Self { activity_time: Reverse(*time), conversation_id: id.clone() })
            }
            _ => None,
        }
    }
}

/// A page of an inbox behind `after`, and where the next one starts, if there is one.
///
/// A conversation that is written in between two pages moves to the top, so a later page does not show it: whoever
/// walks the list sees each at most once.
fn cut(
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
    use kith_log::RecordId;
    use proptest::prelude::*;

    use super::*;

    fn row(at: i64, id: u8) -> Found<InboxRow> {
        let row = InboxRow { activity_time: Timestamp(at), ..InboxRow::default() };
        Found { clustering: vec![RecordId([id; 16]).to_string().as_str().into()], position: 0, row }
    }

    #[test]
    fn a_place_of_another_list_is_none() {
        let values = Place::of(&row(-5, 9)).into_values();
        for other in [&values[..1], &values[1..], &[], &[values[1].clone(), values[0].clone()]] {
            assert_eq!(Place::read(other), None, "{other:?}");
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
                let (page, next) = cut(rows.clone(), after.as_ref(), size);
                prop_assert!(page.len() == size || next.is_none());
                walked.extend(page);
                let Some(next) = next else { break };
                after = Some(Place::read(&next.into_values()).unwrap());
            }
            prop_assert_eq!(walked.len(), rows.len());
            let key = |found: &Found<InboxRow>| (-found.row.activity_time.0, found.text(0).to_owned());
            prop_assert!(walked.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
        }
    }
}
