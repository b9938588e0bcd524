use kith_log::embedded::EmbeddedLog;
use kith_log::{NewRecord, Position};
use kith_proto::revocations::v1::{AccountSessionsRevoked, SessionRevoked};

use super::*;

const NOW_MS: UnixMillis = 1_700_000_000_000;
const ACCOUNT: RecordId = RecordId([0xa; 16]);
const OTHER: RecordId = RecordId([0xb; 16]);

fn session(n: u8, made_at: Offset) -> SessionRef {
    SessionRef { id: RecordId([n; 16]), made_at }
}

fn one(n: u8) -> Event {
    let (session_id, account_id) = (RecordId([n; 16]).to_string(), ACCOUNT.to_string());
    Revocation::SessionRevoked(SessionRevoked { session_id, account_id, revoke_time: None }).into()
}

fn all(before: Offset, kept: Option<u8>) -> Event {
    let kept_session_id = kept.map(|n| RecordId([n; 16]).to_string()).unwrap_or_default();
    let account_id = ACCOUNT.to_string();
    let revoked = AccountSessionsRevoked { account_id, before, kept_session_id, revoke_time: None };
    Revocation::AccountSessionsRevoked(revoked).into()
}

fn record(offset: Offset, logged_ms: UnixMillis, event: &Event) -> Record {
    let partition = LogPartition { topic: topics::REVOCATIONS, index: 0 };
    let (key, headers) = (REVOCATIONS_KEY.into(), Vec::new());
    Record { position: Position { partition, offset }, key, headers, value: event.encode().into(), logged_ms }
}

fn known(events: &[Event]) -> Known {
    let mut known = Known::from(0, REVOCATIONS_HELD);
    known.must_reach(0, Instant::now());
    let records: Vec<Record> = (0..).zip(events).map(|(offset, event)| record(offset, NOW_MS, event)).collect();
    known.take(&records, NOW_MS);
    known
}

#[tokio::test(start_paused = true)]
async fn a_revoked_session_is_refused_and_no_other() {
    let known = known(&[one(1)]);
    assert_eq!(known.check(ACCOUNT, session(1, 5), NOW_MS), Err(TokenRefused::Revoked));
    assert_eq!(known.check(ACCOUNT, session(2, 5), NOW_MS), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn older_sessions_of_an_account_are_refused_but_for_the_kept_one() {
    // The second is told before the first.
    let known = known(&[all(20, Some(3)), all(10, Some(1)), all(20, Some(3))]);
    for (n, made_at, expected) in
        [(1, 5, Err(TokenRefused::Revoked)), (2, 19, Err(TokenRefused::Revoked)), (3, 6, Ok(())), (4, 20, Ok(()))]
    {
        assert_eq!(known.check(ACCOUNT, session(n, made_at), NOW_MS), expected, "session {n} made at {made_at}");
        assert_eq!(known.check(OTHER, session(n, made_at), NOW_MS), Ok(()), "another account's");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_token_can_outlive_is_forgotten() {
    let mut known = known(&[one(1), all(10, None)]);
    known.take(&[], NOW_MS + KEPT_MS);
    assert_eq!(known.check(ACCOUNT, session(1, 30), NOW_MS), Err(TokenRefused::Revoked));
    known.take(&[], NOW_MS + KEPT_MS + 1);
    assert!(known.sessions.is_empty() && known.accounts.is_empty() && known.order.is_empty());
}

/// Only what is told again stays for longer.
#[tokio::test(start_paused = true)]
async fn a_copy_keeps_it_for_as_long_as_itself() {
    let mut known = known(&[one(1)]);
    known.take(&[record(1, NOW_MS + 1_000, &one(1))], NOW_MS + 1_000);
    known.take(&[], NOW_MS + KEPT_MS + 1);
    assert_eq!(known.check(ACCOUNT, session(1, 5), NOW_MS), Err(TokenRefused::Revoked));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_old_tokens_expire_rather_than_revoked_ones_are_accepted() {
    let mut known = Known::from(0, 2);
    known.must_reach(0, Instant::now());
    let records: Vec<Record> = (1..=3).map(|n| record(n.into(), NOW_MS + i64::from(n), &one(n))).collect();
    known.take(&records, NOW_MS + 10);
    assert_eq!(known.order.len(), 2);
    for n in 2..=3 {
        assert_eq!(known.check(ACCOUNT, session(n, 0), NOW_MS), Err(TokenRefused::Revoked));
    }
    assert_eq!(known.check(ACCOUNT, session(1, 0), NOW_MS), Err(TokenRefused::Expired));
    let later = NOW_MS + 1 + CLOCKS_DIFFER_MS;
    assert_eq!(known.check(ACCOUNT, session(9, 0), later), Err(TokenRefused::Expired));
    assert_eq!(known.check(ACCOUNT, session(9, 0), later + 1), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_heard_for_long_accepts_nothing() {
    let mut known = known(&[]);
    let check = |known: &Known| known.check(ACCOUNT, session(1, 0), NOW_MS);
    tokio::time::advance(KNOWN_WITHIN).await;
    assert_eq!(check(&known), Ok(()));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(check(&known), Err(TokenRefused::Unconfirmed));
    let asked = Instant::now();
    known.must_reach(2, asked);
    known.must_reach(3, asked + Duration::from_secs(1));
    assert_eq!(check(&known), Err(TokenRefused::Unconfirmed), "the log has more than is read");
    known.take(&[record(0, NOW_MS, &one(7)), record(1, NOW_MS, &one(8))], NOW_MS);
    assert_eq!(known.as_of, Some(asked), "as it was when that head was asked for");
    assert_eq!(check(&known), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_follows_what_others_append_and_reads_it_again_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system();
    let log = EmbeddedLog::open(folder.path(), 4, runtime.clone()).unwrap();
    assert!(Revocations::open(log.clone(), runtime.clone()).await.is_err(), "the topic is not there");
    log.create_topics(&topics::ALL).await.unwrap();
    let following = Revocations::open(log.clone(), runtime.clone()).await.unwrap();
    let check = |of: &Revocations| of.check(ACCOUNT, session(1, 0), runtime.now_ms());
    assert_eq!(check(&following), Ok(()));
    let value = one(1).encode().into();
    let (topic, key, headers) = (topics::REVOCATIONS, REVOCATIONS_KEY.to_owned(), Vec::new());
    log.append(NewRecord { topic, key, headers, value }).await.unwrap();
    let told = async {
        while check(&following).is_ok() {
            following.shared.grown.notified().await;
        }
    };
    tokio::time::timeout(KNOWN_WITHIN, told).await.unwrap();
    drop(following);
    let started_later = Revocations::open(log, runtime.clone()).await.unwrap();
    assert_eq!(check(&started_later), Err(TokenRefused::Revoked));
}
