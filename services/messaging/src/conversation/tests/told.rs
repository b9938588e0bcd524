//! Which records members are told of: of all that they may know, and of nothing that one of them keeps to itself.

use kith_proto::messaging::v1::ReadVisibility;

use super::amended::{archived, edited, reacted, unsent};
use super::*;

fn shows(id: u8, by: RecordId, up_to_number: u64) -> Happened {
    let (id, mut event) = read(id, by, up_to_number);
    if let MessagingEvent::ReadMarkerMoved(moved) = &mut event {
        moved.visibility = ReadVisibility::Public.into();
    }
    (id, event)
}

/// By record: whether all are told of it, and whether its account alone is; `^`: that it has read is shown to the others.
fn told(history: &[Happened], of: RecordId) -> String {
    let mark = |(offset, _): (u64, &Happened)| {
        let summary = Folded::of(&history[..=offset as usize]).summary();
        let noted = summary.members.get(&of.to_string()).unwrap().noted;
        let at = Some(offset);
        match (summary.told_at() == at, noted.own() == at, noted.marker() == at) {
            (true, false, false) => 'a',
            (false, true, false) => 'o',
            (false, true, true) => '^',
            (false, false, false) => '-',
            other => panic!("{offset}: {other:?}"),
        }
    };
    (0..).zip(history).map(mark).collect()
}

#[test]
fn what_a_member_keeps_to_itself_is_told_to_it_alone() {
    let history = [
        opened(10, ADA, &[BOB]),
        sent(1, ADA),
        // A stranger's marker is shown to nobody.
        shows(20, BOB, 1),
        declined(21, BOB),
        accepted(22, BOB),
        sent(2, ADA),
        read(23, BOB, 2),
        shows(24, BOB, 2),
        archived(25, BOB, true),
        edited(26, (1, 1), ADA, 2_000),
        reacted(27, (1, 1), BOB, "x", true),
        unsent(28, (1, 1), ADA),
    ];
    assert_eq!(told(&history, BOB), "aaoooao^oaaa");
    assert_eq!(told(&history, ADA), "aa---a---aaa");
}

#[test]
fn what_changes_nothing_is_told_to_nobody() {
    let history = [
        created(10, ADA),
        sent(1, ADA),
        shows(20, BOB, 1),
        // Copies, and what comes too late.
        created(11, BOB),
        sent(1, ADA),
        shows(21, BOB, 1),
        read(22, BOB, 0),
        accepted(23, BOB),
        declined(24, BOB),
        sent(2, EVE),
        edited(25, (1, 1), BOB, 2_000),
        reacted(26, (1, 1), EVE, "x", true),
        unsent(27, (2, 2), ADA),
    ];
    assert_eq!(told(&history, BOB), "aa^----------");
}
