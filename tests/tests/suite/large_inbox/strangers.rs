//! What 20,000 strangers cost the one they write to: nothing in the inbox, two reads for a page of requests, and four more for
//! the last page, which looks at those behind.

use kith_proto::messaging::v1::message_service_server::MessageService;

use super::*;

const STRANGERS: usize = 20_000;
/// Over a real server, which folds more slowly.
const FEWER_STRANGERS: usize = 2_000;
const FRIENDS: usize = 150;
const LISTED: usize = 200;
/// Of each page of 50 at most; a process that remembers rows takes fewer.
const READS_OF_REQUESTS: [usize; 4] = [2, 2, 2, 6];

/// Opened by a stranger; and two messages in it.
fn asked(n: usize, at_us: i64) -> ((RecordId, Messaging), [(RecordId, Messaging); 2]) {
    let (conversation_id, stranger) = (id(12, n).to_string(), id(19, n).to_string());
    let opened = Messaging::ConversationCreated(ConversationCreated {
        conversation_id: conversation_id.clone(),
        kind: ConversationKind::Direct.into(),
        member_ids: vec![ADA.to_string(), stranger.clone()],
        creator_id: stranger.clone(),
        create_time: Some(time::of_us(at_us)),
        asked_member_ids: vec![ADA.to_string()],
        seen_identity_offset: 0,
    });
    let said = |message: usize| {
        Messaging::MessageSent(MessageSent {
            conversation_id: conversation_id.clone(),
            message_id: id(13, message).to_string(),
            sender_id: stranger.clone(),
            create_time: Some(time::of_us(at_us + message as i64)),
            ..MessageSent::default()
        })
    };
    ((id(14, n), opened), [2 * n, 2 * n + 1].map(|message| (id(15, message), said(message))))
}

/// How many reads each page of the list takes, and what is on it.
async fn walk(inbox: &Inbox, counted: &Counted, list: ConversationList) -> (Vec<usize>, Vec<Conversation>, u32) {
    let (mut reads, mut all, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        counted.take();
        let request = ListConversationsRequest {
            page_size: 50,
            page_token,
            list: list.into(),
            ..ListConversationsRequest::default()
        };
        let page = inbox.messaging.list_conversations(by(ADA, request)).await.unwrap().into_inner();
        reads.push(counted.take());
        all.extend(page.conversations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (reads, all, page.unlisted_at_least);
        }
    }
}

async fn counts(inbox: &Inbox) -> GetUnreadCountsResponse {
    let request = GetUnreadCountsRequest::default();
    let counts = inbox.messaging.get_unread_counts(by(ADA, request)).await.unwrap().into_inner();
    GetUnreadCountsResponse { as_of: String::new(), ..counts }
}

async fn costs_the_inbox_nothing(strangers: usize, tables: impl FnOnce(&std::path::Path) -> Arc<dyn TableStore>) {
    let mut requests = None;
    let inbox = Inbox::new(|folder| {
        Arc::clone(requests.insert(Counted::new(tables(folder), &kith_messaging::REQUESTS))) as Arc<dyn TableStore>
    })
    .await;
    let requests = requests.unwrap();
    let at = |n: usize| inbox.busy_from_us + n as i64 * 1_000;
    inbox.publish((0..FRIENDS).map(|n| (id(4, n), created(n, at(n))))).await;
    inbox.folded().await;
    let alone = walk(&inbox, &inbox.counted, ConversationList::Inbox).await;
    let unread = counts(&inbox).await;
    assert_eq!((alone.1.len(), unread.request_count), (FRIENDS, 0));

    inbox.publish((0..strangers).map(|n| asked(n, at(n)).0)).await;
    inbox.publish((0..strangers).flat_map(|n| asked(n, at(n)).1)).await;
    inbox.folded().await;
    assert_eq!(walk(&inbox, &inbox.counted, ConversationList::Inbox).await, alone, "pages, and what they cost");
    let (request_count, has_more_requests) = (200, true);
    assert_eq!(counts(&inbox).await, GetUnreadCountsResponse { request_count, has_more_requests, ..unread });
    let (reads, listed, unlisted) = walk(&inbox, &requests, ConversationList::Requests).await;
    assert_eq!(reads.len(), READS_OF_REQUESTS.len());
    assert!(reads.iter().zip(READS_OF_REQUESTS).all(|(reads, most)| *reads <= most), "{reads:?}");
    assert_eq!((listed.len(), unlisted), (LISTED, 800));
    let newest: Vec<String> = (0..strangers).rev().take(LISTED).map(|n| id(12, n).to_string()).collect();
    assert!(listed.iter().map(|of| &of.conversation_id).eq(&newest));
    assert!(listed.iter().all(|of| of.last_message_number == 2 && of.unread_count == 2));
    println!("an inbox of {FRIENDS} takes {:?} reads, {LISTED} of {strangers} requests take {reads:?}", alone.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cost_an_inbox_nothing() {
    costs_the_inbox_nothing(STRANGERS, |folder| EmbeddedTables::open(folder, Runtime::system()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cost_an_inbox_nothing_over_a_real_server() {
    let Some(mut cassandra) = servers::cassandra().await else { return };
    let settings = emptied(&mut cassandra).await;
    costs_the_inbox_nothing(FEWER_STRANGERS, |_| CqlTables::connect(settings)).await;
}
