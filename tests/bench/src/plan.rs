//! Which rows are taken, in which order, and how long each may take.

use std::time::Duration;

use anyhow::Result;

use crate::costs::{self, Cost};
use crate::desk::Live;
use crate::measures::commands::{self, Mix, Throughput};
use crate::measures::folds::{self, Spread};
use crate::measures::{attacks, growth, overload, pages, relationships, visible};
use crate::place::Place;
use crate::row::Row;
use crate::template::{self, Kind};
use crate::world::{ACCOUNTS, World};

const QUICK_WINDOW: Duration = Duration::from_millis(800);
const WINDOW: Duration = Duration::from_secs(3);
const OVERLOAD_WINDOW: Duration = Duration::from_secs(5);
/// The peak that each is held against comes and goes with what the tables' files are being merged.
const OVERLOAD_ROUNDS: usize = 5;
const ROUNDS: usize = 3;
const POSTS: u64 = 2_500;

/// People of whom everybody follows twenty, who each wrote five posts.
const WORLD: World =
    World { accounts: ACCOUNTS, follows: 20, posts: POSTS, conversations: 500, reactions: 0, messages: 0 };

/// What `--quick` leaves out.
pub const NOT_QUICK: &str = "everything over Kafka and Cassandra; commands at 512 in flight, CreatePost, SendMessage and one \
    hot post alone; post to home feed; fan-out; messages in groups; Zipf subjects; cold pages; growth; memory; overload; attacks";

/// Six rows, embedded.
pub async fn quick() -> Result<Vec<Row>> {
    eprintln!("learning what commands make");
    let templates = template::learn().await?;
    eprintln!("making a world");
    let place = Place::over(WORLD, None, &[]).await?;
    let throughput = |mix| Throughput { mix, in_flight: 64, posts: POSTS, window: QUICK_WINDOW, rounds: ROUNDS };
    let mut rows = vec![
        pages::warm(&place, QUICK_WINDOW, ROUNDS).await?,
        commands::at_rest(&place, &templates, 40, ROUNDS).await?,
        commands::throughput(&place, &templates, throughput(Mix::Only(Kind::React))).await?,
        commands::throughput(&place, &templates, throughput(Mix::Mixed)).await?,
    ];
    drop(place);
    rows.push(folds::reactions(None, Spread::Uniform, 20_000, ROUNDS).await?);
    rows.push(folds::replay(None, replayed(), ROUNDS).await?);
    Ok(rows)
}

/// What each kind of call costs.
pub async fn costs() -> Result<Vec<Cost>> {
    costs::costs(WORLD, &mut Live::start().await?).await
}

fn replayed() -> World {
    World { reactions: 10_000, messages: 5_000, follows: 10, ..WORLD }
}

/// The groups of rows, in order.
const GROUPS: [&str; 13] = [
    "pages",
    "relationships",
    "commands",
    "visible",
    "overload",
    "memory",
    "reactions",
    "group-messages",
    "replay",
    "fan-out",
    "follows",
    "hot-post",
    "attacks",
];

/// What came of a run.
#[derive(Default)]
pub struct Taken {
    pub rows: Vec<Row>,
    /// Groups that could not be measured, and why.
    pub failed: Vec<String>,
}

/// All rows of these adapters, of groups whose name contains `only`. One that fails leaves the others.
pub async fn full(adapters: &[String], only: Option<&str>) -> Result<Taken> {
    let is_wanted = |group: &&str| only.is_none_or(|only| group.contains(only));
    anyhow::ensure!(GROUPS.iter().any(is_wanted), "of the groups none is meant: {}", GROUPS.join(", "));
    let mut taken = Taken::default();
    for adapter in adapters {
        let mut live = match adapter.as_str() {
            "embedded" => None,
            "live" => {
                eprintln!("starting Kafka and Cassandra");
                Some(Live::start().await?)
            }
            other => anyhow::bail!("`{other}` is neither embedded nor live"),
        };
        for group in GROUPS.iter().copied().filter(is_wanted) {
            eprintln!("{adapter}: {group}");
            match take(group, live.as_mut()).await {
                Ok(rows) => taken.rows.extend(rows),
                Err(error) => {
                    eprintln!("  not filled: {error:#}");
                    taken.failed.push(format!("{adapter} {group}: {error:#}"));
                }
            }
        }
    }
    Ok(taken)
}

async fn take(group: &str, mut live: Option<&mut Live>) -> Result<Vec<Row>> {
    Ok(match group {
        "pages" => {
            let cold = pages::cold(live.as_deref_mut(), WORLD, ROUNDS).await?;
            let place = Place::over(WORLD, live, &[]).await?;
            vec![cold, pages::warm(&place, WINDOW, ROUNDS).await?]
        }
        "relationships" => {
            let place = Place::over(WORLD, live, &[]).await?;
            vec![relationships::of_a_hundred(&place, WINDOW, ROUNDS).await?]
        }
        "commands" => all_commands(live).await?,
        "visible" => {
            let templates = template::learn().await?;
            let place = Place::over(WORLD, live.as_deref_mut(), &[]).await?;
            visible::at_half_load(&place, live.as_deref(), &templates, WINDOW, ROUNDS).await?
        }
        "overload" => {
            let place = Place::over(WORLD, live, &[]).await?;
            let mut rows = Vec::new();
            for mix in [Mix::Mixed, Mix::Only(Kind::React)] {
                let what = Throughput { window: OVERLOAD_WINDOW, rounds: OVERLOAD_ROUNDS, ..throughput(mix, 512) };
                rows.extend(overload::twice_the_peak(&place, what).await?);
            }
            rows
        }
        "memory" => {
            let place = Place::over(WORLD, live, &[]).await?;
            growth::memory(place, throughput(Mix::Mixed, 512)).await?
        }
        "replay" => vec![folds::replay(live, replayed(), ROUNDS).await?],
        "reactions" => {
            let reactions = if live.is_some() { 20_000 } else { 100_000 };
            let uniform = folds::reactions(live.as_deref_mut(), Spread::Uniform, reactions, ROUNDS).await?;
            let zipf = folds::reactions(live, Spread::Zipf, reactions, ROUNDS).await?;
            vec![uniform, zipf]
        }
        "group-messages" => vec![folds::group_messages(live, 50, 2_000, ROUNDS).await?],
        "fan-out" => {
            let mut rows = Vec::new();
            for (followers, posts) in [(20, 1_000), (400, 50), (10_000, 2)] {
                rows.push(folds::fan_out(live.as_deref_mut(), followers, posts, ROUNDS).await?);
            }
            rows.push(growth::many_partitions(live, ROUNDS).await?);
            rows
        }
        "follows" => vec![growth::many_follows(live, ROUNDS).await?],
        "attacks" => {
            let place = Place::over(WORLD, live, &attacks::SETTINGS).await?;
            attacks::honest_p99(&place, POSTS, OVERLOAD_WINDOW, ROUNDS).await?
        }
        _ => growth::one_hot_post(live, ROUNDS).await?,
    })
}

fn throughput(mix: Mix, in_flight: usize) -> Throughput {
    Throughput { mix, in_flight, posts: POSTS, window: WINDOW, rounds: ROUNDS }
}

async fn all_commands(live: Option<&mut Live>) -> Result<Vec<Row>> {
    let templates = template::learn().await?;
    let place = Place::over(WORLD, live, &[]).await?;
    let mut rows = vec![commands::at_rest(&place, &templates, 200, ROUNDS).await?];
    let mixes = Kind::ALL.into_iter().map(Mix::Only).chain([Mix::Mixed, Mix::Hot]);
    for mix in mixes {
        for in_flight in [64, 512] {
            rows.push(commands::throughput(&place, &templates, throughput(mix, in_flight)).await?);
        }
    }
    Ok(rows)
}
