use proptest::prelude::*;

use super::*;
use crate::tests::history::{History, asked, hex, id};

/// What the command of that number makes of it.
fn decided(before: &Before, n: u8, wish: Wish) -> Result<Option<Event>, Rejection> {
    Shares::decide(before, &asked(n), &Command { share_id: hex(n), post_id: hex(1), wish })
}

fn share_via(via: &str) -> Wish {
    Wish::Share { via_account_id: via.into() }
}

fn before(own: ShareRow) -> Before {
    let row = Some(SubjectRow { author_id: hex(0xb), create_time: Timestamp(3), deleted: false });
    Before { scene: Scene { post: Visible { row, blocked: false }, comment: None }, own, via: None }
}

fn standing(n: u8) -> ShareRow {
    let mut row = ShareRow { shared: true, share_id: hex(n), ..ShareRow::default() };
    assert!(row.applied.insert(id(n)));
    row
}

#[test]
fn a_share_is_made_once() {
    let Ok(Some(Event::Shared(event))) = decided(&before(ShareRow::default()), 1, share_via("")) else {
        panic!("not made")
    };
    assert_eq!((event.share_id, event.post_author_id), (hex(1), hex(0xb)));
    assert_eq!(time::unix_us(event.post_create_time.as_ref()), 3);
    assert_eq!(decided(&before(standing(1)), 2, share_via("")), Ok(None));
    assert_eq!(decided(&before(standing(1)), 1, share_via("")), Ok(None));
}

#[test]
fn only_who_shared_the_post_is_credited() {
    let over = ShareRow { shared: false, ..standing(3) };
    for (row, blocked, credited) in [
        (Some(standing(3)), false, true),
        (Some(over), false, true),
        (Some(standing(3)), true, false),
        (None, false, false),
    ] {
        for own in [ShareRow::default(), standing(1)] {
            let before = Before { via: Some(Visible { row: row.clone(), blocked }), ..before(own) };
            let decided = decided(&before, 2, share_via(&hex(0xc)));
            assert_eq!(decided.is_ok(), credited, "{before:?}");
            assert!(credited || decided == Err(Rejection::ViaNotFound), "{before:?}");
        }
    }
}

#[test]
fn a_request_id_cannot_stand_for_another_share() {
    let again = share_via(&hex(0xc));
    assert_eq!(decided(&before(standing(1)), 1, again), Err(Rejection::RequestIdReused));
}

#[test]
fn a_share_that_stands_is_ended_by_its_id() {
    let Ok(Some(Event::Unshared(event))) = decided(&before(standing(1)), 2, Wish::Unshare) else { panic!("not ended") };
    assert_eq!(event.share_id, hex(1));
    assert_eq!(decided(&before(ShareRow::default()), 2, Wish::Unshare), Ok(None));
    let over = ShareRow { shared: false, ..standing(1) };
    assert!(matches!(decided(&before(over.clone()), 3, share_via("")), Ok(Some(Event::Shared(_)))));
    assert_eq!(decided(&before(over), 1, share_via("")), Ok(None));
}

/// What account 0xa's beginning or ending its share of that id makes of the row, by the record of that number.
fn turned(row: &mut ShareRow, share: u8, begins: bool, record: u8) -> Option<i64> {
    let (share_id, post_id, actor_id) = (hex(share), hex(1), hex(0xa));
    let event = match begins {
        true => Event::Shared(Shared { share_id, post_id, actor_id, ..Shared::default() }),
        false => Event::Unshared(Unshared { share_id, post_id, actor_id, ..Unshared::default() }),
    };
    let record = History::record(0, id(record), event);
    evolve(row, &change(&record).unwrap(), &record)
}

#[test]
fn a_late_end_leaves_the_next_share_alone() {
    let mut row = standing(1);
    assert_eq!(turned(&mut row, 1, false, 2), Some(-1));
    assert_eq!(turned(&mut row, 3, true, 3), Some(1));
    assert_eq!(turned(&mut row, 1, false, 4), Some(0), "decided when the first one stood");
    assert_eq!(turned(&mut row, 1, false, 2), None, "a copy");
    assert!(row.shared);
}

#[test]
fn of_two_shares_that_raced_the_first_stands() {
    let mut row = standing(1);
    assert_eq!(turned(&mut row, 2, true, 2), Some(0));
    assert_eq!(row.share_id, hex(1));
}

fn event(actor: u8, share: Option<u8>) -> Event {
    let (post_id, actor_id) = (hex(1), hex(actor));
    match share {
        Some(n) => Event::Shared(Shared { share_id: hex(n), post_id, actor_id, ..Shared::default() }),
        None => Event::Unshared(Unshared { share_id: hex(0), post_id, actor_id, ..Unshared::default() }),
    }
}

proptest! {
    #[test]
    fn the_count_is_the_recount_of_the_rows(steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_usize..12), 1..80)) {
        let mut history = History::new(&SHARES);
        let mut without_copies = History::new(&SHARES);
        for (actor, what, copied) in steps {
            let event = event(actor, what.checked_sub(1));
            history.append(&Shares, event.clone());
            without_copies.append(&Shares, event);
            history.append_copy(&Shares, copied);
        }
        history.replay(&Shares);
        let own = |history: &History, actor: u8| {
            history.knows(actor).then(|| history.rows.get::<ShareRow>([hex(actor).as_str().into()])).flatten()
        };
        let mut recount = 0;
        for actor in 0..4 {
            let (row, plain) = (own(&history, actor), own(&without_copies, actor));
            prop_assert_eq!(row.as_ref().map(|row| row.shared), plain.map(|row| row.shared));
            recount += i64::from(row.is_some_and(|row| row.shared));
        }
        prop_assert_eq!(history.rows.summary::<ShareCount>().share_count, recount);
    }
}
