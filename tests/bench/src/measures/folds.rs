//! Folds alone: reactions into counts, posts into home feeds, the whole log into new tables; beside the same rows raw.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use kith_fold::Group;
use kith_runtime::SplitMix64;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::desk::{self, Desk, Live};
use crate::measures::{rounds, say, say_steps};
use crate::place::adapter;
use crate::raw::{Cell, Raw};
use crate::recorder::Noted;
use crate::row::{Reach, Row};
use crate::world::{self, Fact, PARTITIONS, World};

/// Raw writers: a CQL server takes many at once, fjall's are this machine's cores.
const CQL_WRITERS: usize = 64;
const FJALL_WRITERS: usize = 2;
/// Rows of one raw fjall batch where the batches are not the folds' own.
const RAW_BATCH_ROWS: usize = 100;

type Batches = Vec<(Vec<u8>, Vec<Cell>)>;

/// A number that is new in this process: of a generation, or of a folder.
fn fresh() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn anew(groups: &[Group]) -> Vec<Group> {
    let generation = fresh();
    groups.iter().map(|group| Group { generation, ..group.clone() }).collect()
}

/// How posts are reacted to.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    Uniform,
    /// The k-th post gets 1/k of what the first gets.
    Zipf,
}

/// Reactions a second, folded into rows and counts.
pub async fn reactions(mut live: Option<&mut Live>, spread: Spread, count: u64, times: usize) -> Result<Row> {
    const POSTS: u64 = 500;
    const ACTORS: u64 = 2_000;
    let desk = Desk::new(live.as_deref_mut(), PARTITIONS, true).await?;
    let posts = (0..POSTS).map(|n| world::post(n, n % ACTORS, 3_000));
    let subjects = Zipf::over(POSTS);
    let mut draws = SplitMix64::new(7);
    let facts = (0..count).map(move |n| {
        let post = match spread {
            Spread::Uniform => draws.below(POSTS),
            Spread::Zipf => subjects.draw(&mut draws),
        };
        world::reaction(n, n % ACTORS, post)
    });
    world::append(&desk.ports.log, &desk.ports.runtime, posts.chain(facts)).await?;
    let (spread, reach) = match spread {
        Spread::Uniform => ("uniform", 0.6),
        Spread::Zipf => ("Zipf", 0.6),
    };
    let row = fold_anew(FoldAnew {
        desk: &desk,
        live: live.as_deref(),
        groups: vec![kith_engagement::group(1)],
        measure: format!("reaction fold, {spread} subjects"),
        ceiling_is: "the same rows written raw in the same batches",
        reach,
        times,
        merged: false,
    });
    row.await
}

/// Messages a second in groups of so many: each is a row for every member.
pub async fn group_messages(mut live: Option<&mut Live>, members: u64, messages: u64, times: usize) -> Result<Row> {
    const TALKS: u64 = 20;
    let desk = Desk::new(live.as_deref_mut(), PARTITIONS, true).await?;
    let groups = (0..TALKS).map(|n| world::group(n, members));
    let facts = groups.chain((0..messages).map(|n| world::message(n, n % TALKS)));
    world::append(&desk.ports.log, &desk.ports.runtime, facts).await?;
    let row = fold_anew(FoldAnew {
        desk: &desk,
        live: live.as_deref(),
        groups: vec![kith_messaging::group(1)],
        measure: format!("SendMessage fold, groups of {members}"),
        ceiling_is: "the same rows written raw in the same batches",
        reach: 0.5,
        times,
        merged: false,
    });
    row.await
}

/// Events a second from the log into new tables of every group.
pub async fn replay(mut live: Option<&mut Live>, world: World, times: usize) -> Result<Row> {
    let desk = Desk::new(live.as_deref_mut(), PARTITIONS, true).await?;
    world::append(&desk.ports.log, &desk.ports.runtime, world.facts(desk.ports.runtime.now_ms())).await?;
    let row = fold_anew(FoldAnew {
        desk: &desk,
        live: live.as_deref(),
        groups: desk::all_groups(PARTITIONS)?,
        measure: "replay into new tables".to_owned(),
        ceiling_is: "raw batches of the rows that the tables end as",
        reach: 0.5,
        times,
        merged: true,
    });
    row.await
}

struct FoldAnew<'a> {
    desk: &'a Desk,
    live: Option<&'a Live>,
    groups: Vec<Group>,
    measure: String,
    ceiling_is: &'static str,
    reach: f64,
    times: usize,
    /// The ceiling writes each row once, as it ends, in large batches; else what the folds wrote, as they did.
    merged: bool,
}

async fn fold_anew(what: FoldAnew<'_>) -> Result<Row> {
    let recorder = what.desk.recorder.as_ref().context("the desk has a recorder")?;
    recorder.start();
    let (folded, running) = what.desk.fold(&anew(&what.groups)).await?;
    desk::end(running).await;
    let noted = recorder.take();
    say_costs(&noted, folded.records);
    let noted = writes(noted);
    let batches = Arc::new(if what.merged && what.live.is_none() { merged(noted) } else { noted });
    let records = folded.records as f64;
    let ceiling = async || Ok(records / write_raw(what.live, &batches).await?);
    let ours = async || {
        let (folded, running) = what.desk.fold(&anew(&what.groups)).await?;
        desk::end(running).await;
        Ok(folded.per_second())
    };
    let row = Row {
        measure: what.measure,
        adapter: adapter(what.live.is_some()).into(),
        unit: "events/s".into(),
        ceiling_is: what.ceiling_is.into(),
        reach: Reach::AtLeast(what.reach),
        rounds: rounds(what.times, ceiling, ours).await?,
    };
    say(&row);
    Ok(row)
}

/// Home-feed rows per second, of posts by an author with this many followers.
pub async fn fan_out(mut live: Option<&mut Live>, followers: u64, posts: u64, times: usize) -> Result<Row> {
    const AUTHOR: u64 = 0;
    let desk = Desk::new(live.as_deref_mut(), PARTITIONS, true).await?;
    let (log, runtime) = (&desk.ports.log, &desk.ports.runtime);
    let people = (0..=followers).map(world::account).chain((1..=followers).map(|n| world::follow(n, AUTHOR)));
    world::append(log, runtime, people).await?;
    let groups = [desk::feeds(PARTITIONS)];
    let running = desk.start(&groups).await?;
    desk.settle(&groups, &running).await?;
    let now_ms = runtime.now_ms();
    let mut next = 0;
    let mut publish = async || {
        let from = next;
        next += posts;
        let facts: Vec<Fact> = (from..next).map(|n| world::post(n, AUTHOR, now_ms + n as i64)).collect();
        let started = Instant::now();
        world::append(log, runtime, facts.into_iter()).await?;
        desk.settle(&groups, &running).await?;
        anyhow::Ok(started.elapsed().as_secs_f64())
    };
    let recorder = desk.recorder.as_ref().context("the desk has a recorder")?;
    recorder.start();
    publish().await?;
    let batches = Arc::new(writes(recorder.take()));
    let rows = (posts * followers) as f64;
    let ceiling = async || Ok(rows / write_raw(live.as_deref(), &batches).await?);
    let ours = async || Ok(rows / publish().await?);
    let before = desk.steps()?;
    let rounds = rounds(times, ceiling, ours).await?;
    say_steps(&desk.steps()?.lines_since(&before));
    desk::end(running).await;
    let row = Row {
        measure: format!("fan-out, author with {followers} followers"),
        adapter: adapter(live.is_some()).into(),
        unit: "rows/s".into(),
        ceiling_is: "raw batches inside one partition of the same rows".into(),
        reach: Reach::AtLeast(0.7),
        rounds,
    };
    say(&row);
    Ok(row)
}

/// Seconds that a row of a home feed takes, of posts to 400 followers over so many partitions.
pub async fn seconds_a_row(live: Option<&mut Live>, partitions: u16) -> Result<f64> {
    const FOLLOWERS: u64 = 400;
    const AUTHORS: u64 = 40;
    let desk = Desk::new(live, partitions, false).await?;
    let (log, runtime) = (&desk.ports.log, &desk.ports.runtime);
    let follows = (0..AUTHORS).flat_map(|author| (0..FOLLOWERS).map(move |n| world::follow(AUTHORS + n, author)));
    world::append(log, runtime, (0..AUTHORS + FOLLOWERS).map(world::account).chain(follows)).await?;
    let groups = [desk::feeds(partitions)];
    let running = desk.start(&groups).await?;
    desk.settle(&groups, &running).await?;
    let now_ms = runtime.now_ms();
    let before = desk.steps()?;
    let started = Instant::now();
    world::append(log, runtime, (0..2 * AUTHORS).map(|n| world::post(n, n % AUTHORS, now_ms + n as i64))).await?;
    desk.settle(&groups, &running).await?;
    let seconds = started.elapsed().as_secs_f64();
    say_steps(&desk.steps()?.lines_since(&before));
    desk::end(running).await;
    Ok(seconds / (2 * AUTHORS * FOLLOWERS) as f64)
}

fn writes(noted: Vec<Noted>) -> Batches {
    let write = |noted| match noted {
        Noted::Write { partition, cells } => Some((partition, cells)),
        Noted::Get { .. } | Noted::Slice { .. } => None,
    };
    noted.into_iter().filter_map(write).collect()
}

/// Says what a record costs in calls of the tables.
fn say_costs(noted: &[Noted], records: u64) {
    let (mut writes, mut rows, mut gets, mut keys_read, mut slices) = (0, 0, 0, 0, 0);
    for one in noted {
        match one {
            Noted::Write { cells, .. } => (writes, rows) = (writes + 1, rows + cells.len()),
            Noted::Get { keys, .. } => (gets, keys_read) = (gets + 1, keys_read + keys.len()),
            Noted::Slice { .. } => slices += 1,
        }
    }
    let each = |count: usize| count as f64 / records as f64;
    eprintln!(
        "  a record costs {:.2} writes of {:.2} rows, {:.2} reads of {:.2} rows, {:.2} slices",
        each(writes),
        each(rows),
        each(gets),
        each(keys_read),
        each(slices)
    );
}

/// Each row once, as it was written last, many in a batch whatever partition they are of.
fn merged(batches: Batches) -> Batches {
    let mut rows: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
    for (partition, cells) in batches {
        rows.extend(cells.into_iter().map(|(key, value)| ([&partition[..], &key].concat(), value)));
    }
    let rows: Vec<Cell> = rows.into_iter().collect();
    rows.chunks(RAW_BATCH_ROWS).map(|rows| (Vec::new(), rows.to_vec())).collect()
}

/// Writes them into a store that has none; gives how long it took, seconds.
async fn write_raw(live: Option<&Live>, batches: &Arc<Batches>) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (raw, writers) = match live {
        None => (Raw::fjall(&folder.path().join(fresh().to_string()))?, FJALL_WRITERS),
        Some(live) => (Raw::cql(&live.cql_address()).await?, CQL_WRITERS),
    };
    let raw = Arc::new(raw);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (raw, batches) = (Arc::clone(&raw), Arc::clone(batches));
        tasks.spawn(async move {
            for (partition, cells) in batches.iter().skip(writer).step_by(writers) {
                raw.write(partition, cells).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Ranks drawn by Zipf's law with exponent 1.
struct Zipf {
    up_to: Vec<f64>,
}

impl Zipf {
    fn over(count: u64) -> Self {
        let mut sum = 0.0;
        let up_to = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { up_to: up_to.collect() }
    }

    fn draw(&self, draws: &mut SplitMix64) -> u64 {
        let all = self.up_to.last().copied().unwrap_or(0.0);
        let at = draws.below(1 << 53) as f64 / (1_u64 << 53) as f64 * all;
        self.up_to.partition_point(|up_to| *up_to < at) as u64
    }
}
