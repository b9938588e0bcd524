//! An inbox of 20,000 conversations, of which 100 are busy, paged while they move, over each adapter of the tables; and a small
//! one beside 20,000 requests of strangers.

pub mod counted;
mod strangers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt, stream};
use kith_log::RecordId;
use kith_messaging::MessagingService;
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::*;
use kith_proto::time;
use kith_runtime::Runtime;
use kith_stage::{Stage, by};
use kith_tables::TableStore;
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::embedded::EmbeddedTables;
use kith_tests::{cassandra_server, servers};

use counted::Counted;

const TALKS: usize = 20_000;
const BUSY: usize = 100;
const PAGE_SIZE: i32 = 100;
/// Of one page, as the proto says.
const READS_PER_PAGE: usize = 12;
const HOUR_US: i64 = 3_600_000_000;
/// So many conversations were last written in during one hour.
const CROWDED: usize = 1_000;
const CROWDED_HOURS_AGO: i64 = 150;
const PATIENCE: Duration = Duration::from_secs(300);
const APPENDS_IN_FLIGHT: usize = 256;
const ADA: RecordId = RecordId([1; 16]);

fn id(kind: u8, n: usize) -> RecordId {
    let spread = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut id = RecordId::default();
    id.0[1..9].copy_from_slice(&spread.to_be_bytes());
    // The end tells ids apart in page tokens.
    id.0[9..].copy_from_slice(&spread.to_le_bytes()[..7]);
    id.0[0] = kind;
    id
}

/// A member for each hundred conversations, so that no other inbox is as large.
fn created(n: usize, at_us: i64) -> Messaging {
    let member_ids = vec![ADA.to_string(), id(9, n / 100).to_string()];
    Messaging::ConversationCreated(ConversationCreated {
        conversation_id: id(2, n).to_string(),
        kind: ConversationKind::Direct.into(),
        member_ids,
        creator_id: ADA.to_string(),
        create_time: Some(time::of_us(at_us)),
        ..ConversationCreated::default()
    })
}

fn sent(n: usize, message: usize, at_us: i64) -> Messaging {
    Messaging::MessageSent(MessageSent {
        conversation_id: id(2, n).to_string(),
        message_id: id(3, message).to_string(),
        sender_id: ADA.to_string(),
        create_time: Some(time::of_us(at_us)),
        ..MessageSent::default()
    })
}

struct Inbox {
    stage: Stage,
    messaging: MessagingService,
    counted: Arc<Counted>,
    /// The beginning of an hour, some before now.
    busy_from_us: i64,
    messages: usize,
}

impl Inbox {
    async fn new(tables: impl FnOnce(&std::path::Path) -> Arc<dyn TableStore>) -> Self {
        let mut counted = None;
        let wrap = |folder: &std::path::Path| {
            Arc::clone(counted.insert(Counted::new(tables(folder), &kith_messaging::INBOX))) as Arc<dyn TableStore>
        };
        let stage = Stage::over(kith_messaging::group(1), wrap).await;
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
        let busy_from_us = (i64::try_from(now).unwrap() / HOUR_US - 5) * HOUR_US;
        let messaging = MessagingService::new(stage.kit.clone());
        Self { stage, messaging, counted: counted.unwrap(), busy_from_us, messages: 0 }
    }

    async fn publish(&self, events: impl IntoIterator<Item = (RecordId, Messaging)>) {
        let appends = events.into_iter().map(|(id, event)| self.stage.publish(id, event));
        stream::iter(appends.collect::<Vec<_>>()).buffer_unordered(APPENDS_IN_FLIGHT).collect::<Vec<_>>().await;
    }

    async fn folded(&self) {
        let all = self.stage.everything().await;
        self.stage.state().at_least(&all, tokio::time::Instant::now() + PATIENCE).await.unwrap();
    }

    /// Most in some 300 hours, and many in one.
    async fn fill(&self) {
        let at = |n: usize| match n {
            ..CROWDED => self.busy_from_us - CROWDED_HOURS_AGO * HOUR_US + n as i64,
            _ => self.busy_from_us - (1 + n as i64 % 300) * HOUR_US + n as i64 * 1_000,
        };
        self.publish((0..TALKS).map(|n| (id(4, n), created(n, at(n))))).await;
        self.folded().await;
    }

    /// Someone writes in some of the busy ones, in the hour that has come.
    async fn write(&mut self, hour: i64, some: usize) {
        let from = self.messages;
        self.messages += some;
        let at_us = |n: usize| self.busy_from_us + hour * HOUR_US + n as i64;
        let busy = |n: usize| n % BUSY * (TALKS / BUSY) + 7;
        self.publish((from..from + some).map(|n| (id(5, n), sent(busy(n), n, at_us(n))))).await;
    }

    async fn page(&self, page_token: String) -> ListConversationsResponse {
        self.counted.take();
        let request =
            ListConversationsRequest { page_size: PAGE_SIZE, page_token, ..ListConversationsRequest::default() };
        let page = self.messaging.list_conversations(by(ADA, request)).await.unwrap().into_inner();
        let reads = self.counted.take();
        assert!(reads <= READS_PER_PAGE, "{reads} reads for a page");
        assert!(page.conversations.is_sorted_by(|one, next| active(one) >= active(next)) && !page.incomplete);
        page
    }

    /// A walk, with messages between its pages; from one hour to the next twice.
    async fn walk(&mut self, some: usize) -> Vec<Conversation> {
        let (mut all, mut page_token) = (Vec::<Conversation>::new(), String::new());
        loop {
            let page = self.page(page_token).await;
            all.extend(page.conversations);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
            if some > 0 {
                self.write(all.len() as i64 * 2 / TALKS as i64, some).await;
            }
        }
    }
}

fn active(of: &Conversation) -> i64 {
    time::unix_us(of.last_message_time.or(of.create_time).as_ref())
}

async fn is_paged(tables: impl FnOnce(&std::path::Path) -> Arc<dyn TableStore>) {
    let mut inbox = Inbox::new(tables).await;
    let began = Instant::now();
    inbox.fill().await;
    let crowded_hour = inbox.busy_from_us / HOUR_US - CROWDED_HOURS_AGO;
    let filled = began.elapsed();
    let whole = |walked: &[Conversation]| {
        let unique: BTreeSet<&String> = walked.iter().map(|of| &of.conversation_id).collect();
        assert_eq!((walked.len(), unique.len()), (TALKS, TALKS));
    };
    for _ in 0..2 {
        let walked = inbox.walk(20).await;
        whole(&walked);
        inbox.folded().await;
        inbox.busy_from_us += HOUR_US;
    }
    println!("filled in {filled:?}, walked twice beside {} messages in {:?}", inbox.messages, began.elapsed() - filled);
    let walked = inbox.walk(0).await;
    whole(&walked);
    assert!(walked[..BUSY].iter().all(|of| of.last_message_number > 0));
    // Of an hour with too many, conversations come in the order of their ids.
    let in_order: Vec<i64> = walked.iter().map(active).filter(|at| at / HOUR_US != crowded_hour).collect();
    assert!(in_order.is_sorted_by(|one, next| one >= next) && in_order.len() > TALKS - CROWDED - 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_inbox_is_paged_while_it_moves() {
    is_paged(|folder| EmbeddedTables::open(folder, Runtime::system()).unwrap()).await;
}

/// How to connect to the server, on which no tables are left.
async fn emptied(cassandra: &mut servers::Shared) -> CqlSettings {
    cassandra.wipe().await.unwrap();
    CqlSettings {
        request_timeout: Duration::from_secs(20),
        local_datacenter: Some(cassandra_server::DATACENTER.into()),
        ..CqlSettings::new(vec![cassandra.socket(cassandra_server::PORT).to_string()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_inbox_is_paged_over_a_real_server() {
    let Some(mut cassandra) = servers::cassandra().await else { return };
    let settings = emptied(&mut cassandra).await;
    is_paged(|_| CqlTables::connect(settings)).await;
}
