//! What the processes of identity tell each other of guesses: that a source has to wait. One record once it has to, and one for each
//! longer wait; none for a wrong password before that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kith_log::{EventLog, LogError, LogPartition, Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_runtime::{Runtime, UnixMillis};
use kith_service::limits::GUESSES_FREE;
use kith_service::security::{Happened, SECURITY_KEY};
use kith_service::source::Source;

use super::{Failures, Guesses, Pair, locked};

/// So many records from the end of the topic a process begins at: waits of some minutes.
const TAIL_RECORDS: u64 = 4_096;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Guesses {
    /// Learns what the others tell, while it lives.
    pub fn follow(self: &Arc<Self>, log: &Arc<dyn EventLog>) {
        self.runtime.spawn(follow(self.runtime.clone(), Arc::downgrade(self), Arc::downgrade(log)));
    }

    /// Tells the others of one more wrong password, if the source has to wait after it.
    pub(super) fn tell(&self, pair: Pair, account_id: Option<RecordId>, source: &Source) {
        let in_a_row = locked(&self.failures).get(&pair).map_or(0, |failures| failures.count);
        if in_a_row < GUESSES_FREE {
            return;
        }
        let slowed = Happened::new(SecurityKind::GuessesSlowed, "password");
        let slowed = account_id.map_or(slowed.clone(), |account_id| slowed.about(account_id));
        self.refused.security().tell(slowed.from(source), RecordId(pair).to_string(), in_a_row);
    }

    /// Total. What is known here already stays, where it is more.
    fn learn(&self, event: &SecurityEvent, logged_ms: UnixMillis) {
        let Some(RecordId(pair)) = RecordId::parse(&event.pair).filter(|_| event.kind() == SecurityKind::GuessesSlowed)
        else {
            return;
        };
        // By the log's clock: the other's own may be behind, and the wait would be over when it arrives. Never in the future of this
        // one: that would be a longer wait.
        let last_ms = logged_ms.min(self.runtime.now_ms());
        let mut all = locked(&self.failures);
        let known = all.get(&pair).copied().unwrap_or_default();
        let (count, last_ms) = (known.count.max(event.in_a_row), known.last_ms.max(last_ms));
        all.put(pair, Failures { count, last_ms });
    }
}

async fn follow(runtime: Runtime, guesses: Weak<Guesses>, log: Weak<dyn EventLog>) {
    let mut next = None;
    while let Some(log) = log.upgrade().filter(|_| guesses.strong_count() > 0) {
        if let Err(error) = read(log, &guesses, &mut next).await {
            tracing::debug!(%error, "guesses at other processes cannot be followed; reading again");
        }
        runtime.sleep(READ_AGAIN_AFTER).await;
    }
}

/// Until the log does not go on.
async fn read(log: Arc<dyn EventLog>, guesses: &Weak<Guesses>, next: &mut Option<Offset>) -> Result<(), LogError> {
    let partition = LogPartition::of_key(topics::SECURITY, SECURITY_KEY, log.partition_count());
    let from = match *next {
        Some(next) => next,
        None => {
            let heads = log.heads(partition.topic).await?;
            heads.get(usize::from(partition.index)).map_or(0, |head| head.saturating_sub(TAIL_RECORDS))
        }
    };
    let mut reader = log.read(partition, from).await?;
    // Held no longer: a reader that waits must not keep a log open.
    drop(log);
    while let Some(records) = reader.next().await {
        let records = match records {
            Err(LogError::OutOfRange { first, .. }) if from < first => {
                *next = Some(first);
                return Ok(());
            }
            records => records?,
        };
        let Some(guesses) = guesses.upgrade() else { return Ok(()) };
        for record in records {
            *next = Some(record.position.offset + 1);
            match Event::decode(topics::SECURITY.name, &record.value) {
                Ok(Event::SecurityEvent(event)) => guesses.learn(&event, record.logged_ms),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(position = %record.position, %error, "a security event that does not read")
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use kith_log::embedded::EmbeddedLog;
    use kith_service::keys::secret::Secret;
    use kith_service::limits::GUESSES_REMEMBERED;
    use kith_service::metrics::Metrics;
    use kith_service::rate::Refused;
    use kith_service::security::Security;

    use super::super::Target;
    use super::*;

    const FREE: u64 = GUESSES_FREE as u64;

    struct Desk {
        runtime: Runtime,
        log: Arc<dyn EventLog>,
        _folder: tempfile::TempDir,
    }

    async fn desk() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::simulated(1, 1_700_000_000_000);
        let log: Arc<dyn EventLog> = EmbeddedLog::open(folder.path(), 4, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        Desk { runtime, log, _folder: folder }
    }

    impl Desk {
        fn process(&self) -> Arc<Guesses> {
            let (secret, metrics) = (Secret::from(&[7; 32]), Metrics::default());
            let security = Security::open(&self.runtime, &secret, &metrics).unwrap();
            security.write_to(&self.log, "identity");
            let refused = Refused::register(&metrics, &security);
            let guesses = Arc::new(Guesses::new(self.runtime.clone(), &secret, refused).unwrap());
            guesses.follow(&self.log);
            guesses
        }

        /// Whether a wrong password was compared.
        async fn guess(&self, at: &Guesses, source: u32) -> bool {
            let target = Target { key: "ada".to_owned(), account_id: Some(RecordId([7; 16])) };
            let source = Source::of_address(Ipv4Addr::from_bits(source).into());
            let compared = at.is_right(target, &source, async { Ok(false) }).await.is_ok();
            self.runtime.sleep(Duration::from_millis(10)).await;
            compared
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_threshold_more_processes_are_no_more_guesses() {
        let desk = desk().await;
        let processes = [desk.process(), desk.process(), desk.process()];
        let mut compared = 0;
        for _ in 0..60 {
            for process in &processes {
                while desk.guess(process, 1).await {
                    compared += 1;
                }
            }
            desk.runtime.sleep(Duration::from_secs(1)).await;
        }
        assert!((FREE..=FREE + 6).contains(&compared), "{compared}");
        let later = desk.process();
        desk.runtime.sleep(Duration::from_millis(10)).await;
        assert!(!desk.guess(&later, 1).await, "also at one that has just started");
        assert!(desk.guess(&later, 2).await, "its owner, from elsewhere");
    }

    #[tokio::test(start_paused = true)]
    async fn a_threshold_is_a_record_and_a_wrong_password_is_none() {
        let desk = desk().await;
        let process = desk.process();
        for _ in 1..FREE {
            assert!(desk.guess(&process, 1).await);
        }
        let told = async || {
            let partition = LogPartition::of_key(topics::SECURITY, SECURITY_KEY, 4);
            let head = desk.log.heads(topics::SECURITY).await.unwrap()[usize::from(partition.index)];
            let (mut all, mut reader) = (Vec::new(), desk.log.read(partition, 0).await.unwrap());
            while (all.len() as u64) < head {
                all.extend(reader.next().await.unwrap().unwrap());
            }
            let decoded = |value: &[u8]| match Event::decode(topics::SECURITY.name, value) {
                Ok(Event::SecurityEvent(event)) => event,
                other => panic!("{other:?}"),
            };
            let all = all.iter().map(|record| decoded(&record.value));
            all.filter(|event| event.kind() == SecurityKind::GuessesSlowed).collect::<Vec<_>>()
        };
        assert_eq!(told().await.len(), 0);
        assert!(desk.guess(&process, 1).await && !desk.guess(&process, 1).await);
        let [event] = &told().await[..] else { panic!("not one") };
        assert_eq!((u64::from(event.in_a_row), event.pair.len()), (FREE, 32));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_neither_shortens_a_wait_nor_fills_the_memory() {
        let desk = desk().await;
        let process = desk.process();
        let event = |n: u128, in_a_row| SecurityEvent {
            kind: SecurityKind::GuessesSlowed.into(),
            pair: RecordId(n.to_be_bytes()).to_string(),
            in_a_row,
            // Of a teller whose clock is an hour behind.
            last_time: Some(kith_proto::time::timestamp(desk.runtime.now_ms() - 3_600_000)),
            ..SecurityEvent::default()
        };
        let (now_ms, of) = (desk.runtime.now_ms(), |n: u128| *locked(&process.failures).get(&n.to_be_bytes()).unwrap());
        process.learn(&event(1, 9), now_ms - 5);
        process.learn(&event(1, 6), now_ms - 9);
        assert_eq!(of(1), Failures { count: 9, last_ms: now_ms - 5 });
        process.learn(&event(2, 6), now_ms + 1_000_000);
        assert_eq!(of(2), Failures { count: 6, last_ms: now_ms });
        process.learn(&SecurityEvent { pair: "no pair".to_owned(), ..event(3, 6) }, now_ms);
        process.learn(&SecurityEvent { kind: SecurityKind::LimitMet.into(), ..event(3, 6) }, now_ms);
        assert_eq!(locked(&process.failures).len(), 2);
        for n in 0..GUESSES_REMEMBERED as u128 + 10 {
            process.learn(&event(n, 6), now_ms);
        }
        assert_eq!(locked(&process.failures).len(), GUESSES_REMEMBERED);
    }
}
