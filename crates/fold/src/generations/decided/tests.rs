use kith_proto::ops::v1::{ProjectionPaused, ProjectionResumed};

use super::*;

fn numbers(generations: &Generations) -> Vec<u32> {
    generations.all().keys().copied().collect()
}

#[test]
fn a_rebuild_is_promoted_and_rolled_back_and_dropped() {
    let mut all = Generations::default();
    let mut then = |event: Event| {
        all.evolve(&event);
        all.clone()
    };
    let now = then(Generations::default().start_rebuild("posts", "", folds(1), 5).unwrap());
    assert_eq!((now.live(), now.beside(), numbers(&now)), (1, Some(2), vec![1, 2]));
    assert_eq!(now.start_rebuild("posts", "", folds(1), 6), Err(GenerationError::Filling(2)));
    assert_eq!(now.roll_back("posts", 6), Err(GenerationError::NoPrevious));
    let now = then(now.promote("posts", 2, 7).unwrap());
    assert_eq!((now.live(), now.previous(), now.beside()), (2, Some(1), None));
    assert_eq!(now.all()[&1].served_until_ms, Some(7));
    assert_eq!(now.drop("posts", 2, 8), Err(GenerationError::Serves(2)));
    let now = then(now.roll_back("posts", 8).unwrap());
    assert_eq!((now.live(), now.previous()), (1, Some(2)));
    let served_until = |number| now.all()[&number].served_until_ms;
    assert_eq!((served_until(1), served_until(2)), (None, Some(8)));
    let now = then(now.drop("posts", 2, 9).unwrap());
    assert_eq!((now.live(), now.previous(), numbers(&now)), (1, None, vec![1]));
    let Ok(Event::RebuildStarted(again)) = now.start_rebuild("posts", "", folds(1), 9) else { panic!("refused") };
    assert_eq!(again.generation, 3, "a number is never given twice");
}

#[test]
fn of_two_at_once_the_first_in_the_log_stands() {
    let first = Generations::default();
    let (one, other) = (
        first.start_rebuild("posts", "", folds(1), 5).unwrap(),
        first.start_rebuild("posts", "", folds(1), 6).unwrap(),
    );
    let mut all = first;
    all.evolve(&one);
    let filling = all.clone();
    all.evolve(&other);
    assert_eq!(all, filling);
    let (promoted, dropped) = (all.promote("posts", 2, 6).unwrap(), all.drop("posts", 2, 6).unwrap());
    all.evolve(&promoted);
    all.evolve(&dropped);
    assert_eq!((all.live(), numbers(&all)), (2, vec![1, 2]), "what serves is not dropped");
    all.evolve(&promoted);
    assert_eq!((all.live(), all.previous()), (2, Some(1)));
}

#[test]
fn the_same_request_again_is_known_by_what_it_started() {
    let mut all = Generations::default();
    assert_eq!((all.started_by(""), all.started_by("a")), (None, None));
    all.evolve(&all.start_rebuild("posts", "a", folds(1), 5).unwrap());
    assert_eq!((all.started_by("a"), all.started_by("b"), all.started_by("")), (Some(2), None, None));
    all.evolve(&all.drop("posts", 2, 6).unwrap());
    assert_eq!(all.started_by("a"), None, "what is gone is not given again");
}

fn folds(folds_version: u32) -> Build {
    Build { folds_version, reads: FIRST_EVENTS }
}

#[test]
fn a_build_that_does_not_read_the_open_events_folds_nothing() {
    let all = Generations::default().with_events(2).with_events(1);
    let reads = |reads| Build { folds_version: 1, reads };
    assert_eq!((all.events, all.to_serve(reads(1)), all.to_serve(reads(2))), (2, None, Some(1)));
    assert_eq!((all.waits_for(reads(1)), all.waits_for(reads(2))), (Some(WaitsFor::LaterRelease(2)), None));
    assert!(!all.is_of(1, reads(1)) && all.newest_of(reads(1)).is_none());
    // Whoever reads them, its folds have to be the same.
    assert_eq!(all.waits_for(Build { folds_version: 2, reads: 2 }), Some(WaitsFor::Rebuild));
    assert_eq!((all.foreign_to(1), all.foreign_to(2)), (None, Some(1)));
    assert_eq!(all.start_rebuild("posts", "", reads(1), 5), Err(GenerationError::NotRead(2)));
    assert!(all.start_rebuild("posts", "", reads(2), 5).is_ok());
}

#[test]
fn a_release_answers_from_what_its_folds_fill() {
    let mut all = Generations::default();
    assert_eq!((all.to_serve(folds(1)), all.waits_for(folds(1))), (Some(1), None));
    assert_eq!((all.to_serve(folds(2)), all.waits_for(folds(2))), (None, Some(WaitsFor::Rebuild)));
    all.evolve(&all.start_rebuild("posts", "", folds(2), 5).unwrap());
    assert_eq!((all.to_serve(folds(1)), all.to_serve(folds(2))), (Some(1), None));
    assert_eq!(all.waits_for(folds(2)), Some(WaitsFor::Promotion(2)));
    all.evolve(&all.promote("posts", 2, 6).unwrap());
    assert_eq!((all.to_serve(folds(1)), all.to_serve(folds(2)), all.waits_for(folds(1))), (Some(1), Some(2), None));
    all.evolve(&all.start_rebuild("posts", "", folds(3), 7).unwrap());
    all.evolve(&all.promote("posts", 3, 8).unwrap());
    assert_eq!(
        (all.to_serve(folds(1)), all.waits_for(folds(1))),
        (None, Some(WaitsFor::Promotion(1))),
        "two releases behind"
    );
    all.evolve(&all.drop("posts", 2, 9).unwrap());
    assert_eq!((all.to_serve(folds(2)), all.waits_for(folds(2))), (None, Some(WaitsFor::Rebuild)));
}

#[test]
fn the_first_generation_is_of_whoever_founds_it() {
    let mut all = Generations::default();
    assert_eq!(all.found("posts", Generations::FIRST_FOLDS, 1), None);
    let (one, other) = (all.found("posts", 3, 1).unwrap(), all.found("posts", 4, 1).unwrap());
    all.evolve(&one);
    all.evolve(&other);
    assert_eq!(
        (all.live(), all.to_serve(folds(3)), all.to_serve(folds(4)), all.to_serve(folds(1))),
        (1, Some(1), None, None)
    );
    assert_eq!(all.found("posts", 4, 2), None);
    let mut later = Generations::default();
    later.evolve(&later.start_rebuild("posts", "", folds(2), 5).unwrap());
    later.evolve(&one);
    assert!(later.is_of(1, folds(1)), "there were others already");
}

#[test]
fn a_pause_lasts_until_it_is_taken_back() {
    let mut all = Generations::default();
    all.evolve(&Event::ProjectionPaused(ProjectionPaused { note: "why".into(), ..Default::default() }));
    assert_eq!(all.paused(), Some("why"));
    all.evolve(&Event::ProjectionResumed(ProjectionResumed::default()));
    assert_eq!(all.paused(), None);
}
