//! Messaging: conversations, their messages, how far each member has read, and what each has made of them: accepted, declined,
//! or left among the requests.
//!
//! A conversation is one table partition, evolved by the facts under its key. What each member sees of it in the list
//! of conversations is spread to the member's inbox, or requests, in absolute values.
//!
//! Who is in a group, and what it is called, is changed by intents in the private topic; the arbiter says which win.

mod acceptance;
mod addressed;
mod amend;
mod availability;
mod consent;
mod conversation;
mod direct;
mod edit;
mod facts;
mod former;
mod group;
mod inbox;
mod kept;
mod listed_members;
mod listing;
mod marker;
mod members;
mod message;
mod noted;
mod places;
mod policy;
mod progress;
mod reaction;
mod rejection;
mod requests;
mod role;
mod roster;
mod said;
mod seat;
mod summary;
mod tally;
mod unsend;
mod unsent;
mod updates;
mod view;
mod viewing;
mod visible;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use kith_fold::{Arbiter, EVENTS, Fold, Group};
use kith_log::topics;
use kith_proto::messaging::v1::conversation_service_server::{self, ConversationServiceServer};
use kith_proto::messaging::v1::message_service_server::{self, MessageServiceServer};
use kith_proto::messaging::v1::rpc;
use kith_proto::messaging::v1::update_service_server::{self, UpdateServiceServer};
use kith_relations::account::{Accounts, Handles};
use kith_relations::away::Away;
use kith_relations::block::{BlockedBy, Blocks};
use kith_relations::follow::Follows;
use kith_relations::origin::Origins;
use kith_service::call::Handlers;
use kith_service::kit::Kit;
use kith_service::tail::Tail;
use kith_service::{limited, rpcs};
use tonic::service::RoutesBuilder;

pub use consent::Consent;
pub use conversation::CONVERSATIONS;
pub use facts::GroupRow;
pub use group::{ClaimRow, GROUP_CLAIMS};
pub use inbox::{CONVERSATIONS_PER_INBOX, INBOX, InboxRow, PlaceRow};
pub use kept::MessageRow;
pub use members::MEMBERS_MAX;
pub use places::{LEFT_STANDING, Place, Places};
use rejection::Rejection;
pub use requests::{OpenedRow, REQUESTS, RequestRow};
pub use roster::GroupSummary;
pub use summary::Summary;
pub use unsent::Unsent;
use updates::Changes;

rpcs! {
    conversation_service_server::ConversationService => MessagingService {
        contest get_or_create_direct: rpc::GetOrCreateDirect => direct::Directs,
        list list_conversations: rpc::ListConversations => inbox::Inboxes,
        contest accept_conversation: rpc::AcceptConversation => acceptance::Acceptances,
        contest decline_conversation: rpc::DeclineConversation => acceptance::Acceptances,
        command set_messaging_policy: rpc::SetMessagingPolicy => policy::Policies,
        read get_availability: rpc::GetAvailability => availability::Availabilities,
        contest create_group: rpc::CreateGroup => group::Groups,
        contest add_members: rpc::AddMembers => group::Groups,
        contest remove_member: rpc::RemoveMember => group::Groups,
        contest set_role: rpc::SetRole => group::Groups,
        contest update_group: rpc::UpdateGroup => group::Groups,
        contest leave_conversation: rpc::LeaveConversation => group::Groups,
        list list_members: rpc::ListMembers => listed_members::ListedMembers,
        contest mute_conversation: rpc::MuteConversation => viewing::Views,
        contest unmute_conversation: rpc::UnmuteConversation => viewing::Views,
        contest archive_conversation: rpc::ArchiveConversation => viewing::Views,
        contest unarchive_conversation: rpc::UnarchiveConversation => viewing::Views,
        contest mark_unread: rpc::MarkUnread => viewing::Views,
    }
}

rpcs! {
    message_service_server::MessageService => MessagingService {
        command send_message: rpc::SendMessage => message::Messages,
        contest edit_message: rpc::EditMessage => edit::Edits,
        contest unsend_message: rpc::UnsendMessage => unsend::Unsends,
        contest react_to_message: rpc::ReactToMessage => reaction::Reactions,
        contest remove_message_reaction: rpc::RemoveMessageReaction => reaction::Reactions,
        list list_messages: rpc::ListMessages => listing::Listing,
        command mark_read: rpc::MarkRead => marker::Markers,
        read get_unread_counts: rpc::GetUnreadCounts => inbox::Inboxes,
    }
}

/// The gRPC services that [`MessagingService::add_to`] adds.
pub const SERVICES: [&str; 3] = [
    conversation_service_server::SERVICE_NAME,
    message_service_server::SERVICE_NAME,
    update_service_server::SERVICE_NAME,
];

/// How wide a place in an inbox is. A conversation that is written in all the time leaves one behind each time.
const PLACE: Duration = Duration::from_secs(60 * 60);

/// In production; tests do not wait for so long.
const QUIET: Duration = Duration::from_secs(25);

/// The name of the fold group: in its consumer group and its keyspace.
pub const GROUP: &str = "messaging";

/// The folds of the service, over its own topics and what it needs of identity's.
pub fn group(generation: u32) -> Group {
    group_with_places(generation, PLACE)
}

/// The same with places of another width, above 0; for tests in which hours do not pass.
pub fn group_with_places(generation: u32, place: Duration) -> Group {
    group_with_times(generation, place, Duration::from_secs(kith_service::limits::MESSAGE_EDIT_SECONDS))
}

/// The same, where messages may be edited for another time, at most that of a release: for tests in which minutes do not pass.
pub fn group_with_times(generation: u32, place: Duration, edit_window: Duration) -> Group {
    let [place_us, edit_window_us] = [place, edit_window].map(|of| i64::try_from(of.as_micros()).unwrap_or(i64::MAX));
    let conversations = conversation::Conversations { place_us, edit_window_us };
    let folds: Vec<Arc<dyn Fold>> = vec![
        Arc::new(conversations),
        Arc::new(Arbiter(group::Groups)),
        Arc::new(policy::PolicyFold),
        Arc::new(Accounts),
        Arc::new(Handles),
        Arc::new(Away),
        Arc::new(Origins),
        Arc::new(Blocks),
        Arc::new(BlockedBy),
        Arc::new(Follows),
    ];
    Group {
        name: GROUP,
        generation,
        folds_version: 7,
        reads: EVENTS,
        topics: vec![topics::MESSAGING, topics::MESSAGING_PRIVATE, topics::IDENTITY],
        folds,
        shown: None,
    }
}

/// The handlers of all gRPC services; cheap to clone.
#[derive(Clone)]
pub struct MessagingService {
    kit: Arc<Kit>,
    updates: Arc<Tail<Changes>>,
    /// After so long without an update a stream sends one that only has a cursor.
    quiet: Duration,
}

impl MessagingService {
    pub fn new(kit: Arc<Kit>) -> Self {
        let updates = Arc::new(Tail::new(Arc::clone(&kit), Changes));
        Self { kit, updates, quiet: QUIET }
    }

    /// What is told to those who stream.
    fn updates(&self) -> &Tail<Changes> {
        &self.updates
    }

    /// Adds all gRPC services.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        routes
            .add_service(limited!(ConversationServiceServer::new(self.clone())))
            .add_service(limited!(MessageServiceServer::new(self.clone())))
            .add_service(limited!(UpdateServiceServer::new(self.clone())));
    }
}

impl Handlers for MessagingService {
    fn kit(&self) -> &Kit {
        &self.kit
    }
}

#[cfg(test)]
mod tests;
