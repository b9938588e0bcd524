use super::*;

const ACTOR: RecordId = RecordId([1; 16]);
const TARGET: RecordId = RecordId([2; 16]);
const FOLLOW: Wish = Wish::Follow { shows_shares: true, notify: false, backfill_window_seconds: 60 };

fn command(wish: Wish) -> Command {
    Command { id: RecordId([9; 16]), actor: ACTOR, target: TARGET, wish, at: Timestamp(5) }
}

/// A target that exists, after these commands of each with ids and offsets of their own.
fn given(mine: &[Wish], theirs: &[Wish]) -> Standing {
    let edge = |actor: RecordId, target: RecordId, wishes: &[Wish]| {
        let mut edge = EdgeRow::default();
        for (offset, &wish) in (0_u64..).zip(wishes) {
            let id = RecordId([100 + offset as u8; 16]);
            edge.evolve(&event(&Command { id, actor, target, wish, at: Timestamp(1) }, 1), id, offset, Timestamp(1));
        }
        edge
    };
    let pair = Pair { mine: edge(ACTOR, TARGET, mine), theirs: edge(TARGET, ACTOR, theirs), ..Pair::default() };
    Standing { pair, target_exists: true, seen_target_offset: 3 }
}

fn changes(standing: &Standing, wish: Wish) -> bool {
    decide(standing, &command(wish)).unwrap().is_some()
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
    let mut standing = given(&[FOLLOW, Wish::Unfollow], &[]);
    assert!(changes(&standing, FOLLOW));
    assert!(standing.pair.mine.applied.insert(command(FOLLOW).id));
    assert!(!changes(&standing, FOLLOW));
}

#[test]
fn a_follow_that_is_about_to_be_cut_is_followed_anew() {
    // The follow had seen one record; the block, taken back since, is at offset 2.
    let standing = given(&[FOLLOW], &[FOLLOW, Wish::Unfollow, Wish::Block, Wish::Unblock]);
    assert!(!standing.pair.present(TARGET.to_string()).following);
    let again = decide(&standing, &command(FOLLOW)).unwrap();
    assert!(matches!(again, Some(Identity::Followed(event)) if event.seen_target_offset == 3));
}

#[test]
fn who_may_not_is_told_why() {
    let refused = |standing: &Standing, wish| decide(standing, &command(wish)).unwrap_err();
    assert_eq!(refused(&given(&[], &[Wish::Block]), FOLLOW), Rejection::AccountNotFound);
    assert_eq!(refused(&given(&[Wish::Block], &[]), FOLLOW), Rejection::Blocked);
    assert_eq!(refused(&given(&[Wish::Block], &[Wish::Block]), FOLLOW), Rejection::AccountNotFound, "tells no more");
    let nobody = Standing { target_exists: false, ..Standing::default() };
    for wish in [FOLLOW, Wish::Block] {
        assert_eq!(refused(&nobody, wish), Rejection::AccountNotFound);
        let oneself = Command { target: ACTOR, ..command(wish) };
        assert_eq!(decide(&given(&[], &[]), &oneself).unwrap_err(), Rejection::SelfNotAllowed);
    }
    assert!(changes(&given(&[], &[Wish::Block]), Wish::Block), "who is blocked may block back");
    assert!(!changes(&nobody, Wish::Unfollow) && !changes(&nobody, Wish::Unblock));
}

#[test]
fn a_relationship_says_every_fact_both_ways() {
    let shown = given(&[FOLLOW], &[FOLLOW]).pair.present(TARGET.to_string());
    assert!(shown.following && shown.shows_shares && !shown.notify && shown.followed_by);
    assert!(shown.follow_time.is_some() && shown.followed_by_time.is_some() && shown.block_time.is_none());
    let shown = given(&[Wish::Block, Wish::Unblock], &[Wish::Block]).pair.present(TARGET.to_string());
    assert!(!shown.blocking && shown.block_time.is_none() && shown.blocked_by);
}
