//! What must not grow: with reactions on a post, with follows, with partitions. And memory, which must not either.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use tokio::time::Instant;

use crate::desk::Live;
use crate::load::{self, Call};
use crate::measures::commands::{Mix, Throughput};
use crate::measures::{folds, rounds, say, say_steps};
use crate::place::{Place, adapter};
use crate::row::{Pair, Reach, Row};
use crate::target::{Subjects, Target};
use crate::template::Kind;
use crate::world::{self, World};

const WINDOW: Duration = Duration::from_secs(1);
/// After a restart: over Kafka a group gives its partitions out after some 6 s, and what is read again until then is let go
/// of by 24.
const IDLE: Duration = Duration::from_secs(30);
const FIRST_CALLS: Duration = Duration::from_millis(10);
const ANSWERED_WITHIN: Duration = Duration::from_secs(300);
const MANY: u64 = 1_000_000;
const FEW: u64 = 100;
/// Enough that none reacts twice where it is to be the first time.
const ACTORS: u64 = 20_000;
/// Those who change their reaction again and again.
const REGULARS: usize = 200;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A suite that comes to a log of a million reactions to post 0, and a hundred to post 1: how much memory it takes until
/// it has folded them, and whether either post is slower then.
pub async fn one_hot_post(live: Option<&mut Live>, times: usize) -> Result<Vec<Row>> {
    let world = World { accounts: ACTORS, follows: 0, posts: 2, conversations: 0, reactions: 0, messages: 0 };
    let many = (0..MANY).map(|n| world::reaction(n, ACTORS + n, 0));
    let few = (0..FEW).map(|n| world::reaction(MANY + n, ACTORS + n, 1));
    let mut place = Place::with(world, many.chain(few), live, &[("max_lag_records", "10000000")]).await?;
    let peak = place.suite.process()?.peak_resident_bytes()? as f64 / MEBIBYTE;
    let memory = memory_row(&place, "resident memory, peak with a lag of 1,000,000 records", 400.0, peak);
    answered(&place, &reacts(&place.target, 0)).await?;
    let regulars = place.target.among(REGULARS);
    let calls: [(&str, [Call; 2]); 3] = [
        ("first React of an account", [0, 1].map(|post| reacts(&place.target, post))),
        ("React", [0, 1].map(|post| reacts(&regulars, post))),
        ("count", [0, 1].map(|post| counts(&place.target, post))),
    ];
    // Of its own for each post, so that an account's next reaction to it is always of the next kind.
    let numbers = [0, 1].map(|post: u64| Arc::new(AtomicU64::new((1 + post) << 40)));
    let mut rows = vec![memory];
    for (what, calls) in &calls {
        for post in [0, 1] {
            load::spaced(&calls[post], Duration::ZERO, REGULARS as u64, &numbers[post]).await?.all_ok()?;
        }
        let p50 = async |post: usize| {
            let before = place.steps().await?;
            let outcome = load::closed(&calls[post], 1, WINDOW, &numbers[post]).await?.all_ok()?;
            eprintln!("    post {post}: {} calls", outcome.answered);
            say_steps(&place.steps().await?.calls_since(&before));
            anyhow::Ok(outcome.quantile_ms(0.5))
        };
        let rounds = rounds(times, async || p50(1).await, async || p50(0).await).await?;
        let measure = format!("{what} on a post with 1,000,000 reactions, p50");
        rows.push(flat(&place, measure, "the same with 100", 1.1, rounds));
    }
    rows.iter().for_each(say);
    Ok(rows)
}

/// Waits until a command is answered: a suite that comes to a long log looks through it for appends nobody made first.
async fn answered(place: &Place, call: &Call) -> Result<()> {
    let started = Instant::now();
    while !load::closed(call, 1, FIRST_CALLS, &place.numbers).await?.failed.is_empty() {
        anyhow::ensure!(started.elapsed() < ANSWERED_WITHIN, "no command is answered");
    }
    eprintln!("  a first command is answered {:.1} s after the suite is ready", started.elapsed().as_secs_f64());
    Ok(())
}

fn reacts(target: &Target, post: u64) -> Call {
    target.commands(Kind::React, Subjects::One(post))
}

fn counts(target: &Target, post: u64) -> Call {
    let target = target.clone();
    Arc::new(move |_| {
        let target = target.clone();
        async move { target.counts(post, Vec::new()).await.map(|counts| counts.as_of) }.boxed()
    })
}

/// A page of somebody who follows ten beside one of somebody who follows 5,000.
pub async fn many_follows(live: Option<&mut Live>, times: usize) -> Result<Row> {
    const FOLLOWS: u64 = 5_000;
    let world = World { accounts: FOLLOWS + 2, follows: 0, posts: 0, conversations: 0, reactions: 0, messages: 0 };
    let now_ms = kith_runtime::Runtime::system().now_ms();
    let (ten, all) = (FOLLOWS, FOLLOWS + 1);
    let follows = (0..10).map(move |n| world::follow(ten, n)).chain((0..FOLLOWS).map(move |n| world::follow(all, n)));
    // Ten authors wrote what either sees, so that both pages are of the same posts.
    let posts = (0..60).map(move |n| world::post(n, n % 10, now_ms - 1_000 + n as i64));
    let place = Place::with(world, follows.chain(posts), live, &[]).await?;
    let page = |reader| -> Call {
        let target = place.target.clone();
        Arc::new(move |_| {
            let target = target.clone();
            async move { target.page(reader, Vec::new()).await.map(|page| page.as_of) }.boxed()
        })
    };
    let numbers = Arc::<AtomicU64>::default();
    let p50 = async |call: &Call| anyhow::Ok(load::closed(call, 1, WINDOW, &numbers).await?.all_ok()?.quantile_ms(0.5));
    let (ten, all) = (page(ten), page(all));
    let rounds = rounds(times, async || p50(&ten).await, async || p50(&all).await).await?;
    let row = flat(&place, "home feed page with 5,000 follows, p50".to_owned(), "the same with 10", 1.2, rounds);
    say(&row);
    Ok(row)
}

/// Fan-out over one partition beside 64 of them, a row of home feed.
pub async fn many_partitions(mut live: Option<&mut Live>, times: usize) -> Result<Row> {
    let mut pairs = Vec::new();
    for _ in 0..times {
        let one = folds::seconds_a_row(live.as_deref_mut(), 1).await?;
        let many = folds::seconds_a_row(live.as_deref_mut(), 64).await?;
        pairs.push(Pair { ceiling: one * 1e6, ours: many * 1e6 });
    }
    let row = Row {
        measure: "push to 400 followers over 64 partitions, a row".to_owned(),
        adapter: adapter(live.is_some()).into(),
        unit: "us".into(),
        ceiling_is: "the same over 1".into(),
        reach: Reach::AtMost(1.2),
        rounds: pairs,
    };
    say(&row);
    Ok(row)
}

/// What a suite takes at rest and at full load.
pub async fn memory(mut place: Place, what: Throughput) -> Result<Vec<Row>> {
    // Not what is left of having folded the world, nor of having started.
    place.suite.restart().await?;
    tokio::time::sleep(IDLE).await;
    let idle = place.suite.process()?.resident_bytes()? as f64 / MEBIBYTE;
    let calls = Mix::Mixed.calls(&place.target, what.posts);
    let started = Instant::now();
    let mut most: f64 = 0.0;
    while started.elapsed() < what.window {
        load::closed(&calls, what.in_flight, WINDOW, &place.numbers).await?.all_ok()?;
        most = most.max(place.suite.process()?.peak_resident_bytes()? as f64 / MEBIBYTE);
    }
    let rows = vec![
        memory_row(&place, "resident memory, idle", 60.0, idle),
        memory_row(&place, "resident memory, peak at full load", 400.0, most),
    ];
    rows.iter().for_each(say);
    Ok(rows)
}

fn memory_row(place: &Place, what: &str, most: f64, ours: f64) -> Row {
    Row {
        measure: what.to_owned(),
        adapter: place.adapter().into(),
        unit: "MiB".into(),
        ceiling_is: "the bound".into(),
        reach: Reach::AtMost(1.0),
        rounds: vec![Pair { ceiling: most, ours }],
    }
}

fn flat(place: &Place, measure: String, ceiling_is: &'static str, times: f64, rounds: Vec<Pair>) -> Row {
    Row {
        measure,
        adapter: place.adapter().into(),
        unit: "ms".into(),
        ceiling_is: ceiling_is.into(),
        reach: Reach::AtMost(times),
        rounds,
    }
}
