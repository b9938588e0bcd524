//! The conversations that an account has, with what is new in each, and their order: spread from the conversations. What
//! waits for its consent is elsewhere (`requests`), and costs nothing here.
//!
//! The row by id is the truth: it says what the conversation is like, and its places. Rows by place only say where to look
//! (ADR 20): one counts if the row by id has the conversation in that place.

mod shown;
pub mod walk;
mod whole;

use async_trait::async_trait;
use futures::try_join;
use kith_content::{Content, Opener};
use kith_fold::Effect;
use kith_proto::messaging::v1::{
    Consent, Conversation, ConversationKind, ConversationList, GetUnreadCountsRequest, GetUnreadCountsResponse,
    GroupTitle, LastMessage, ListConversationsRequest, ListConversationsResponse, MemberRole, MessagePreview,
    UnreadCount, rpc,
};
use kith_proto::time;
use kith_relations::revision;
use kith_service::call::Handlers;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, Reads};
use kith_service::{Failure, limits};
use kith_tables::{Column, Key, Order, Section, Table, Timestamp, Value, row};

use crate::MessagingService;
use crate::members::Member;
use crate::places::{Place, Places};
use crate::requests::{self, Page, Request};
use crate::role;
use crate::summary::Summary;
use crate::view::{FOR_EVER, View};
use shown::in_sight;
pub use shown::seen_by;
use walk::{Reader, Walk};
pub use whole::CONVERSATIONS_PER_INBOX;
use whole::whole;

pub static INBOX: Table = Table {
    name: "inbox",
    partition: &[Column::text("account_id")],
    clustering: &[Column::bigint("hour"), Column::text("conversation_id")],
    order: Order::Descending,
    sections: &[Section::of::<InboxRow>("conversation"), Section::removable::<PlaceRow>("place")],
    summary: &[],
};

row! {
    /// A conversation as one of its members sees it; under hour 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct InboxRow in 0 {
        pub kind: i64,
        /// Sorted, a space between them; of a group none. Nothing of how far others have read: their markers leave this row alone.
        pub member_ids: String,
        pub create_time: Timestamp,
        pub last_message_number: i64,
        pub last_message_time: Timestamp,
        /// When it was last written in, or created.
        pub activity_time: Timestamp,
        pub read_number: i64,
        /// Messages of others above `read_number` that were not unsent.
        pub unread_count: i64,
        /// Those in which its rows by place stand; none: it is not in the inbox any more.
        pub places: Places,
        /// Of a group, as the member's role is; the four here are empty for another one.
        pub title: Content,
        pub member_count: i64,
        pub revision: i64,
        /// A `MemberRole`.
        pub role: i64,
        pub last_message_id: String,
        pub last_sender_id: String,
        /// How the last message begins; nothing if it was unsent.
        pub last_preview: Content,
        pub last_unsent: bool,
        /// What the member makes of it.
        pub own_view: View,
    }
}
row! {
    /// The conversation stands in this hour, or stood there.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PlaceRow in 1 {
        /// The record that moved it there. Always the same for one place, so that no two writes of the row differ.
        pub entered_offset: i64,
    }
}

impl InboxRow {
    /// What a member sees of the conversation.
    pub fn of(summary: &Summary, member: &Member) -> Self {
        let (last_message_number, last_message_time) = summary.last_seen_by(member);
        let last = summary.last_shown_to(member);
        Self {
            kind: summary.kind,
            member_ids: summary.members_shown(),
            create_time: summary.create_time,
            last_message_number,
            last_message_time,
            activity_time: summary.activity_time(),
            read_number: member.progress.read_number(),
            unread_count: summary.unread(member),
            places: summary.places.since(member.listed_since()).for_readers(),
            title: summary.title.clone(),
            member_count: summary.member_count(),
            revision: summary.revision(),
            role: i64::from(i32::from(member.role())),
            last_message_id: last.id,
            last_sender_id: last.sender_id,
            last_preview: last.preview,
            last_unsent: last.unsent,
            own_view: member.view,
        }
    }

    /// In which part of the account's conversations it is at that time: each is in one.
    pub fn part(&self, at: Timestamp) -> Part {
        match &self.own_view {
            view if view.is_archived(self.last_message_number, at.0) => Part::Archive,
            view if view.is_muted(at.0) => Part::Muted,
            _ => Part::Inbox,
        }
    }

    /// Whether it has what was not read, or is to look so.
    fn is_unread(&self) -> bool {
        self.unread_count > 0 || self.own_view.is_marked()
    }

    /// As it is seen at that time.
    pub fn present(self, opener: &Opener, conversation_id: &str, at: Timestamp) -> Conversation {
        let (archived, muted) = (self.part(at) == Part::Archive, self.own_view.is_muted(at.0));
        let muted_until_us = self.own_view.muted_until_us;
        let ends = muted && muted_until_us != FOR_EVER;
        let has_messages = self.last_message_number > 0;
        let kind = i32::try_from(self.kind).ok().and_then(|kind| ConversationKind::try_from(kind).ok());
        let role = i32::try_from(self.role).ok().and_then(role::of).unwrap_or(MemberRole::Unspecified);
        Conversation {
            conversation_id: conversation_id.to_owned(),
            kind: kind.unwrap_or_default().into(),
            member_ids: self.member_ids.split_terminator(' ').map(str::to_owned).collect(),
            last_message_number: self.last_message_number.unsigned_abs(),
            last_message_time: has_messages.then(|| time::of_us(self.last_message_time.0)),
            unread_count: self.unread_count.unsigned_abs(),
            read_number: self.read_number.unsigned_abs(),
            create_time: Some(time::of_us(self.create_time.0)),
            consent: Consent::Accepted.into(),
            title: opener.open::<GroupTitle>(&self.title).title,
            member_count: u32::try_from(self.member_count).unwrap_or_default(),
            role: role.into(),
            revision: revision::shown(self.revision),
            last_message: has_messages.then(|| LastMessage {
                message_id: self.last_message_id,
                sender_id: self.last_sender_id,
                preview: opener.open::<MessagePreview>(&self.last_preview).text,
                unsent: self.last_unsent,
            }),
            muted,
            muted_until: ends.then(|| time::of_us(muted_until_us)),
            archived,
            marked_unread: self.own_view.is_marked(),
        }
    }
}

/// A part of an account's conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Inbox,
    /// In the inbox, and silent.
    Muted,
    /// Put away.
    Archive,
}

/// The rows of one member's inbox. The conversation's log partition is their one source: `mark` is an offset there.
///
/// Rows by place are written, and those of places left long ago removed, for each record that `moved` the conversation: as
/// they now stand, so that a replay of an early move clears what later ones left too.
pub fn spread(conversation_id: &str, summary: &Summary, member: &Member, (mark, moved): (u64, bool)) -> Vec<Effect> {
    let key = || Key::text(&member.account_id);
    let at = |place: &Place| [place.hour.into(), conversation_id.into()];
    let row = Effect::put(&INBOX, key(), by_id(conversation_id), InboxRow::of(summary, member), mark);
    let places = if moved { summary.places.since(member.listed_since()) } else { Places::default() };
    let stands = places.standing().iter().map(|place| {
        let entered_offset = i64::try_from(place.entered).unwrap_or(i64::MAX);
        Effect::put(&INBOX, key(), at(place), PlaceRow { entered_offset }, mark)
    });
    let goes = places.gone().iter().map(|place| leaves(&member.account_id, conversation_id, place.hour, mark));
    std::iter::once(row).chain(stands).chain(goes).collect()
}

/// It does not stand in that hour.
pub fn leaves(account_id: &str, conversation_id: &str, hour: i64, mark: u64) -> Effect {
    Effect::remove::<PlaceRow>(&INBOX, Key::text(account_id), [hour.into(), conversation_id.into()], mark)
}

/// It is not in the inbox any more. A row stays that says so, for a late writer of an older one.
pub fn ends(account_id: &str, conversation_id: &str, mark: u64) -> Effect {
    Effect::put(&INBOX, Key::text(account_id), by_id(conversation_id), InboxRow::default(), mark)
}

/// The clustering of a conversation's `InboxRow`.
pub fn by_id(conversation_id: &str) -> [Value; 2] {
    [0.into(), conversation_id.into()]
}

/// The conversations of the accounts that ask.
pub struct Inboxes;

#[async_trait]
impl Lists<rpc::ListConversations> for Inboxes {
    type Service = MessagingService;
    type Wanted = ConversationList;

    fn parse(request: ListConversationsRequest) -> Result<ConversationList, Failure> {
        ConversationList::try_from(request.list).map_err(|_| Failure::field_invalid("list", "is no list"))
    }

    async fn page(
        service: &MessagingService,
        seen: &Seen<'_>,
        list: ConversationList,
        page: &PageAsk,
    ) -> Result<(ListConversationsResponse, Option<Vec<Value>>), Failure> {
        let at = now(service);
        if list == ConversationList::Requests {
            return page_of_requests(seen, page, at).await;
        }
        let (state, partitions) = (&seen.state, seen.state.partition_count());
        let walk = match page.after.as_deref() {
            Some(values) => {
                let walk = Walk::from_values(values, partitions).ok_or_else(Failure::page_token_invalid)?;
                // This process, or its generation, may be behind the one that began the walk.
                state.at_least(&walk.start(), seen.deadline.at()).await?;
                walk
            }
            None => Walk::new(&state.as_of(), partitions),
        };
        let archive = list == ConversationList::Archive;
        let shows = |row: &InboxRow| (row.part(at) == Part::Archive) == archive;
        let inbox = Reader { tables: &**state.keyspace(), partitions, account_id: &seen.viewer, shows: &shows };
        let (found, next) = inbox.page(walk, page.size).await?;
        let opener = seen.opener();
        let conversations = found.into_iter().map(|(id, row)| row.present(&opener, &id, at)).collect();
        let conversations = in_sight(state, &seen.viewer, conversations).await?;
        let response = ListConversationsResponse { conversations, ..ListConversationsResponse::default() };
        Ok((response, next.map(Walk::into_values)))
    }
}

/// The time of a call: what a mute's end is compared with.
pub fn now(service: &MessagingService) -> Timestamp {
    Timestamp(service.kit().runtime.now_ms().saturating_mul(1_000))
}

async fn page_of_requests(
    seen: &Seen<'_>,
    page: &PageAsk,
    at: Timestamp,
) -> Result<(ListConversationsResponse, Option<Vec<Value>>), Failure> {
    let found = requests::page(&seen.state, &seen.viewer, page).await?.ok_or_else(Failure::page_token_invalid)?;
    let Page { requests, next, unlisted_at_least } = found;
    let opener = seen.opener();
    let conversations = requests.into_iter().map(|request| of_request(&opener, request, at)).collect();
    let conversations = in_sight(&seen.state, &seen.viewer, conversations).await?;
    Ok((ListConversationsResponse { conversations, unlisted_at_least, ..ListConversationsResponse::default() }, next))
}

fn of_request(opener: &Opener, Request { conversation_id, row }: Request, at: Timestamp) -> Conversation {
    let row = InboxRow {
        kind: row.kind,
        member_ids: row.member_ids,
        create_time: row.create_time,
        last_message_number: row.last_message_number,
        last_message_time: row.last_message_time,
        activity_time: row.last_message_time.max(row.create_time),
        read_number: row.read_number,
        unread_count: row.unread_count,
        places: Places::default(),
        title: row.title,
        member_count: row.member_count,
        revision: row.revision,
        role: row.role,
        last_message_id: row.last_message_id,
        last_sender_id: row.last_sender_id,
        last_preview: row.last_preview,
        last_unsent: row.last_unsent,
        own_view: row.own_view,
    };
    Conversation { consent: Consent::Requested.into(), ..row.present(opener, &conversation_id, at) }
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
        service: &MessagingService,
        seen: &Seen<'_>,
        conversation_ids: Vec<String>,
    ) -> Result<GetUnreadCountsResponse, Failure> {
        let at = now(service);
        let clusterings = conversation_ids.iter().map(|id| by_id(id).to_vec());
        let key = Key::text(&seen.viewer);
        let asked = seen.state.rows::<InboxRow>(&INBOX, &key, clusterings);
        let waiting = requests::count(&seen.state, &seen.viewer);
        let (rows, inbox, (request_count, has_more_requests)) =
            try_join!(asked, whole(&seen.state, &seen.viewer), waiting)?;
        let counts = conversation_ids.into_iter().zip(rows).map(|(conversation_id, found)| {
            let row = found.map(|found| found.row).unwrap_or_default();
            UnreadCount {
                conversation_id,
                unread_count: row.unread_count.unsigned_abs(),
                muted: row.own_view.is_muted(at.0),
                archived: row.part(at) == Part::Archive,
                marked_unread: row.own_view.is_marked(),
            }
        });
        let sums = |part| {
            let of_part = inbox.conversations.iter().map(|found| &found.row).filter(move |row| row.part(at) == part);
            let unread = of_part.filter(|row| row.is_unread());
            unread.fold((0_u64, 0_u64), |(messages, conversations), row| {
                (messages.saturating_add(row.unread_count.unsigned_abs()), conversations + 1)
            })
        };
        let (total_unread_count, unread_conversation_count) = sums(Part::Inbox);
        let (muted_unread_count, muted_unread_conversation_count) = sums(Part::Muted);
        let (archived_unread_count, archived_unread_conversation_count) = sums(Part::Archive);
        Ok(GetUnreadCountsResponse {
            counts: counts.collect(),
            total_unread_count,
            unread_conversation_count,
            muted_unread_count,
            muted_unread_conversation_count,
            archived_unread_count,
            archived_unread_conversation_count,
            request_count,
            has_more_requests,
            incomplete: inbox.incomplete,
            ..GetUnreadCountsResponse::default()
        })
    }
}
