//! A new generation of tables is filled beside the live one, compared, promoted, rolled back, dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::{self, Running};
use kith_fold::verify::{self, Verdict};
use kith_fold::{Build, GenerationError, Generations, Group, MakeGroup, Operations, Projection, Standstill, Token};
use kith_log::topics;
use kith_proto::ops::v1::ops_event::Event;
use kith_tables::{Key, Row, RowKey};
use tokio::time::Instant;

use crate::appends::shares;
use crate::stage::{Stage, group};
use crate::toy::{ECHOES, EchoRow, MOODS};

pub const GROUP: &str = "engagement";
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Process {
    pub operations: Arc<Operations>,
    pub projection: Arc<Projection>,
}

pub fn own() -> MakeGroup {
    Arc::new(|generation| Group { generation, ..group() })
}

impl Process {
    async fn start(stage: &Stage) -> Self {
        Self::of(stage, own()).await
    }

    /// A process of a release.
    pub async fn of(stage: &Stage, make: MakeGroup) -> Self {
        let (log, runtime) = (Arc::clone(&stage.ports.log), stage.ports.runtime.clone());
        let operations = Arc::new(Operations::open(log, runtime).await.unwrap());
        let projection = Projection::start(&stage.ports, &operations, make, true).await.unwrap();
        Self { operations, projection }
    }

    pub fn live(&self) -> Arc<Running> {
        self.projection.serving().unwrap()
    }

    pub fn now(&self) -> Generations {
        self.operations.generations(GROUP)
    }

    pub async fn announce(&self, event: Result<Event, GenerationError>) {
        self.operations.announce(event.unwrap()).await.unwrap();
    }

    async fn rebuild(&self, stage: &Stage) -> Arc<Running> {
        let number = self.now().all().keys().max().unwrap() + 1;
        engine::create(&stage.ports, &self.projection.group(number)).await.unwrap();
        self.announce(self.now().start_rebuild(GROUP, "", group().build(), 1)).await;
        until(stage, || self.projection.generation(number).is_some()).await;
        self.projection.generation(number).unwrap()
    }

    pub async fn promote(&self, stage: &Stage, number: u32) {
        self.announce(self.now().promote(GROUP, number, 2)).await;
        until(stage, || self.projection.serving_number() == Some(number)).await;
    }

    async fn verify(&self, stage: &Stage, left: u32, right: u32) -> Verdict {
        let both = [left, right].map(|number| self.projection.generation(number).unwrap());
        let (left, right) = (&both[0].state, &both[1].state);
        verify::verify(&stage.ports, &group(), (left, right), &|_| {}).await.unwrap()
    }
}

pub async fn until(stage: &Stage, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came");
        stage.ports.runtime.sleep(Duration::from_millis(10)).await;
    }
}

pub async fn see(running: &Running, token: &Token) {
    running.state.at_least(token, Instant::now() + PATIENCE).await.unwrap();
}

async fn history(stage: &mut Stage, posts: usize) -> Token {
    let mut token = Token::default();
    for post in 0..posts {
        for actor in ["ada", "bob"] {
            token.merge(&stage.react(&format!("post-{post}"), actor, 1 + (post % 3) as i32).await.into());
        }
    }
    token
}

async fn created(stage: &Stage) {
    engine::create(&stage.ports, &group()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_ends_equal_and_is_promoted_and_rolled_back() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 20).await;
    see(&process.live(), &token).await;
    let beside = process.rebuild(&stage).await;
    let token = history(&mut stage, 25).await;
    see(&beside, &token).await;
    let verdict = process.verify(&stage, 1, 2).await;
    assert_eq!((verdict.partitions_different, &verdict.differences[..]), (0, &[][..]));
    assert!(verdict.digest.is_some() && verdict.rows > 50, "{verdict:?}");

    process.promote(&stage, 2).await;
    let live = process.live();
    assert!(Arc::ptr_eq(&live, &beside));
    let token = history(&mut stage, 30).await;
    see(&live, &token).await;
    see(&process.projection.generation(1).unwrap(), &token).await;

    process.announce(process.now().roll_back(GROUP, 3)).await;
    until(&stage, || process.projection.serving_number() == Some(1)).await;
    process.announce(process.now().drop(GROUP, 2, 4)).await;
    until(&stage, || process.projection.generation(2).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_anew_goes_on_with_every_generation() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 20).await;
    see(&process.live(), &token).await;
    process.rebuild(&stage).await;
    drop(process);
    stage.turns(3).await;
    let token = history(&mut stage, 22).await;

    let process = Process::start(&stage).await;
    until(&stage, || process.projection.generation(2).is_some()).await;
    see(&process.projection.generation(2).unwrap(), &token).await;
    assert_eq!(process.verify(&stage, 1, 2).await.partitions_different, 0);
    process.promote(&stage, 2).await;
    drop(process);
    stage.turns(3).await;

    let process = Process::start(&stage).await;
    assert_eq!(process.projection.serving_number(), Some(2), "from its first moment");
}

/// Posts, each of which the generation that serves answers with a share.
async fn posts(stage: &mut Stage, process: &Process, name: &str) -> Vec<String> {
    let posts: Vec<String> = (0..6).map(|n| format!("{name}-{n}")).collect();
    for post in &posts {
        stage.post(post).await;
    }
    for post in &posts {
        let echoed = async || {
            let state = &process.live().state;
            state.row::<EchoRow>(&ECHOES, &Key::text(post), []).await.unwrap().is_some()
        };
        stage.until(echoed).await;
    }
    posts
}

#[tokio::test(start_paused = true)]
async fn only_the_generation_that_serves_appends() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let mut all = posts(&mut stage, &process, "first").await;
    let beside = process.rebuild(&stage).await;
    all.extend(posts(&mut stage, &process, "beside").await);
    process.promote(&stage, 2).await;
    all.extend(posts(&mut stage, &process, "promoted").await);
    see(&beside, &all_of(&stage).await).await;
    drop(beside);
    process.announce(process.now().roll_back(GROUP, 3)).await;
    until(&stage, || process.projection.serving_number() == Some(1)).await;
    all.extend(posts(&mut stage, &process, "back").await);
    drop(process);
    // Nobody is there to answer this one; another generation is promoted meanwhile.
    stage.post("unanswered").await;
    let operations = Operations::open(Arc::clone(&stage.ports.log), stage.ports.runtime.clone()).await.unwrap();
    operations.announce(operations.generations(GROUP).promote(GROUP, 2, 5).unwrap()).await.unwrap();
    let process = Process::start(&stage).await;
    all.extend(posts(&mut stage, &process, "again").await);
    all.push("unanswered".to_owned());
    let expected: BTreeMap<String, usize> = all.into_iter().map(|post| (post, 1)).collect();
    assert_eq!(shares(&stage).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_judges_again_only_what_a_server_may_have_lost() {
    let margin = Duration::from_secs(60);
    let mut stage = Stage::set(margin).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let beside = process.rebuild(&stage).await;
    for n in 0..20 {
        posts(&mut stage, &process, &format!("old-{n}")).await;
    }
    for name in ["later", "last"] {
        stage.ports.runtime.sleep(margin + Duration::from_secs(10)).await;
        posts(&mut stage, &process, name).await;
    }
    see(&beside, &all_of(&stage).await).await;
    let before = stage.plan.gets(ECHOES.name);
    process.promote(&stage, 2).await;
    for n in 0..6 {
        stage.post(&format!("promoted-{n}")).await;
    }
    stage.until(async || shares(&stage).await.len() == 138).await;
    // Each post that is judged looks whether it is echoed; the other generation folds on beside.
    let judged = stage.plan.gets(ECHOES.name) - before;
    assert!((6..60).contains(&judged), "{judged} of 138 posts");
}

pub async fn all_of(stage: &Stage) -> Token {
    let mut token = Token::default();
    for topic in group().topics {
        for record in stage.records(topic).await {
            token.merge(&record.position.into());
        }
    }
    token
}

#[tokio::test(start_paused = true)]
async fn what_serves_goes_on_when_the_one_before_is_gone() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let mut all = posts(&mut stage, &process, "first").await;
    drop(process.rebuild(&stage).await);
    process.promote(&stage, 2).await;
    process.announce(process.now().drop(GROUP, 1, stage.ports.runtime.now_ms())).await;
    until(&stage, || process.projection.generation(1).is_none()).await;
    all.extend(posts(&mut stage, &process, "alone").await);
    // Its tables are deleted once nobody can be reading them; and the group's partitions are given out anew.
    let gone = async || stage.ports.tables.open(&group().keyspace(), &group().tables()).await.is_err();
    stage.until(gone).await;
    drop(process);
    stage.turns(3).await;
    let process = Process::start(&stage).await;
    all.extend(posts(&mut stage, &process, "anew").await);
    let expected: BTreeMap<String, usize> = all.into_iter().map(|post| (post, 1)).collect();
    assert_eq!(shares(&stage).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_during_a_pause_comes_about_when_it_ends() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 5).await;
    see(&process.live(), &token).await;
    process.rebuild(&stage).await;
    let paused = kith_proto::ops::v1::ProjectionPaused { service: GROUP.to_owned(), ..Default::default() };
    process.announce(Ok(Event::ProjectionPaused(paused))).await;
    process.announce(process.now().promote(GROUP, 2, 2)).await;
    stage.ports.runtime.sleep(Duration::from_secs(20)).await;
    let resumed = kith_proto::ops::v1::ProjectionResumed { service: GROUP.to_owned(), ..Default::default() };
    process.announce(Ok(Event::ProjectionResumed(resumed))).await;
    until(&stage, || process.projection.serving_number() == Some(2)).await;
    let token = history(&mut stage, 6).await;
    see(&process.live(), &token).await;
}

#[tokio::test(start_paused = true)]
async fn a_generation_of_other_folds_is_not_folded_on() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 5).await;
    see(&process.live(), &token).await;
    drop(process);
    stage.turns(3).await;
    // Another release, whose folds write other rows.
    let process = Process::of(&stage, Arc::new(|generation| Group { generation, folds_version: 2, ..group() })).await;
    assert!(process.projection.serving().is_none(), "it is read by another release");
    assert!(process.projection.generation(1).is_none(), "it is folded on by other folds");
    let token = history(&mut stage, 6).await;
    engine::create(&stage.ports, &process.projection.group(2)).await.unwrap();
    process.announce(process.now().start_rebuild(GROUP, "", Build { folds_version: 2, ..group().build() }, 1)).await;
    until(&stage, || process.projection.generation(2).is_some()).await;
    see(&process.projection.generation(2).unwrap(), &token).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_differs_is_named() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 6).await;
    let beside = process.rebuild(&stage).await;
    see(&beside, &token).await;
    see(&process.live(), &token).await;

    let (key, partition) = (Key::text("post-3"), crate::stage::partition_of(topics::ENGAGEMENT, "post-3"));
    let summary = MOODS.summary_key(partition.source());
    let found = beside.state.keyspace().get(&MOODS, &key, std::slice::from_ref(&summary)).await.unwrap();
    let mut row = found[0].clone().unwrap();
    *row.columns.last_mut().unwrap() = 77_i64.into();
    row.position += 1;
    beside.state.keyspace().apply(&MOODS, &key, &[Row { key: summary, ..row }.into()]).await.unwrap();
    let extra = Row { key: RowKey { section: 0, clustering: vec!["eve".into()] }, ..mood_row(&beside, "post-4").await };
    beside.state.keyspace().apply(&MOODS, &Key::text("nobody's"), &[extra.into()]).await.unwrap();

    let verdict = process.verify(&stage, 1, 2).await;
    assert_eq!((verdict.digest, verdict.partitions_different), (None, 2));
    let names: Vec<_> = verdict.differences.iter().map(|d| (d.table, &*d.partition)).collect();
    assert_eq!(names, [("moods", "\"post-3\""), ("moods", "\"nobody's\"")]);
    let first = &verdict.differences[0];
    assert!(first.left.is_some() && first.right.is_some() && first.left != first.right, "{first:?}");
    assert_eq!(verdict.differences[1].left, None);
}

async fn mood_row(running: &Running, post: &str) -> Row {
    let key = RowKey { section: 0, clustering: vec!["ada".into()] };
    let found = running.state.keyspace().get(&MOODS, &Key::text(post), &[key]).await.unwrap();
    found[0].clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_every_generation_and_a_resume_lets_them_go_on() {
    let mut stage = Stage::set(Duration::ZERO).await;
    created(&stage).await;
    let process = Process::start(&stage).await;
    let token = history(&mut stage, 2).await;
    see(&process.live(), &token).await;
    let pause = Event::ProjectionPaused(kith_proto::ops::v1::ProjectionPaused {
        service: GROUP.to_owned(),
        ..Default::default()
    });
    let standstill = || process.live().state.standstill();
    assert_eq!(standstill(), None);
    process.announce(Ok(pause)).await;
    until(&stage, || standstill() == Some(Standstill::Paused)).await;
    stage.turns(20).await;
    let token = history(&mut stage, 3).await;
    let waited = process.live().state.at_least(&token, Instant::now() + Duration::from_secs(200)).await;
    assert!(waited.is_err(), "it folds while it is paused");
    let resume = Event::ProjectionResumed(kith_proto::ops::v1::ProjectionResumed {
        service: GROUP.to_owned(),
        ..Default::default()
    });
    process.announce(Ok(resume)).await;
    until(&stage, || standstill() != Some(Standstill::Paused)).await;
    assert_eq!(standstill(), Some(Standstill::CatchingUp), "it goes on, and has not what came meanwhile");
    until(&stage, || standstill().is_none()).await;
    see(&process.live(), &token).await;
}
