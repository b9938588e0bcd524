//! Commands a second with the folds keeping up, and one command's latency at rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use crate::line::Connection;
use crate::load::{self, Call};
use crate::measures::{rounds, say, say_steps};
use crate::place::{BareWhat, Place};
use crate::row::{Reach, Row};
use crate::target::{Subjects, Target};
use crate::template::{Kind, Template};

/// Calls before a first round, so that connections stand and code is warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// Whose calls failed.
const OURS: &str = "the suite";
const BARE: &str = "the bare server";

/// Until all that followed from a command is over.
const REST: Duration = Duration::from_millis(10);

/// Which commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    Only(Kind),
    Mixed,
    /// Reactions to one post.
    Hot,
}

impl Mix {
    pub fn name(self) -> &'static str {
        match self {
            Self::Only(kind) => kind.name(),
            Self::Mixed => "mixed",
            Self::Hot => "React, one hot post",
        }
    }

    pub fn calls<C: Connection>(self, target: &Target<C>, posts: u64) -> Call {
        match self {
            Self::Only(kind) => target.commands(kind, Subjects::Uniform(posts)),
            Self::Mixed => target.mixed(Subjects::Uniform(posts)),
            Self::Hot => target.commands(Kind::React, Subjects::One(0)),
        }
    }
}

/// How a row of commands a second is taken.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub mix: Mix,
    pub in_flight: usize,
    pub posts: u64,
    pub window: Duration,
    pub rounds: usize,
}

/// Commands a second until all they cause is in the tables, beside a bare server that writes the same.
pub async fn throughput(place: &Place, templates: &BTreeMap<Kind, Template>, what: Throughput) -> Result<Row> {
    let bare = place.bare(templates, BareWhat { appends: true, rows: true, ..BareWhat::default() }).await?;
    let target = place.target.anew()?;
    let (own, other) = (what.mix.calls(&target, what.posts), what.mix.calls(&bare.target, what.posts));
    let bare_numbers = Arc::<AtomicU64>::default();
    load::closed(&own, what.in_flight, WARM_UP, &place.numbers).await?.all_ok().context(OURS)?;
    load::closed(&other, what.in_flight, WARM_UP, &bare_numbers).await?.all_ok().context(BARE)?;
    let ceiling = async || {
        let started = Instant::now();
        let outcome = load::closed(&other, what.in_flight, what.window, &bare_numbers).await?.all_ok().context(BARE)?;
        bare.target.drained().await?;
        Ok(outcome.answered as f64 / started.elapsed().as_secs_f64())
    };
    let ours = async || {
        let before = place.steps().await?;
        let started = Instant::now();
        let outcome = load::closed(&own, what.in_flight, what.window, &place.numbers).await?.all_ok().context(OURS)?;
        let answered_within = started.elapsed();
        target.folded(&outcome.token).await?;
        let took = started.elapsed();
        let (after, answered) = (place.steps().await?, outcome.answered);
        eprintln!("    {answered} answered in {answered_within:.1?}, in the tables after {took:.1?}");
        say_steps(&[after.calls_since(&before), after.lines_since(&before)].concat());
        Ok(answered as f64 / took.as_secs_f64())
    };
    let rounds = rounds(what.rounds, ceiling, ours).await?;
    let row = Row {
        measure: format!("commands/s, {}, {} in flight", what.mix.name(), what.in_flight),
        adapter: place.adapter().into(),
        unit: "/s".into(),
        ceiling_is: "a bare tonic handler that appends the same bytes, the folds' rows written raw beside it".into(),
        reach: Reach::AtLeast(0.6),
        rounds,
    };
    say(&row);
    Ok(row)
}

/// One CreatePost, with nothing else going on, p50; beside an echo that appends.
pub async fn at_rest(place: &Place, templates: &BTreeMap<Kind, Template>, calls: u64, count: usize) -> Result<Row> {
    let bare = place.bare(templates, BareWhat { appends: true, ..BareWhat::default() }).await?;
    let posts = |target: &Target| target.commands(Kind::CreatePost, Subjects::Uniform(1));
    let (own, other) = (posts(&place.target), posts(&bare.target));
    let bare_numbers = Arc::<AtomicU64>::default();
    load::closed(&own, 1, WARM_UP, &place.numbers).await?.all_ok()?;
    load::closed(&other, 1, WARM_UP, &bare_numbers).await?.all_ok()?;
    let p50 = async |call: &Call, numbers: &Arc<AtomicU64>| {
        let outcome = load::spaced(call, REST, calls, numbers).await?.all_ok()?;
        anyhow::Ok(outcome.quantile_ms(0.5))
    };
    let ceiling = async || p50(&other, &bare_numbers).await;
    let ours = async || {
        let before = place.steps().await?;
        let p50 = p50(&own, &place.numbers).await?;
        say_steps(&place.steps().await?.calls_since(&before));
        Ok(p50)
    };
    let row = Row {
        measure: "one CreatePost at rest, p50".to_owned(),
        adapter: place.adapter().into(),
        unit: "ms".into(),
        ceiling_is: "a bare tonic handler that appends the same bytes".into(),
        reach: Reach::AtMost(1.5),
        rounds: rounds(count, ceiling, ours).await?,
    };
    say(&row);
    Ok(row)
}
