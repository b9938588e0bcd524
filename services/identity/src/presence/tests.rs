use kith_log::{LogPartition, Position, RecordId, topics};

use super::*;

const ADA: RecordId = RecordId([1; 16]);

fn asked(id: u8) -> Asked {
    Asked { id: RecordId([id; 16]), actor: ADA.to_string(), digest: [id; 32], at: kith_tables::Timestamp(7) }
}

fn command(deactivates: bool) -> Command {
    Command { account_id: ADA.to_string(), deactivates }
}

fn here() -> Before {
    Before { exists: true, is_open: true, ..Before::default() }
}

fn record(event: Private, offset: u64) -> Record {
    let partition = LogPartition { topic: topics::IDENTITY_PRIVATE, index: 0 };
    Record::new(Position { partition, offset }, RecordId([9; 16]), event)
}

#[test]
fn what_is_so_already_is_not_asked_for() {
    let writes = |before: &Before, deactivates| {
        Presences::decide(before, &asked(5), &command(deactivates)).map(|event| event.is_some())
    };
    let away = Before { away: true, ..here() };
    assert_eq!([writes(&here(), true), writes(&here(), false)], [Ok(true), Ok(false)]);
    assert_eq!([writes(&away, true), writes(&away, false)], [Ok(false), Ok(true)]);
    assert_eq!(writes(&Before { exists: false, ..here() }, true), Err(Rejection::NotFound));
    assert_eq!(writes(&Before { is_open: false, ..here() }, true), Err(Rejection::EventsNotOpen));
    assert_eq!(writes(&Before { is_open: false, ..here() }, false), Ok(false), "it is there, whatever is open");
}

#[test]
fn a_repeat_changes_nothing_whatever_became_of_the_account() {
    let claim = |digest: u8| Some(ClaimRow { won: true, payload_digest: Bytes::copy_from_slice(&[digest; 32]) });
    for away in [false, true] {
        let decide = |claim| Presences::decide(&Before { away, claim, ..here() }, &asked(5), &command(true));
        assert_eq!(decide(claim(5)), Ok(None));
        assert_eq!(decide(claim(6)), Err(Rejection::RequestIdReused));
    }
}

#[test]
fn the_first_of_equal_intents_has_the_fact() {
    let mut summary = PresenceSummary::default();
    let mut judged = |deactivates, offset| {
        let event = AccountStateRequested { account_id: ADA.to_string(), deactivates, ..Default::default() };
        let record = record(Private::AccountStateRequested(event.clone()), offset);
        let claim = Presences::judge(&mut summary, &event, &record);
        Presences::fact(&event, &claim, &record).map(|fact| fact.event)
    };
    let names = [(true, 3), (true, 4), (false, 5), (false, 6), (true, 8)].map(|(deactivates, offset)| {
        judged(deactivates, offset).map(|event| match event {
            Event::Identity(Identity::AccountDeactivated(event)) => ("away", event.intent_offset),
            Event::Identity(Identity::AccountReactivated(event)) => ("back", event.intent_offset),
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(names, [Some(("away", 3)), None, Some(("back", 5)), None, Some(("away", 8))]);
    assert_eq!(summary, PresenceSummary { away: true, since_next: 9 });
}

#[test]
fn a_fact_is_due_until_it_or_a_later_one_is_applied() {
    let account = |away_intent_next| AccountRow { away_intent_next, ..AccountRow::default() };
    assert!(Presences::is_due(None, 3) && Presences::is_due(Some(&account(3)), 3));
    assert!(!Presences::is_due(Some(&account(4)), 3) && !Presences::is_due(Some(&account(9)), 3));
}
