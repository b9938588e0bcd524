use kith_log::{LogPartition, Position, RecordId};

use super::*;

const ACTOR: RecordId = RecordId([1; 16]);
const TARGET: RecordId = RecordId([2; 16]);
const POSTS: MuteScopes =
    MuteScopes { posts: true, shares: false, replies: false, notifications: false, conversations: false };

fn wish(scopes: MuteScopes, end_us: Option<i64>) -> Option<Wish> {
    Some(Wish { scopes, end_us })
}

fn command(wish: Option<Wish>) -> Command {
    Command { actor: ACTOR.to_string(), target: TARGET.to_string(), wish }
}

fn asked(n: u8) -> Asked {
    Asked { id: RecordId([n; 16]), actor: ACTOR.to_string(), digest: [0; 32], at: Timestamp(5) }
}

/// A target that is shown, after these commands.
fn given(wishes: &[Option<Wish>]) -> Before {
    let mut before = Before { target_is_shown: true, is_open: true, ..Before::default() };
    for (offset, &wish) in (0_u64..).zip(wishes) {
        let asked = asked(100 + offset as u8);
        if let Some(event) = Muting::decide(&before, &asked, &command(wish)).unwrap() {
            let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset };
            Muting::evolve(&mut before, &Record::new(position, asked.id, event));
        }
    }
    before
}

fn decided(before: &Before, wish: Option<Wish>) -> Result<bool, Rejection> {
    Muting::decide(before, &asked(9), &command(wish)).map(|event| event.is_some())
}

#[test]
fn what_is_in_effect_already_makes_no_event() {
    assert_eq!(decided(&given(&[]), wish(POSTS, None)), Ok(true));
    assert_eq!(decided(&given(&[wish(POSTS, None)]), wish(POSTS, None)), Ok(false));
    assert_eq!(decided(&given(&[wish(POSTS, None)]), wish(POSTS, Some(7))), Ok(true), "another end");
    assert_eq!(decided(&given(&[wish(POSTS, None)]), wish(EVERYTHING, None)), Ok(true), "other scopes");
    assert_eq!(decided(&given(&[]), None), Ok(false));
    assert_eq!(decided(&given(&[wish(POSTS, Some(1))]), None), Ok(true), "one that has ended is taken back too");
}

#[test]
fn a_command_applied_before_makes_no_event_whatever_came_after() {
    let mut before = given(&[wish(POSTS, None), None]);
    assert!(before.mute.applied.insert(asked(9).id));
    before.target_is_shown = false;
    assert_eq!(decided(&before, wish(POSTS, None)), Ok(false));
}

#[test]
fn who_may_not_is_told_why() {
    let open = given(&[]);
    let oneself = Command { target: ACTOR.to_string(), ..command(wish(POSTS, None)) };
    assert_eq!(Muting::decide(&open, &asked(9), &oneself), Err(Rejection::SelfNotAllowed));
    let hidden = Before { target_is_shown: false, ..given(&[wish(POSTS, None)]) };
    assert_eq!(decided(&hidden, wish(EVERYTHING, None)), Err(Rejection::AccountNotFound));
    assert_eq!(decided(&hidden, None), Ok(true), "a mute can be taken back of whoever it is");
    let closed = Before { is_open: false, ..open };
    assert_eq!(decided(&closed, wish(POSTS, None)), Err(Rejection::EventsNotOpen));
    assert_eq!(decided(&closed, None), Ok(false));
}

#[test]
fn a_mute_is_shown_with_its_end_and_whether_that_has_come() {
    let before = given(&[wish(POSTS, Some(50))]);
    let at = |now| present(&before.mute, "bob", Timestamp(now)).unwrap();
    assert_eq!((at(49).ended, at(50).ended, at(50).scopes), (false, true, Some(POSTS)));
    assert_eq!(at(50).end_time, Some(time::of_us(50)));
    assert_eq!(present(&given(&[wish(POSTS, None), None]).mute, "bob", Timestamp(9)), None);
}
