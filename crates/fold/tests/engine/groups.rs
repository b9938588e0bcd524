//! Several groups in one process: each has generations of its own, and one that comes later has its history before it serves.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::{EVENTS, Generations, Group, MakeGroup, Projection, THE_SUITE, Token, create_first};
use kith_log::topics;
use kith_proto::ops::v1::ProjectionPaused;
use kith_proto::ops::v1::ops_event::Event;
use kith_tables::Key;

use crate::generations::{GROUP, Process, own, see, until};
use crate::stage::{Stage, group};
use crate::toy::{MOODS, MoodSum, Moods};

/// A read model beside the group of `stage`.
const MODEL: &str = "model";

fn model() -> MakeGroup {
    Arc::new(|generation| Group {
        name: MODEL,
        generation,
        topics: vec![topics::ENGAGEMENT],
        folds: vec![Arc::new(Moods)],
        ..group()
    })
}

async fn set() -> Stage {
    let stage = Stage::set(Duration::ZERO).await;
    create_first(&stage.ports, &group()).await.unwrap();
    stage
}

async fn start_model(stage: &Stage, process: &Process, folding: bool) -> Arc<Projection> {
    Projection::start(&stage.ports, &process.operations, model(), folding).await.unwrap()
}

async fn reactions(stage: &mut Stage, count: usize) -> Token {
    let mut token = Token::default();
    for n in 0..count {
        token.merge(&stage.react("post", &format!("actor-{n}"), 1).await.into());
    }
    token
}

async fn counted(projection: &Projection) -> i64 {
    let state = projection.serving().unwrap().state.clone();
    let found = state.summary::<MoodSum>(&MOODS, &Key::text("post"), (topics::ENGAGEMENT, "post")).await.unwrap();
    found.map_or(0, |found| found.row.records)
}

/// As they are in a new installation.
fn untouched() -> Generations {
    Generations::default().with_events(EVENTS)
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_of_one_group_leaves_the_other_alone() {
    let mut stage = set().await;
    create_first(&stage.ports, &model()(1)).await.unwrap();
    let process = Process::of(&stage, own()).await;
    let model = start_model(&stage, &process, true).await;
    let token = reactions(&mut stage, 5).await;
    let before = process.live();
    see(&before, &token).await;

    let number = model.begin("", THE_SUITE).await.unwrap();
    until(&stage, || model.promotable(number).is_ok()).await;
    let now = || process.operations.generations(MODEL);
    process.announce(now().promote(MODEL, number, 1)).await;
    until(&stage, || model.serving_number() == Some(number)).await;
    let paused = ProjectionPaused { service: MODEL.to_owned(), ..Default::default() };
    process.announce(Ok(Event::ProjectionPaused(paused))).await;
    until(&stage, || model.serving().unwrap().state.standstill().is_some()).await;

    assert_eq!(process.operations.generations(GROUP), untouched());
    assert!(Arc::ptr_eq(&before, &process.live()), "the other group serves from other tables");
    assert_eq!(process.projection.all().len(), 1, "the other group is filled anew");
    let token = reactions(&mut stage, 6).await;
    see(&process.live(), &token).await;
    assert_eq!((counted(&process.projection).await, counted(&model).await), (11, 5));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_comes_later_has_its_history_before_it_serves() {
    let mut stage = set().await;
    let process = Process::of(&stage, own()).await;
    let token = reactions(&mut stage, 7).await;
    see(&process.live(), &token).await;

    create_first(&stage.ports, &model()(1)).await.unwrap();
    // Nobody folds it yet, as in a process that only serves.
    let serves = start_model(&stage, &process, false).await;
    let lag = Arc::clone(&serves.serving().unwrap().lag);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), lag.caught_up()).await.is_err(),
        "it would answer without rows"
    );
    let folds = start_model(&stage, &process, true).await;
    for projection in [&folds, &serves] {
        let lag = Arc::clone(&projection.serving().unwrap().lag);
        lag.caught_up().await;
        assert_eq!(counted(projection).await, 7);
    }
    assert_eq!(process.operations.generations(MODEL), untouched(), "nothing needs to be decided for it");
}
