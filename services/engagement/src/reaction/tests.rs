use proptest::prelude::*;

use super::*;
use crate::scene::Visible;
use crate::subject::SubjectRow;
use crate::tests::history::{History, asked, hex, id};

const ADA: u8 = 0xa;

fn command(wish: Wish) -> Command {
    Command { subject: Subject { post_id: hex(1), comment_id: String::new() }, wish }
}

fn on_a_post() -> Before {
    let row = Some(SubjectRow { author_id: hex(0xb), ..SubjectRow::default() });
    Before { scene: Scene { post: Visible { row, blocked: false }, comment: None }, own: ReactionRow::default() }
}

fn with(kind: &str) -> Before {
    Before { own: ReactionRow { kind: kind.into(), ..ReactionRow::default() }, ..on_a_post() }
}

#[test]
fn a_reaction_is_made_and_replaced_but_not_made_twice() {
    let like = command(Wish::React(ReactionKind::Like));
    let Ok(Some(Event::Reacted(event))) = Reactions::decide(&on_a_post(), &asked(1), &like) else { panic!("not made") };
    assert_eq!((&event.subject_author_id, event.kind()), (&hex(0xb), ReactionKind::Like));
    assert_eq!(Reactions::decide(&with("like"), &asked(1), &like), Ok(None));
    assert!(matches!(Reactions::decide(&with("love"), &asked(1), &like), Ok(Some(Event::Reacted(_)))));
}

#[test]
fn what_does_not_stand_is_not_taken_back() {
    let unreact = command(Wish::Unreact);
    assert_eq!(Reactions::decide(&on_a_post(), &asked(1), &unreact), Ok(None));
    assert!(matches!(Reactions::decide(&with("like"), &asked(1), &unreact), Ok(Some(Event::Unreacted(_)))));
}

#[test]
fn a_command_applied_before_stays_without_effect() {
    let mut before = with("");
    assert!(before.own.applied.insert(id(1)));
    assert_eq!(Reactions::decide(&before, &asked(1), &command(Wish::React(ReactionKind::Like))), Ok(None));
    assert_eq!(Reactions::decide(&before, &asked(1), &command(Wish::Unreact)), Ok(None));
}

#[test]
fn across_a_block_one_can_only_take_back() {
    let blocked = |mut before: Before| {
        before.scene.post.blocked = true;
        before
    };
    let like = command(Wish::React(ReactionKind::Like));
    assert_eq!(Reactions::decide(&blocked(with("like")), &asked(1), &like), Err(Rejection::PostNotFound));
    assert_eq!(
        Reactions::decide(&blocked(on_a_post()), &asked(1), &command(Wish::Unreact)),
        Err(Rejection::PostNotFound)
    );
    assert!(
        Reactions::decide(&blocked(with("like")), &asked(1), &command(Wish::Unreact))
            .is_ok_and(|event| event.is_some())
    );
    let nowhere = Before { scene: Scene::default(), ..with("like") };
    assert_eq!(Reactions::decide(&nowhere, &asked(1), &command(Wish::Unreact)), Err(Rejection::PostNotFound));
}

fn event(actor: u8, kind: i32) -> Event {
    let subject = Some(Subject { post_id: hex(1), comment_id: String::new() });
    let (actor_id, create_time) = (hex(actor), Some(time::of_us(i64::from(actor))));
    match kind {
        0 => Event::Unreacted(Unreacted { actor_id, subject, create_time }),
        _ => Event::Reacted(Reacted { actor_id, subject, subject_author_id: hex(0xb), kind, create_time }),
    }
}

#[test]
fn hostile_events_concern_nothing() {
    let Event::Reacted(good) = event(ADA, 1) else { return };
    let no_subject = Reacted { subject: None, ..good.clone() };
    let no_actor = Reacted { actor_id: String::new(), ..good.clone() };
    let long = Subject { post_id: "x".repeat(60_000), comment_id: String::new() };
    let long = Reacted { subject: Some(long), ..good.clone() };
    let (newer, unspecified) = (Reacted { kind: 7, ..good.clone() }, Reacted { kind: 0, ..good });
    for bad in [no_subject, no_actor, long, newer, unspecified] {
        let record = History::record(0, id(1), Event::Reacted(bad));
        assert!(Reactions.scope(&record).is_none(), "{record:?}");
    }
}

proptest! {
    /// Whatever happens, in whatever order copies come: the counts are the recount of the rows, and copies do nothing.
    #[test]
    fn counts_are_the_recount_of_the_rows(steps in prop::collection::vec((0_u8..4, 0_i32..7, 0_usize..12), 1..80)) {
        let mut history = History::new(&REACTIONS);
        let mut without_copies = History::new(&REACTIONS);
        for (actor, kind, copied) in steps {
            history.append(&Reactions, event(actor, kind));
            without_copies.append(&Reactions, event(actor, kind));
            history.append_copy(&Reactions, copied);
        }
        history.replay(&Reactions);
        let own = |history: &History, actor: u8| history.rows.get::<ReactionRow>([hex(actor).as_str().into()]);
        let mut recount = [0; 6];
        for actor in 0..4 {
            let row = history.knows(actor).then(|| own(&history, actor)).flatten();
            let plain = without_copies.knows(actor).then(|| own(&without_copies, actor)).flatten();
            prop_assert_eq!(row.as_ref().map(|row| &row.kind), plain.as_ref().map(|row| &row.kind));
            if let Some(kind) = row.and_then(|row| row.kind()) {
                recount[kind as usize - 1] += 1;
            }
        }
        prop_assert_eq!(history.rows.summary::<ReactionCounts>().by_kind().map(|count| *count), recount);
    }
}
