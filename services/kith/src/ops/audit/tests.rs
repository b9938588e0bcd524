use std::time::Duration;

use kith_fold::{Cause, Operations, Publisher};
use kith_log::embedded::EmbeddedLog;
use kith_log::{RecordId, Topic};
use kith_proto::Event;
use kith_proto::ops::v1::ops_event::Event as Decision;
use kith_proto::ops::v1::{AuditEntry, ProjectionPaused};
use kith_proto::revocations::v1::SessionRevoked;
use kith_proto::revocations::v1::revocation_event::Event as Revocation;
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_proto::time::timestamp;
use kith_runtime::Runtime;
use kith_service::auth::REVOCATIONS_KEY;
use kith_service::security::SECURITY_KEY;
use tonic_types::StatusExt;

use super::*;

const BEGIN_MS: i64 = 1_700_000_000_000;
const ADA: &str = "0a11ce000000000000000000000000a1";
const BOB: &str = "0b0b00000000000000000000000000b2";

struct Desk {
    runtime: Runtime,
    log: Arc<dyn EventLog>,
    operations: Operations,
    audit: Audit,
    _folder: tempfile::TempDir,
}

async fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::simulated(1, BEGIN_MS);
    let log: Arc<dyn EventLog> = EmbeddedLog::open(folder.path(), 4, runtime.clone()).unwrap();
    log.create_topics(&topics::ALL).await.unwrap();
    let operations = Operations::open(Arc::clone(&log), runtime.clone()).await.unwrap();
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    let audit = Audit { log: Arc::clone(&log), page_tokens, reads: true, shapes: Shapes::default() };
    Desk { runtime, log, operations, audit, _folder: folder }
}

impl Desk {
    async fn append(&self, topic: Topic, key: &str, event: Event) {
        let mut id = [0; 16];
        self.runtime.fill_random(&mut id).unwrap();
        let publisher = Publisher::new(Arc::clone(&self.log), self.runtime.clone(), "test");
        publisher.append(topic, key, RecordId(id), &event, &Cause::default()).await.unwrap();
        self.runtime.sleep(Duration::from_secs(1)).await;
    }

    async fn refused(&self, account_id: &str, principal: &str) {
        let now = Some(timestamp(self.runtime.now_ms()));
        let event = SecurityEvent {
            kind: SecurityKind::LoginRefused.into(),
            subject: account_id.to_owned(),
            account_id: account_id.to_owned(),
            principal: principal.to_owned(),
            count: 1,
            first_time: now,
            last_time: now,
            ..SecurityEvent::default()
        };
        self.append(topics::SECURITY, SECURITY_KEY, event.into()).await;
    }

    async fn ended(&self, account_id: &str) {
        let revoke_time = Some(timestamp(self.runtime.now_ms()));
        let event = SessionRevoked { session_id: BOB.to_owned(), account_id: account_id.to_owned(), revoke_time };
        self.append(topics::REVOCATIONS, REVOCATIONS_KEY, Revocation::SessionRevoked(event).into()).await;
    }

    async fn paused(&self, by: &str) {
        let pause_time = Some(timestamp(self.runtime.now_ms()));
        let event = ProjectionPaused { service: "feeds".to_owned(), note: "why".to_owned(), pause_time };
        self.operations.announce_by(by, Decision::ProjectionPaused(event)).await.unwrap();
        self.runtime.sleep(Duration::from_secs(1)).await;
    }

    async fn read(&self, mut request: ReadAuditRequest) -> Vec<AuditEntry> {
        let mut all = Vec::new();
        for _ in 0..1_000 {
            let page = self.audit.read_audit(Request::new(request.clone())).await.unwrap().into_inner();
            assert!(page.entries.len() <= 100);
            all.extend(page.entries);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
        panic!("it does not end");
    }
}

fn kinds(entries: &[AuditEntry]) -> Vec<SecurityKind> {
    entries.iter().map(|entry| entry.event.as_ref().unwrap().kind()).collect()
}

#[tokio::test(start_paused = true)]
async fn three_topics_are_one_order_and_say_who() {
    let desk = desk().await;
    desk.refused(ADA, "web").await;
    desk.paused("ada").await;
    desk.ended(ADA).await;
    desk.refused(BOB, "").await;
    let all = desk.read(ReadAuditRequest::default()).await;
    use SecurityKind::{LoginRefused, OperatorDecided, SessionEnded};
    assert_eq!(kinds(&all), [LoginRefused, OperatorDecided, SessionEnded, LoginRefused]);
    let decided = all[1].event.as_ref().unwrap();
    assert_eq!((&*decided.principal, &*decided.subject, &*decided.reason), ("ada", "feeds", "ProjectionPaused"));
    assert!(all[1].decision_json.contains(r#""note":"why""#), "{}", all[1].decision_json);
    assert_eq!(&*all[2].event.as_ref().unwrap().account_id, ADA);
    let of = async |request| kinds(&desk.read(request).await);
    let account = ReadAuditRequest { account_id: ADA.to_owned(), ..Default::default() };
    assert_eq!(of(account).await, [LoginRefused, SessionEnded]);
    let principal = ReadAuditRequest { principal: "ada".to_owned(), ..Default::default() };
    assert_eq!(of(principal).await, [OperatorDecided]);
    let kind = ReadAuditRequest { kinds: vec![LoginRefused.into()], ..Default::default() };
    assert_eq!(of(kind).await, [LoginRefused, LoginRefused]);
    let moment = |seconds: i64| Some(timestamp(BEGIN_MS + 1_000 * seconds));
    let time = ReadAuditRequest { from_time: moment(1), to_time: moment(3), ..Default::default() };
    assert_eq!(of(time).await, [OperatorDecided, SessionEnded]);
}

#[tokio::test(start_paused = true)]
async fn pages_of_any_size_give_each_entry_once_and_in_order() {
    let desk = desk().await;
    for n in 0..40 {
        match n % 7 {
            0 | 1 => desk.ended(ADA).await,
            2 => desk.paused("ada").await,
            _ => desk.refused(if n % 2 == 0 { ADA } else { BOB }, "").await,
        }
    }
    let whole = desk.read(ReadAuditRequest { page_size: 100, ..Default::default() }).await;
    assert_eq!(whole.len(), 40);
    let times: Vec<_> = whole.iter().map(|entry| entry.event.as_ref().unwrap().first_time.unwrap().seconds).collect();
    assert!(times.is_sorted(), "{times:?}");
    for page_size in [1, 2, 3, 7, 39, 40] {
        assert_eq!(desk.read(ReadAuditRequest { page_size, ..Default::default() }).await, whole, "{page_size}");
        let filtered = ReadAuditRequest { page_size, account_id: BOB.to_owned(), ..Default::default() };
        let of_bob: Vec<_> = whole.iter().filter(|entry| entry.event.as_ref().unwrap().account_id == BOB).collect();
        assert_eq!(desk.read(filtered).await.iter().collect::<Vec<_>>(), of_bob, "{page_size}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_refused_by_its_field() {
    let desk = desk().await;
    let reason = async |audit: &Audit, request| {
        audit.read_audit(Request::new(request)).await.unwrap_err().get_details_error_info().unwrap().reason
    };
    for request in [
        ReadAuditRequest { kinds: vec![0], ..Default::default() },
        ReadAuditRequest { kinds: vec![99], ..Default::default() },
        ReadAuditRequest { kinds: vec![1; 17], ..Default::default() },
        ReadAuditRequest { principal: "a".repeat(256), ..Default::default() },
    ] {
        assert_eq!(reason(&desk.audit, request).await, "FIELD_INVALID");
    }
    let malformed = ReadAuditRequest { account_id: "ada".to_owned(), ..Default::default() };
    assert_eq!(reason(&desk.audit, malformed).await, "ID_MALFORMED");
    let elsewhere = Audit {
        reads: false,
        shapes: Shapes::default(),
        page_tokens: Arc::clone(&desk.audit.page_tokens),
        log: Arc::clone(&desk.log),
    };
    assert_eq!(reason(&elsewhere, ReadAuditRequest::default()).await, "METHOD_UNKNOWN");
}
