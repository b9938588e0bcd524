//! Two releases whose folds differ by a view run on one log and one table store: each folds and answers from what is its own,
//! through a rebuild, a promotion, a rollback, and kills between any two steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine;
use kith_fold::{Build, EVENTS, FIRST_EVENTS, Group, MakeGroup, Operations, State, THE_SUITE, WaitsFor, create_first};
use kith_log::topics;
use kith_proto::ops::v1::EventsOpened;
use kith_proto::ops::v1::ops_event::Event;
use kith_tables::Key;

use crate::appends::shares;
use crate::generations::{GROUP, Process, all_of, see, until};
use crate::stage::{Stage, group};
use crate::toy::{GIVEN, Given, GivenSum, MOODS, MoodSum};

const OLD: u32 = 1;
const NEW: u32 = 2;

/// The group as a release has it.
fn make(version: u32) -> MakeGroup {
    Arc::new(move |generation| {
        let mut own = Group { generation, folds_version: version, ..group() };
        if version == NEW {
            own.folds.push(Arc::new(Given));
        }
        own
    })
}

fn build(folds_version: u32) -> Build {
    Build { folds_version, reads: EVENTS }
}

async fn start(stage: &Stage, version: u32) -> Process {
    Process::of(stage, make(version)).await
}

/// How many reactions of a post each release's view has, in what the process answers from.
async fn reactions(state: &State, post: &str) -> (i64, i64) {
    let (key, at) = (Key::text(post), (topics::ENGAGEMENT, post));
    let moods = state.summary::<MoodSum>(&MOODS, &key, at).await.unwrap().map_or(0, |found| found.row.records);
    let given = state.summary::<GivenSum>(&GIVEN, &key, at).await;
    (moods, given.ok().flatten().map_or(0, |found| found.row.reactions))
}

/// Reactions to one post, and as many new posts that are to be echoed.
async fn react(stage: &mut Stage, times: usize) {
    for n in 0..times {
        let at = stage.react("post", if n % 2 == 0 { "ada" } else { "bob" }, 1).await;
        stage.post(&format!("call-{}", at.offset)).await;
    }
}

async fn set() -> Stage {
    let stage = Stage::set(Duration::ZERO).await;
    engine::create(&stage.ports, &group()).await.unwrap();
    stage
}

/// Shares per post that was to be echoed.
async fn echoes(stage: &Stage) -> BTreeMap<String, usize> {
    let mut echoes = shares(stage).await;
    echoes.retain(|key, _| key.starts_with("call-"));
    echoes
}

/// No post was echoed twice, whichever release folded it.
async fn echoed_once(stage: &Stage) {
    let echoes = echoes(stage).await;
    assert!(!echoes.is_empty() && echoes.values().all(|count| *count == 1), "{echoes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_newer_release_answers_once_its_tables_have_the_whole_history() {
    let mut stage = set().await;
    let old = start(&stage, OLD).await;
    react(&mut stage, 5).await;
    see(&old.live(), &all_of(&stage).await).await;

    let new = start(&stage, NEW).await;
    let waits_for = || new.now().waits_for(build(NEW));
    assert_eq!((new.projection.serving_number(), waits_for()), (None, Some(WaitsFor::Rebuild)));
    assert_eq!(new.projection.begin("", THE_SUITE).await.unwrap(), 2);
    until(&stage, || new.projection.generation(2).is_some()).await;
    assert!(old.projection.generation(2).is_none(), "it is none of the older release's");
    assert_eq!((new.projection.serving_number(), waits_for()), (None, Some(WaitsFor::Promotion(2))));
    react(&mut stage, 3).await;
    let token = all_of(&stage).await;
    see(&new.projection.generation(2).unwrap(), &token).await;

    new.promote(&stage, 2).await;
    assert_eq!(reactions(&new.live().state, "post").await, (8, 8), "a view without its history");
    // The older release's process answers on, from what its own folds go on with.
    react(&mut stage, 4).await;
    let token = all_of(&stage).await;
    assert_eq!(old.projection.serving_number(), Some(1));
    see(&old.live(), &token).await;
    see(&new.live(), &token).await;
    assert_eq!(reactions(&old.live().state, "post").await, (12, 0));
    assert_eq!(reactions(&new.live().state, "post").await, (12, 12));
    echoed_once(&stage).await;

    // And back.
    old.announce(old.now().roll_back(GROUP, 3)).await;
    react(&mut stage, 2).await;
    let token = all_of(&stage).await;
    see(&old.live(), &token).await;
    until(&stage, || new.now().live() == 1).await;
    assert_eq!((old.projection.serving_number(), new.projection.serving_number()), (Some(1), Some(2)));
    see(&new.live(), &token).await;
    assert_eq!(reactions(&new.live().state, "post").await, (14, 14));
    echoed_once(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_release_here_folds_is_not_served() {
    let mut stage = set().await;
    let old = start(&stage, OLD).await;
    react(&mut stage, 3).await;
    let new = start(&stage, NEW).await;
    new.projection.begin("", THE_SUITE).await.unwrap();
    until(&stage, || new.projection.generation(2).is_some()).await;
    see(&new.projection.generation(2).unwrap(), &all_of(&stage).await).await;
    new.promote(&stage, 2).await;
    // The older release's tables go: its processes have nothing to answer from, and say so.
    new.announce(new.now().drop(GROUP, 1, stage.ports.runtime.now_ms())).await;
    until(&stage, || old.projection.serving_number().is_none()).await;
    until(&stage, || old.projection.generation(1).is_none()).await;
    drop(old);
    let old = start(&stage, OLD).await;
    assert_eq!((old.projection.serving_number(), old.now().waits_for(build(OLD))), (None, Some(WaitsFor::Rebuild)));
    react(&mut stage, 2).await;
    see(&new.live(), &all_of(&stage).await).await;
    echoed_once(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_two_releases_behind_appends_nothing() {
    let mut stage = set().await;
    let old = start(&stage, OLD).await;
    react(&mut stage, 3).await;
    see(&old.live(), &all_of(&stage).await).await;
    // It hears of two promotions at once, after which no generation that serves or served is its own.
    let (log, runtime) = (Arc::clone(&stage.ports.log), stage.ports.runtime.clone());
    let operations = Operations::open(log, runtime).await.unwrap();
    for (version, number) in [(NEW, 2), (NEW + 1, 3)] {
        let begun = operations.generations(GROUP).start_rebuild(GROUP, "", build(version), 1).unwrap();
        operations.announce(begun).await.unwrap();
        let promoted = operations.generations(GROUP).promote(GROUP, number, 2).unwrap();
        operations.announce(promoted).await.unwrap();
    }
    until(&stage, || old.projection.serving_number().is_none()).await;
    let before = echoes(&stage).await;
    react(&mut stage, 2).await;
    stage.ports.runtime.sleep(Duration::from_secs(5)).await;
    assert_eq!(echoes(&stage).await, before, "it appends beside the live generation");
}

#[tokio::test(start_paused = true)]
async fn a_first_generation_of_a_later_release_is_its_own() {
    let mut stage = Stage::set(Duration::ZERO).await;
    create_first(&stage.ports, &make(NEW)(1)).await.unwrap();
    let new = start(&stage, NEW).await;
    assert_eq!(new.projection.serving_number(), Some(1));
    react(&mut stage, 3).await;
    see(&new.live(), &all_of(&stage).await).await;
    assert_eq!(reactions(&new.live().state, "post").await, (3, 3));
    // An older release finds tables that are not its own.
    assert_eq!(start(&stage, OLD).await.projection.serving_number(), None);
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_step_it_goes_on() {
    let mut stage = set().await;
    let old = start(&stage, OLD).await;
    react(&mut stage, 3).await;
    drop(old);
    // One process at a time, as over embedded stores, of the newer release: killed after each step.
    let mut steps = 0;
    loop {
        react(&mut stage, 1).await;
        let new = start(&stage, NEW).await;
        let now = new.now();
        match now.waits_for(build(NEW)) {
            Some(WaitsFor::Rebuild) => drop(new.projection.begin("", THE_SUITE).await.unwrap()),
            Some(WaitsFor::Promotion(number)) if steps < 6 => {
                // It fills for a while, and dies.
                until(&stage, || new.projection.generation(number).is_some()).await;
                stage.turns(steps * 7).await;
            }
            Some(WaitsFor::Promotion(number)) => {
                until(&stage, || new.projection.generation(number).is_some()).await;
                new.announce(now.promote(GROUP, number, 2)).await;
            }
            Some(WaitsFor::LaterRelease(_)) | None => break,
        }
        steps += 1;
    }
    let new = start(&stage, NEW).await;
    until(&stage, || new.projection.serving_number() == Some(2)).await;
    see(&new.live(), &all_of(&stage).await).await;
    let total = 3 + steps as i64 + 1;
    assert_eq!(reactions(&new.live().state, "post").await, (total, total));
    drop(new);
    // The older release again: it goes on with its own, and is made the live one.
    let old = start(&stage, OLD).await;
    assert_eq!(old.projection.serving_number(), Some(1));
    react(&mut stage, 1).await;
    old.announce(old.now().roll_back(GROUP, 3)).await;
    see(&old.live(), &all_of(&stage).await).await;
    let echoed = async || echoes(&stage).await.len() as i64 == total + 1;
    stage.until(echoed).await;
    assert_eq!(reactions(&old.live().state, "post").await, (total + 1, 0));
    echoed_once(&stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_log_has_the_events_of_its_first_release_and_one_with_tables_waits_for_operators() {
    let opened = async |stage: &Stage| {
        create_first(&stage.ports, &group()).await.unwrap();
        Operations::open(stage.ports.log.clone(), stage.ports.runtime.clone()).await.unwrap().events()
    };
    assert_eq!(opened(&Stage::set(Duration::ZERO).await).await, EVENTS);
    assert_eq!(opened(&set().await).await, FIRST_EVENTS, "a release before it made them");
}

#[tokio::test(start_paused = true)]
async fn once_later_events_are_open_a_release_that_does_not_read_them_does_nothing() {
    let mut stage = set().await;
    // Both have the same folds, and fold one generation.
    let later = EVENTS + 1;
    let reads_later: MakeGroup = Arc::new(move |generation| Group { generation, reads: later, ..group() });
    let (old, new) = (start(&stage, OLD).await, Process::of(&stage, reads_later).await);
    react(&mut stage, 3).await;
    let token = all_of(&stage).await;
    see(&old.live(), &token).await;
    see(&new.live(), &token).await;
    assert_eq!((old.projection.rules(), new.projection.rules()), (FIRST_EVENTS, FIRST_EVENTS), "nobody opened them");

    let opened = EventsOpened { version: later, known_until: u64::MAX, ..EventsOpened::default() };
    new.announce(Ok(Event::EventsOpened(opened))).await;
    until(&stage, || old.projection.generation(1).is_none()).await;
    assert_eq!((old.projection.serving_number(), old.projection.rules()), (None, EVENTS));
    assert_eq!(old.now().waits_for(build(OLD)), Some(WaitsFor::LaterRelease(later)));
    react(&mut stage, 4).await;
    see(&new.live(), &all_of(&stage).await).await;
    assert_eq!((reactions(&new.live().state, "post").await.0, new.projection.rules()), (7, later));
    assert!(old.projection.begin("", THE_SUITE).await.is_err(), "nobody would fill it");
    // Nor after a start.
    drop(old);
    let old = start(&stage, OLD).await;
    assert_eq!((old.projection.serving_number(), old.projection.all().len()), (None, 0));
    echoed_once(&stage).await;
}
