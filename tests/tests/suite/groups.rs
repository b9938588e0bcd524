//! Groups through the wire, over kills of the suite; and the last seat of one, over each adapter of the tables.

use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;
use kith_log::{RecordId, topics};
use kith_messaging::MessagingService;
use kith_proto::identity::v1::AccountCreated;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::{
    AddMembersRequest, Conversation, ConversationList, CreateGroupRequest, LeaveConversationRequest,
    ListConversationsRequest, ListMembersRequest, ListMessagesRequest, MemberRole, RemoveMemberRequest,
    SendMessageRequest, SetRoleRequest,
};
use kith_runtime::Runtime;
use kith_stage::{Stage, by, refusal};
use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::embedded::EmbeddedTables;
use kith_tests::{cassandra_server, servers};
use tonic::Code;

use crate::bad_input::caller::{Account, Caller, World};

async fn says(who: &Caller, id: &str, text: &str, token: &str) -> String {
    let (conversation_id, text, at_least) = (id.to_owned(), text.to_owned(), vec![token.to_owned()]);
    let message = SendMessageRequest { conversation_id, text, at_least, ..SendMessageRequest::default() };
    who.send_message(message).await.ok().consistency_token
}

async fn reads(who: &Caller, id: &str, token: &str) -> Vec<String> {
    let (conversation_id, at_least) = (id.to_owned(), vec![token.to_owned()]);
    let request = ListMessagesRequest { conversation_id, at_least, ..Default::default() };
    who.messages(request).await.ok().messages.into_iter().map(|message| message.text).collect()
}

async fn listed(who: &Caller, list: ConversationList, token: &str) -> Vec<Conversation> {
    let (list, at_least) = (list.into(), vec![token.to_owned()]);
    who.conversations(ListConversationsRequest { list, at_least, ..Default::default() }).await.ok().conversations
}

async fn add(who: &Caller, id: &str, whom: &Account) -> String {
    let (conversation_id, account_ids) = (id.to_owned(), vec![whom.account_id.clone()]);
    let at_least = vec![whom.token.clone(), who.token.clone()];
    let request = AddMembersRequest { conversation_id, account_ids, at_least, ..Default::default() };
    who.add_members(request).await.ok().consistency_token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_on_over_kills_and_each_sees_its_own_time() {
    let mut world = World::start().await;
    let [ada, bob, eve] = world.accounts(["ada", "bob", "eve"]).await;
    world.follow(&bob, &ada).await;
    let (as_ada, as_bob, as_eve) = (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve));
    let create = CreateGroupRequest {
        title: "Readers".into(),
        member_ids: vec![bob.account_id.clone()],
        request_id: "the group".into(),
        at_least: vec![ada.token.clone(), bob.token.clone()],
        ..Default::default()
    };
    let made = as_ada.create_group(create.clone()).await.ok();
    let id = made.conversation.unwrap().conversation_id;
    world.crash().await;
    let again = as_ada.create_group(create).await.ok();
    assert_eq!(again.conversation.unwrap().conversation_id, id, "a repeat makes no other");
    let token = says(&as_bob, &id, "before", &made.consistency_token).await;
    assert_eq!(listed(&as_bob, ConversationList::Inbox, &token).await.len(), 1);
    let token = add(&as_ada, &id, &eve).await;
    let waiting = listed(&as_eve, ConversationList::Requests, &token).await;
    assert_eq!((waiting.len(), waiting[0].member_count, &*waiting[0].title), (1, 3, "Readers"));
    let token = says(&as_bob, &id, "while", &token).await;
    let remove = RemoveMemberRequest {
        conversation_id: id.clone(),
        account_id: eve.account_id.clone(),
        at_least: vec![token],
        ..Default::default()
    };
    let removed = as_ada.remove_member(remove).await.ok();
    assert_eq!(removed.conversation.unwrap().member_count, 2);
    world.crash().await;
    let token = says(&as_bob, &id, "after", &removed.consistency_token).await;
    assert_eq!(reads(&as_eve, &id, &token).await, ["while"]);
    assert_eq!(reads(&as_bob, &id, &token).await, ["after", "while", "before"]);
    assert!(listed(&as_eve, ConversationList::Requests, &token).await.is_empty());
    let members = || ListMembersRequest { conversation_id: id.clone(), ..Default::default() };
    as_eve.members(members()).await.is(Code::NotFound, "CONVERSATION_NOT_FOUND", None);
    assert_eq!(as_bob.members(members()).await.ok().members.len(), 2);
    let promote = |role: MemberRole| SetRoleRequest {
        conversation_id: id.clone(),
        account_id: bob.account_id.clone(),
        role: role.into(),
        ..Default::default()
    };
    as_bob.set_role(promote(MemberRole::Owner)).await.is(Code::PermissionDenied, "ROLE_MISSING", None);
    let leave = || LeaveConversationRequest { conversation_id: id.clone(), ..Default::default() };
    as_ada.leave(leave()).await.is(Code::FailedPrecondition, "LAST_OWNER", None);
    as_ada.set_role(promote(MemberRole::Owner)).await.ok();
    let token = as_ada.leave(leave()).await.ok().consistency_token;
    assert!(listed(&as_ada, ConversationList::Inbox, &token).await.is_empty());
    let seen = listed(&as_bob, ConversationList::Inbox, &token).await;
    assert_eq!((seen[0].role(), seen[0].member_count, seen[0].unread_count), (MemberRole::Owner, 1, 0));
}

const ADA: RecordId = RecordId([1; 16]);
const WANT: u8 = 100;

fn wants(n: u8) -> RecordId {
    RecordId([n, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])
}

/// A group of 99 of 100, and a hundred more who are added at once.
async fn the_last_seat_is_given_once(tables: impl FnOnce(&Path) -> Arc<dyn TableStore>) {
    let stage = Stage::over(kith_messaging::group(1), tables).await;
    let messaging = MessagingService::new(Arc::clone(&stage.kit));
    for (n, id) in std::iter::once(ADA).chain((0..WANT + 98).map(wants)).enumerate() {
        let (account_id, handle_key) = (id.to_string(), format!("person_{n}"));
        let event = AccountCreated { account_id, handle_key, ..AccountCreated::default() };
        let record = RecordId([id.0[0], 8, u8::from(id == ADA), 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]);
        stage.publish(record, Identity::AccountCreated(event)).await;
    }
    stage.settle().await;
    let member_ids = (0..98).map(|n| wants(n).to_string()).collect();
    let create = CreateGroupRequest { member_ids, ..CreateGroupRequest::default() };
    let made = messaging.create_group(by(ADA, create)).await.unwrap().into_inner().conversation.unwrap();
    assert_eq!(made.member_count, 99);
    let add = |n: u8| {
        let account_ids = vec![wants(98 + n).to_string()];
        let conversation_id = made.conversation_id.clone();
        messaging.add_members(by(ADA, AddMembersRequest { conversation_id, account_ids, ..Default::default() }))
    };
    let answers = join_all((0..WANT).map(add)).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(refusal).collect();
    assert_eq!(refused.len(), usize::from(WANT) - 1);
    assert!(refused.iter().all(|refused| *refused == (Code::FailedPrecondition, "GROUP_FULL".to_owned())));
    let members = ListMembersRequest {
        conversation_id: made.conversation_id.clone(),
        page_size: 100,
        ..ListMembersRequest::default()
    };
    let members = messaging.list_members(by(ADA, members)).await.unwrap().into_inner();
    assert_eq!((members.members.len(), members.next_page_token.is_empty()), (100, true));
    let facts = stage.head(topics::MESSAGING, &made.conversation_id).await;
    assert_eq!(facts, 2, "the group, and one more member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_at_once_one_gets_the_last_seat() {
    the_last_seat_is_given_once(|folder| EmbeddedTables::open(folder, Runtime::system()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_at_once_one_gets_the_last_seat_over_a_real_server() {
    let Some(mut cassandra) = servers::cassandra().await else { return };
    cassandra.wipe().await.unwrap();
    let settings = CqlSettings {
        request_timeout: std::time::Duration::from_secs(20),
        local_datacenter: Some(cassandra_server::DATACENTER.into()),
        ..CqlSettings::new(vec![cassandra.socket(cassandra_server::PORT).to_string()])
    };
    the_last_seat_is_given_once(|_| CqlTables::connect(settings)).await;
}
