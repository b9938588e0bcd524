use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::identity::v1::Unmuted;

use super::*;

const ADA: &str = "000000000000000000000000000000aa";
const BOB: &str = "000000000000000000000000000000bb";
const POSTS: MuteScopes =
    MuteScopes { posts: true, shares: false, replies: false, notifications: false, conversations: false };

fn record(offset: u64, event: Identity) -> Record {
    let partition = LogPartition { topic: topics::IDENTITY, index: 0 };
    Record::new(Position { partition, offset }, RecordId([u8::try_from(offset).unwrap(); 16]), event)
}

fn muted(at_us: i64, scopes: MuteScopes, end_us: Option<i64>) -> Identity {
    Identity::Muted(Muted {
        actor_id: ADA.into(),
        target_id: BOB.into(),
        scopes: Some(scopes),
        end_time: end_us.map(time::of_us),
        create_time: Some(time::of_us(at_us)),
    })
}

fn unmuted() -> Identity {
    Identity::Unmuted(Unmuted { actor_id: ADA.into(), target_id: BOB.into(), create_time: Some(time::of_us(90)) })
}

/// The rows after these records, each applied at an offset of its own.
fn folded(records: &[Record]) -> Rows {
    let mut rows = Rows::new(&MUTES, 1);
    for (offset, record) in (0_u64..).zip(records) {
        rows.load_empty(&Mutes.scope(record).unwrap());
        rows.apply_at(offset, |rows| Mutes.apply(rows, record));
    }
    rows
}

fn row(records: &[Record]) -> MuteRow {
    folded(records).get::<MuteRow>(of_target(BOB)).unwrap()
}

fn listed(rows: &Rows, times: &[i64]) -> Vec<bool> {
    let at = |&at: &i64| rows.get::<ListedRow>([Timestamp(at).into(), BOB.into()]).unwrap().muting;
    times.iter().map(at).collect()
}

#[test]
fn a_later_mute_replaces_scopes_and_end_and_its_place_in_the_list() {
    let all = MuteScopes { posts: true, shares: true, replies: true, notifications: true, conversations: true };
    let first = record(1, muted(5, all, Some(50)));
    let again = record(2, muted(7, POSTS, None));
    let rows = folded(&[first.clone(), again.clone()]);
    let now = rows.get::<MuteRow>(of_target(BOB)).unwrap();
    assert_eq!((now.scopes(), now.mute_time, now.ends_us()), (POSTS, Timestamp(7), None));
    assert_eq!(listed(&rows, &[5, 7]), [false, true]);
    let rows = folded(&[first.clone(), record(3, unmuted())]);
    assert!(!rows.get::<MuteRow>(of_target(BOB)).unwrap().muting && listed(&rows, &[5]) == [false]);
    assert_eq!(row(&[first.clone(), record(3, unmuted()), first]).scopes(), MuteScopes::default(), "a late copy");
}

#[test]
fn an_end_is_a_comparison_and_no_record() {
    let mute = row(&[record(1, muted(5, POSTS, Some(50)))]);
    assert!(mute.is_in_effect(Timestamp(49)) && !mute.has_ended(Timestamp(49)));
    assert!(!mute.is_in_effect(Timestamp(50)) && mute.has_ended(Timestamp(50)) && mute.muting);
    let before = row(&[record(1, muted(5, POSTS, Some(4)))]);
    assert!(before.muting && before.has_ended(Timestamp(6)), "one that had ended when it was made");
    let ever = row(&[record(1, muted(5, POSTS, None))]);
    assert!(ever.is_in_effect(Timestamp(i64::MAX)) && ever.ends_us().is_none());
    for long_ago in [0, -7, i64::MIN] {
        assert!(row(&[record(1, muted(5, POSTS, Some(long_ago)))]).has_ended(Timestamp(5)), "{long_ago}");
    }
}

#[test]
fn what_is_muted_stands_from_the_last_end_to_the_next() {
    let row = |end| (row(&[record(1, muted(5, POSTS, end))]), 7);
    let muting = |now, ends: &[Option<i64>]| {
        let rows = ends.iter().enumerate().map(|(n, &end)| (n.to_string(), row(end))).collect();
        Muting { now: Timestamp(now), rows }
    };
    let ends = [Some(20), Some(40), None, Some(30)];
    assert_eq!(muting(35, &ends).stands(), 30..40);
    assert_eq!(muting(10, &ends).stands(), i64::MIN..20);
    assert_eq!(muting(40, &ends).stands(), 40..i64::MAX);
    assert_eq!(muting(35, &[None]).stands(), i64::MIN..i64::MAX);
    let at_35 = muting(35, &ends);
    let posts = ["0", "1", "2", "3", "4"].map(|account| at_35.posts_of(account));
    assert_eq!(posts, [None, Some(7), Some(7), None, None]);
    assert_eq!(at_35.shares_of("1"), None, "no scope of this mute");
}

#[test]
fn hostile_records_are_about_nobody() {
    let about = |actor: &str, target: &str| {
        let event = Unmuted { actor_id: actor.to_owned(), target_id: target.to_owned(), create_time: None };
        Change::of(&record(1, Identity::Unmuted(event))).is_some()
    };
    assert!(about(ADA, BOB));
    for (actor, target) in [("", BOB), (ADA, ""), (ADA, ADA), ("ADA", BOB), (ADA, &"f".repeat(9_000))] {
        assert!(!about(actor, target), "{actor} {target}");
    }
}
