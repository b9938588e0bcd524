use kith_fold::{Effect, Fold, Rows};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::identity::private::v1::{
    AccountStateRequested, PasswordChanged, RefreshTokenUsed, SessionCreated, SessionEnded, SessionsEnded,
};
use kith_proto::time;
use kith_service::command::{Asked, Noun};
use proptest::prelude::*;

use super::command::{Command, Turn, Wish, turn};
use super::fold::Sessions;
use super::refresh::was_reused;
use super::*;

const DAY_US: i64 = 86_400_000_000;

fn hex(n: u8) -> String {
    RecordId([n; 16]).to_string()
}

fn created(session: u8, password_set_at: u64) -> Private {
    let (session_id, account_id, create_time) = (hex(session), hex(0xa), Some(time::of_us(1_000)));
    let password_hash = String::new();
    Private::SessionCreated(SessionCreated {
        session_id,
        account_id,
        client: 1,
        create_time,
        password_set_at,
        password_hash,
        ..SessionCreated::default()
    })
}

fn used(session: u8, number: u32, at: i64) -> Private {
    let (session_id, account_id, use_time) = (hex(session), hex(0xa), Some(time::of_us(at)));
    Private::RefreshTokenUsed(RefreshTokenUsed { session_id, account_id, number, use_time })
}

fn ended(session: u8) -> Private {
    let (session_id, account_id, end_time) = (hex(session), hex(0xa), Some(time::of_us(2_000)));
    let reason = SessionEnd::Revoked.into();
    Private::SessionEnded(SessionEnded { session_id, account_id, reason, end_time })
}

fn all_ended(kept: Option<u8>) -> Private {
    let (account_id, kept_session_id) = (hex(0xa), kept.map(hex).unwrap_or_default());
    Private::SessionsEnded(SessionsEnded { account_id, kept_session_id, end_time: Some(time::of_us(2_000)) })
}

fn changed(by: u8, hash: &str, password_set_at: u64) -> Private {
    let (account_id, session_id, password_hash) = (hex(0xa), hex(by), hash.to_owned());
    let change_time = Some(time::of_us(2_000));
    let is_reset = false;
    Private::PasswordChanged(PasswordChanged {
        account_id,
        session_id,
        password_hash,
        password_set_at,
        change_time,
        is_reset,
    })
}

fn leaves(deactivates: bool) -> Private {
    let request_time = Some(time::of_us(2_000));
    Private::AccountStateRequested(AccountStateRequested {
        account_id: hex(0xa),
        deactivates,
        request_time,
        ..AccountStateRequested::default()
    })
}

/// One account's records, folded as the engine folds them.
struct History {
    rows: Rows,
    log: Vec<Record>,
}

impl History {
    fn of(events: impl IntoIterator<Item = Private>) -> Self {
        let mut history = Self { rows: Rows::new(&SESSIONS, 2_000), log: Vec::new() };
        events.into_iter().for_each(|event| history.append(event));
        history
    }

    fn append(&mut self, event: Private) {
        let id = RecordId([u8::try_from(self.log.len()).unwrap(); 16]);
        self.append_as(id, event);
    }

    fn append_as(&mut self, id: RecordId, event: Private) {
        let partition = LogPartition { topic: topics::IDENTITY_PRIVATE, index: 0 };
        let offset = self.log.len() as u64;
        let record = Record::new(Position { partition, offset }, id, event);
        self.rows.load_empty(&Sessions.scope(&record).unwrap());
        self.rows.apply_at(offset, |rows| Sessions.apply(rows, &record));
        self.log.push(record);
    }

    fn before(&self, session: u8) -> Before {
        let row = self.log.iter().any(|record| matches!(&record.event, Event::IdentityPrivate(Private::SessionCreated(event)) if event.session_id == hex(session)));
        let session = row.then(|| self.rows.get::<SessionRow>(of_id(&hex(session)))).flatten();
        Before { account: self.rows.summary(), session, ..Before::default() }
    }

    fn standing(&self) -> Vec<u8> {
        (1..9).filter(|&session| self.before(session).stands(&hex(session))).collect()
    }

    /// How many processes are told of, by its last record.
    fn told(&self) -> usize {
        let effects = Sessions.effects(&self.rows, self.log.last().unwrap());
        effects.iter().filter(|effect| matches!(effect, Effect::Read { .. })).count()
    }
}

#[test]
fn ending_all_spares_the_one_that_asks_and_later_ones() {
    let mut history = History::of([created(1, 0), created(2, 0), all_ended(Some(1)), created(3, 0)]);
    assert_eq!(history.standing(), [1, 3]);
    history.append(all_ended(Some(3)));
    assert_eq!((history.standing(), history.told()), (vec![3], 1));
    history.append(all_ended(Some(1)));
    assert_eq!(history.standing(), [0; 0], "one that is over keeps nothing, not even itself");
    history.append(created(4, 0));
    history.append(all_ended(None));
    assert_eq!(history.standing(), [0; 0]);
}

#[test]
fn a_copy_of_an_end_of_all_ends_no_later_session() {
    let mut history = History::of([created(1, 0)]);
    history.append_as(RecordId([77; 16]), all_ended(None));
    history.append(created(2, 0));
    history.append_as(RecordId([77; 16]), all_ended(None));
    assert_eq!(history.standing(), [2]);
}

#[test]
fn an_account_that_leaves_ends_all_its_sessions_and_begins_none_until_it_is_back() {
    let mut history = History::of([created(1, 0), leaves(true)]);
    assert_eq!((history.standing(), history.told()), (vec![], 1));
    history.append(created(2, 0));
    assert!(!history.before(2).began(), "a password that was compared before");
    history.append(leaves(true));
    history.append(leaves(false));
    assert_eq!(history.standing(), [0; 0], "what is over stays over");
    history.append(created(3, 0));
    assert_eq!(history.standing(), [3]);
    history.append_as(RecordId([1; 16]), leaves(true));
    assert_eq!(history.standing(), [3], "a late copy");
    for session in 4..25 {
        history.append(all_ended(Some(session)));
    }
    history.append(created(8, 0));
    history.append_as(RecordId([1; 16]), leaves(true));
    assert_eq!((history.standing(), history.before(8).account.away), (vec![8], false), "a copy over many commands");
}

#[test]
fn an_ended_session_stays_ended() {
    let mut history = History::of([created(1, 0), created(2, 0), ended(1)]);
    assert_eq!((history.standing(), history.told()), (vec![2], 1));
    history.append(used(1, 2, 5_000));
    history.append(created(1, 0));
    assert_eq!((history.standing(), history.before(1).session.unwrap().used), (vec![2], 1));
}

#[test]
fn a_changed_password_ends_the_others_and_a_session_of_the_old_one_never_begins() {
    let mut history = History::of([created(1, 0), created(2, 0), changed(1, "second", 0), created(3, 0)]);
    assert_eq!(history.standing(), [1], "the third was begun with the old password");
    assert!(!history.before(3).began() && history.before(2).began());
    let account = history.before(1).account;
    assert_eq!((&*account.password_hash, account.password_set_at), ("second", 3));
    history.append(created(4, 3));
    // By an ended session, and by one that gave the old password.
    history.append(changed(2, "third", 3));
    history.append(changed(4, "fourth", 0));
    assert_eq!((history.standing(), &*history.before(1).account.password_hash), (vec![1, 4], "second"));
}

#[test]
fn a_session_that_an_identity_proved_begins_whatever_the_password() {
    let by_identity = |session| match created(session, 0) {
        Private::SessionCreated(event) => Private::SessionCreated(SessionCreated { by_identity: true, ..event }),
        other => other,
    };
    let mut history = History::of([created(1, 0), by_identity(2), changed(1, "second", 0), by_identity(3)]);
    assert_eq!(history.standing(), [1, 3], "the change of the password ended the second, and the third came later");
    history.append(by_identity(2));
    assert_eq!(history.standing(), [1, 3]);
}

#[test]
fn a_reset_ends_all_sessions_whatever_password_stands() {
    let reset = |hash: &str| match changed(0, hash, 0) {
        Private::PasswordChanged(event) => {
            let session_id = String::new();
            Private::PasswordChanged(PasswordChanged { session_id, is_reset: true, ..event })
        }
        other => other,
    };
    let mut history = History::of([created(1, 0), changed(1, "second", 0), reset("third"), created(2, 2)]);
    assert_eq!(history.standing(), Vec::<u8>::new(), "the second one was begun with the password before");
    let account = history.before(1).account;
    assert_eq!((&*account.password_hash, account.password_set_at), ("third", 3));
    history.append(created(3, 3));
    assert_eq!(history.standing(), [3]);
}

#[test]
fn a_hash_made_anew_replaces_only_the_one_it_was_made_from() {
    let rehashed = |session: u8, set_at: u64| match created(session, set_at) {
        Private::SessionCreated(event) => {
            Private::SessionCreated(SessionCreated { password_hash: "stronger".into(), ..event })
        }
        other => other,
    };
    let mut history = History::of([created(1, 0), rehashed(2, 0)]);
    assert_eq!((&*history.before(1).account.password_hash, history.before(1).account.password_set_at), ("stronger", 0));
    history.append(changed(1, "other", 0));
    history.append(rehashed(3, 0));
    assert_eq!(&*history.before(1).account.password_hash, "other");
}

fn asked(n: u8, at: i64) -> Asked {
    Asked { id: RecordId([n; 16]), actor: hex(0xa), digest: [0; 32], at: Timestamp(at) }
}

/// The event that the use of a refresh token makes.
fn uses(before: &Before, number: u32, at: i64) -> Option<Private> {
    let command =
        Command { account_id: hex(0xa), session_id: hex(1), wish: Wish::Refresh { number, rotates_us: DAY_US } };
    Sessions::decide(before, &asked(50, at), &command).unwrap()
}

#[test]
fn a_refresh_token_is_followed_after_a_day_and_voided_by_the_use_of_the_next() {
    let mut history = History::of([created(1, 0)]);
    let row = history.before(1).session.unwrap();
    let begin = row.use_time.0;
    assert_eq!(turn(&row, 1, DAY_US, Timestamp(begin + DAY_US - 1)), Turn::Stays);
    assert_eq!(turn(&row, 1, DAY_US, Timestamp(begin + DAY_US)), Turn::Next);
    for at in [begin, begin + DAY_US, begin + 2 * DAY_US] {
        assert_eq!(uses(&history.before(1), 1, at), None, "a repeat writes nothing, however often");
    }
    assert_eq!(uses(&history.before(1), 3, begin), None, "nobody was given such a one");
    let at = begin + DAY_US + 600_000_000;
    let first = uses(&history.before(1), 2, at).unwrap();
    assert_eq!(first, used(1, 2, at));
    history.append(first);
    assert_eq!(uses(&history.before(1), 2, at), None);
    let Some(Private::SessionEnded(stolen)) = uses(&history.before(1), 1, at) else { panic!("accepted again") };
    assert_eq!(stolen.reason(), SessionEnd::TokenReused);
    history.append(Private::SessionEnded(stolen));
    let ended = history.before(1);
    let end_time = ended.session.as_ref().unwrap().end_time;
    let noted = [end_time.0, end_time.0 + 1].map(|at| was_reused(&ended, Timestamp(at)));
    assert_eq!(noted, [true, false], "a later use finds the end, and is none");
    assert_eq!(history.standing(), [0; 0]);
    for number in 1..=3 {
        assert_eq!(uses(&history.before(1), number, at), None);
    }
}

#[test]
fn a_session_that_is_not_refreshed_is_over() {
    let history = History::of([created(1, 0)]);
    let row = history.before(1).session.unwrap();
    assert!(!row.is_idle(Timestamp(row.use_time.0 + IDLE_US)));
    let late = row.use_time.0 + IDLE_US + 1;
    assert!(row.is_idle(Timestamp(late)));
    assert_eq!(uses(&history.before(1), 2, late), None);
}

fn any_event() -> impl Strategy<Value = Private> {
    let one = 1_u8..5;
    prop_oneof![
        4 => (one.clone(), 0_u64..3).prop_map(|(session, set_at)| created(session, set_at)),
        2 => (one.clone(), 1_u32..4).prop_map(|(session, number)| used(session, number, 9_000)),
        2 => one.clone().prop_map(ended),
        1 => prop::option::of(one.clone()).prop_map(all_ended),
        2 => (one, 0_u64..6).prop_map(|(by, set_at)| changed(by, &format!("hash {by} {set_at}"), set_at)),
    ]
}

proptest! {
    /// What was over once never stands again, and a repeat of a record changes nothing.
    #[test]
    fn what_is_over_stays_over(events in prop::collection::vec(any_event(), 1..40)) {
        let mut history = History::of([]);
        let mut over = std::collections::BTreeSet::new();
        for event in events {
            let stood = history.standing();
            history.append(event.clone());
            let stands = history.standing();
            over.extend(stood.into_iter().filter(|session| !stands.contains(session)));
            prop_assert!(stands.iter().all(|session| !over.contains(session)), "{stands:?} of {over:?}");
            let (id, rows) = (history.log.last().unwrap().id, history.before(1).account);
            history.append_as(id, event);
            prop_assert_eq!(&history.before(1).account, &rows);
            prop_assert_eq!(history.standing(), stands);
        }
    }
}
