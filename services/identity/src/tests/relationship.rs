use kith_fold::{EVENTS, FIRST_EVENTS};
use kith_log::{Position, RecordId};
use kith_relations::mute::MuteRow;

use super::*;
use crate::edge::EdgeRow;

const ACTOR: RecordId = RecordId([1; 16]);
const TARGET: RecordId = RecordId([2; 16]);
const FOLLOW: Wish = Wish::Follow { shows_shares: true, notify: false, backfill_window_seconds: 60 };

fn command(wish: Wish) -> Command {
    Command { actor: ACTOR.to_string(), target: TARGET.to_string(), wish }
}

fn asked() -> Asked {
    Asked { id: RecordId([9; 16]), actor: ACTOR.to_string(), digest: [0; 32], at: Timestamp(5) }
}

/// A target that exists, after these commands of each with ids and offsets of their own.
fn given(mine: &[Wish], theirs: &[Wish]) -> Before {
    with((mine, false), (theirs, false))
}

/// The same; the commands of each that says so are about a private account.
fn with((mine, asks): (&[Wish], bool), (theirs, asked_by): (&[Wish], bool)) -> Before {
    let edge = |actor: RecordId, target: RecordId, (wishes, target_is_private): (&[Wish], bool)| {
        let mut edge = EdgeRow::default();
        let before = Before { target_is_private, seen_target_offset: 1, ..Before::default() };
        for (offset, &wish) in (0_u64..).zip(wishes) {
            let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset };
            let command = Command { actor: actor.to_string(), target: target.to_string(), wish };
            let event = event(&Asked { at: Timestamp(1), ..asked() }, &command, &before);
            let record = Record::new(position, RecordId([100 + offset as u8; 16]), event);
            edge.evolve(&Change::of(&record).unwrap(), &record);
        }
        edge
    };
    let pair = Pair {
        mine: edge(ACTOR, TARGET, (mine, asks)),
        theirs: edge(TARGET, ACTOR, (theirs, asked_by)),
        ..Pair::default()
    };
    let target_is_private = asks;
    Before {
        pair,
        target_exists: true,
        target_away: false,
        target_is_private,
        events_open: EVENTS,
        seen_target_offset: 3,
    }
}

fn changes(before: &Before, wish: Wish) -> bool {
    Relationships::decide(before, &asked(), &command(wish)).unwrap().is_some()
}

#[test]
fn what_is_in_effect_already_makes_no_event() {
    assert!(changes(&given(&[], &[]), FOLLOW));
    assert!(!changes(&given(&[FOLLOW], &[]), FOLLOW));
    let louder = Wish::Follow { shows_shares: true, notify: true, backfill_window_seconds: 60 };
    assert!(changes(&given(&[FOLLOW], &[]), louder), "other settings");
    let other_window = Wish::Follow { shows_shares: true, notify: false, backfill_window_seconds: 1 };
    assert!(!changes(&given(&[FOLLOW], &[]), other_window), "the window is not the caller's");
    assert!(!changes(&given(&[], &[]), Wish::Unfollow) && changes(&given(&[FOLLOW], &[]), Wish::Unfollow));
    assert!(changes(&given(&[], &[]), Wish::Block) && !changes(&given(&[Wish::Block], &[]), Wish::Block));
    assert!(!changes(&given(&[], &[]), Wish::Unblock) && changes(&given(&[Wish::Block], &[]), Wish::Unblock));
}

#[test]
fn a_command_applied_before_makes_no_event_whatever_came_after() {
    let blocks = [FOLLOW, Wish::Unfollow, Wish::Block];
    for (mine, theirs) in [(&blocks[..2], &[][..]), (&blocks, &[]), (&blocks[..2], &[Wish::Block])] {
        let mut before = given(mine, theirs);
        assert_ne!(Relationships::decide(&before, &asked(), &command(FOLLOW)), Ok(None));
        assert!(before.pair.mine.applied.insert(asked().id));
        assert_eq!(Relationships::decide(&before, &asked(), &command(FOLLOW)), Ok(None));
    }
}

#[test]
fn a_follow_that_is_about_to_be_cut_is_followed_anew() {
    // The follow had seen one record; the block, taken back since, is at offset 2.
    let before = given(&[FOLLOW], &[FOLLOW, Wish::Unfollow, Wish::Block, Wish::Unblock]);
    assert!(!before.pair.present(TARGET.to_string(), Timestamp(5)).following);
    let again = Relationships::decide(&before, &asked(), &command(FOLLOW)).unwrap();
    assert!(matches!(again, Some(Identity::Followed(event)) if event.seen_target_offset == 3));
}

#[test]
fn who_may_not_is_told_why() {
    let refused = |before: &Before, wish| Relationships::decide(before, &asked(), &command(wish)).unwrap_err();
    assert_eq!(refused(&given(&[], &[Wish::Block]), FOLLOW), Rejection::AccountNotFound);
    assert_eq!(refused(&given(&[Wish::Block], &[]), FOLLOW), Rejection::Blocked);
    assert_eq!(refused(&given(&[Wish::Block], &[Wish::Block]), FOLLOW), Rejection::AccountNotFound, "tells no more");
    let nobody = Before { target_exists: false, ..Before::default() };
    for wish in [FOLLOW, Wish::Block] {
        assert_eq!(refused(&nobody, wish), Rejection::AccountNotFound);
        let oneself = Command { target: ACTOR.to_string(), ..command(wish) };
        assert_eq!(Relationships::decide(&given(&[], &[]), &asked(), &oneself).unwrap_err(), Rejection::SelfNotAllowed);
    }
    assert!(changes(&given(&[], &[Wish::Block]), Wish::Block), "who is blocked may block back");
    assert!(!changes(&nobody, Wish::Unfollow) && !changes(&nobody, Wish::Unblock));
}

#[test]
fn a_removal_is_made_while_there_is_a_follow_to_end() {
    assert!(changes(&given(&[], &[FOLLOW]), Wish::RemoveFollower));
    assert!(!changes(&given(&[FOLLOW], &[]), Wish::RemoveFollower), "one's own follow is another matter");
    // The follow had seen one record; the removal is at offset 1.
    let before = given(&[Wish::Block, Wish::RemoveFollower], &[FOLLOW]);
    assert!(
        !changes(&before, Wish::RemoveFollower) && !before.pair.present(TARGET.to_string(), Timestamp(5)).followed_by
    );
    let nobody = Before { target_exists: false, ..Before::default() };
    assert!(!changes(&nobody, Wish::RemoveFollower), "nobody follows");
    let decide = |before: &Before, command: &Command| Relationships::decide(before, &asked(), command);
    let oneself = Command { target: ACTOR.to_string(), ..command(Wish::RemoveFollower) };
    assert_eq!(decide(&given(&[], &[FOLLOW]), &oneself), Err(Rejection::SelfNotAllowed));
    let closed = |theirs: &[Wish]| Before { events_open: FIRST_EVENTS, ..given(&[], theirs) };
    assert_eq!(decide(&closed(&[FOLLOW]), &command(Wish::RemoveFollower)), Err(Rejection::EventsNotOpen));
    assert_eq!(decide(&closed(&[]), &command(Wish::RemoveFollower)), Ok(None));
}

const YES: Wish = Wish::Answer { accepts: true };
const NO: Wish = Wish::Answer { accepts: false };

#[test]
fn who_wants_to_follow_a_private_account_asks_and_who_follows_it_goes_on() {
    let decide = |before: &Before, wish| Relationships::decide(before, &asked(), &command(wish));
    let new = decide(&with((&[], true), (&[], false)), FOLLOW).unwrap();
    assert!(
        matches!(new, Some(Identity::FollowRequested(event)) if event.shows_shares && event.seen_target_offset == 3)
    );
    let pending = with((&[FOLLOW], true), (&[], false));
    assert_eq!(decide(&pending, FOLLOW), Ok(None), "it waits already");
    assert!(matches!(decide(&pending, Wish::Unfollow), Ok(Some(Identity::Unfollowed(_)))), "it is taken back");
    let shown = pending.pair.present(TARGET.to_string(), Timestamp(5));
    assert!(shown.requested && shown.request_time.is_some() && !shown.following);
    let public = Before { target_is_private: false, ..pending };
    assert!(matches!(decide(&public, FOLLOW), Ok(Some(Identity::Followed(event))) if event.request_offset.is_none()));
    let follows = Before { target_is_private: true, ..given(&[FOLLOW], &[]) };
    let louder = Wish::Follow { shows_shares: true, notify: true, backfill_window_seconds: 60 };
    assert!(matches!(decide(&follows, louder), Ok(Some(Identity::Followed(event))) if event.request_offset.is_none()));
    let closed = Before { events_open: FIRST_EVENTS, ..with((&[], true), (&[], false)) };
    assert_eq!(decide(&closed, FOLLOW), Err(Rejection::EventsNotOpen));
}

#[test]
fn a_request_is_answered_once() {
    let decide = |before: &Before, wish| Relationships::decide(before, &asked(), &command(wish));
    let waits = with((&[], false), (&[FOLLOW], true));
    assert!(waits.pair.present(TARGET.to_string(), Timestamp(5)).requested_by);
    assert!(matches!(decide(&waits, YES), Ok(Some(Identity::FollowRequestAnswered(event))) if event.accepted));
    assert!(matches!(decide(&waits, NO), Ok(Some(Identity::FollowRequestAnswered(event))) if !event.accepted));
    let nobody_asks = given(&[], &[]);
    assert_eq!((decide(&nobody_asks, YES), decide(&nobody_asks, NO)), (Err(Rejection::NoRequest), Ok(None)));
    let follows = given(&[], &[FOLLOW]);
    assert_eq!((decide(&follows, YES), decide(&follows, NO)), (Ok(None), Ok(None)));
    // The request had seen one record; the answer is at offset 1.
    let accepted = with((&[Wish::Unblock, YES], false), (&[FOLLOW], true));
    assert_eq!((decide(&accepted, YES), decide(&accepted, NO)), (Ok(None), Ok(None)));
    assert!(!accepted.pair.present(TARGET.to_string(), Timestamp(5)).requested_by);
    let rejected = with((&[Wish::Unblock, NO], false), (&[FOLLOW], true));
    assert_eq!(decide(&rejected, YES), Err(Rejection::NoRequest));
    let taken_back = with((&[], false), (&[FOLLOW, Wish::Unfollow], true));
    assert_eq!(decide(&taken_back, YES), Err(Rejection::NoRequest));
    let blocked = with((&[Wish::Unblock, Wish::Block], false), (&[FOLLOW], true));
    assert_eq!(decide(&blocked, YES), Err(Rejection::NoRequest));
}

#[test]
fn a_relationship_says_every_fact_both_ways() {
    let shown = given(&[FOLLOW], &[FOLLOW]).pair.present(TARGET.to_string(), Timestamp(5));
    assert!(shown.following && shown.shows_shares && !shown.notify && shown.followed_by);
    assert!(shown.follow_time.is_some() && shown.followed_by_time.is_some() && shown.block_time.is_none());
    let shown = given(&[Wish::Block, Wish::Unblock], &[Wish::Block]).pair.present(TARGET.to_string(), Timestamp(5));
    assert!(!shown.blocking && shown.block_time.is_none());
    assert!(!shown.blocked_by, "who is blocked is not told");
    let mute = MuteRow { muting: true, posts: true, end_time: Timestamp(6), ..MuteRow::default() };
    let pair = Pair { mute, ..given(&[], &[Wish::Block]).pair };
    let at = |now| pair.present(TARGET.to_string(), Timestamp(now));
    assert!(at(5).muting && at(5).mute_scopes.unwrap().posts && at(5).mute_end_time == Some(time::of_us(6)));
    assert_eq!(at(6), Relationship { target_id: TARGET.to_string(), ..Relationship::default() }, "it has ended");
}
