use kith_log::embedded::EmbeddedLog;
use kith_log::{LogPartition, Record, RecordId, topics};
use kith_proto::Event;

use super::*;
use crate::source::Source;

const BEGIN_MS: i64 = 1_700_000_000_000;
const ADDRESS: &str = "203.0.113.9";

struct Desk {
    runtime: Runtime,
    log: Arc<dyn EventLog>,
    metrics: Metrics,
    security: Security,
    _folder: tempfile::TempDir,
}

async fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::simulated(1, BEGIN_MS);
    let log: Arc<dyn EventLog> = EmbeddedLog::open(folder.path(), 4, runtime.clone()).unwrap();
    let metrics = Metrics::default();
    let security = Security::open(&runtime, &Secret::from(&[7; 32]), &metrics).unwrap();
    Desk { runtime, log, metrics, security, _folder: folder }
}

impl Desk {
    async fn records(&self) -> Vec<Record> {
        let partition = LogPartition::of_key(topics::SECURITY, SECURITY_KEY, 4);
        let heads = self.log.heads(topics::SECURITY).await.unwrap();
        let head = heads[usize::from(partition.index)];
        assert_eq!(head, heads.iter().sum::<u64>(), "all are in one order");
        let (mut records, mut reader) = (Vec::new(), self.log.read(partition, 0).await.unwrap());
        while (records.len() as u64) < head {
            records.extend(reader.next().await.unwrap().unwrap());
        }
        records
    }

    async fn events(&self) -> Vec<SecurityEvent> {
        let decode = |record: &Record| match Event::decode(topics::SECURITY.name, &record.value).unwrap() {
            Event::SecurityEvent(event) => event,
            other => panic!("{other:?}"),
        };
        self.records().await.iter().map(decode).collect()
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == line)
    }
}

fn wrong_password(account: u8) -> Happened {
    let from = Source::of_address(ADDRESS.parse().unwrap());
    Happened::new(SecurityKind::LoginRefused, "password").about(RecordId([account; 16])).from(&from)
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_before_there_is_a_log_is_written_too_and_sums_at_the_end() {
    let desk = desk().await;
    for _ in 0..5 {
        desk.security.note(wrong_password(1));
    }
    desk.log.create_topics(&[topics::SECURITY]).await.unwrap();
    desk.security.write_to(&desk.log, "test");
    desk.runtime.sleep(Duration::from_secs(1)).await;
    assert_eq!(desk.events().await.iter().map(|event| event.count).collect::<Vec<_>>(), [1]);
    desk.runtime.sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.events().await.iter().map(|event| event.count).collect::<Vec<_>>(), [1, 4]);
    for _ in 0..3 {
        desk.security.note(wrong_password(1));
    }
    desk.security.close(Duration::from_secs(1)).await;
    assert_eq!(desk.events().await.iter().map(|event| event.count).sum::<u64>(), 8);
    assert!(desk.metric(r#"kith_security_events_total{kind="LOGIN_REFUSED"} 8"#));
    assert!(desk.metric("kith_security_events_dropped_total 0"));
}

#[tokio::test(start_paused = true)]
async fn a_network_is_told_from_another_and_is_not_in_the_record() {
    let desk = desk().await;
    desk.log.create_topics(&[topics::SECURITY]).await.unwrap();
    desk.security.write_to(&desk.log, "test");
    desk.security.note(wrong_password(1));
    let other = Source::of_address("203.0.113.10".parse().unwrap());
    desk.security.note(Happened::new(SecurityKind::TokenRefused, "forged").from(&other));
    let service = Source::Service("web".into());
    desk.security.note(Happened::new(SecurityKind::RightRefused, "read").from(&service));
    desk.security.close(Duration::from_secs(1)).await;
    let events = desk.events().await;
    let [login, token, right] = &events[..] else { panic!("{events:?}") };
    assert_eq!((login.source.len(), &*login.subject), (DIGEST_DIGITS, &*login.account_id));
    assert_eq!((&token.subject, &*token.account_id), (&token.source, ""));
    assert_ne!(login.source, token.source);
    assert_eq!((&*right.subject, &*right.principal, &*right.source), ("web", "web", ""));
    for record in desk.records().await {
        let bytes: Vec<u8> = record.headers.iter().flat_map(|header| header.value.to_vec()).collect();
        let all = [&record.key[..], &record.value, &bytes].concat();
        for clear in [ADDRESS.as_bytes(), &[203, 0, 113, 9]] {
            assert!(!all.windows(clear.len()).any(|window| window == clear), "{record:?}");
        }
    }
    let elsewhere = Security::open(&desk.runtime, &Secret::from(&[8; 32]), &Metrics::default()).unwrap();
    let digest = |security: &Security| security.0.as_ref().unwrap().digest(ADDRESS.parse().unwrap());
    assert_eq!(digest(&desk.security), login.source);
    assert_ne!(digest(&elsewhere), login.source, "it depends on the key");
}

/// A log that takes nothing: the topic is not there.
#[tokio::test(start_paused = true)]
async fn noting_never_waits_for_a_log_that_takes_nothing_and_tries_end() {
    let desk = desk().await;
    desk.security.write_to(&desk.log, "test");
    for account in 0..20 {
        desk.security.note(wrong_password(account));
    }
    desk.runtime.sleep(Duration::from_secs(600)).await;
    assert!(desk.metric("kith_security_events_dropped_total 20"), "{}", desk.metrics.encode().unwrap());
    desk.log.create_topics(&[topics::SECURITY]).await.unwrap();
    desk.security.note(wrong_password(1));
    desk.security.close(Duration::from_secs(1)).await;
    assert_eq!(desk.events().await.len(), 1);
    Security::default().note(wrong_password(1));
}
