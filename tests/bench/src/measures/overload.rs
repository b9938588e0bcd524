//! Twice as much as the suite can do: it answers nearly what it could, refuses the rest early, and recovers at once.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::load::{self, Call, Outcome};
use crate::measures::commands::Throughput;
use crate::measures::say;
use crate::place::Place;
use crate::row::{Pair, Reach, Row};
use crate::target::Target;

const REST_IN_FLIGHT: usize = 1;
const REST_WINDOW: Duration = Duration::from_secs(1);
/// After it, one command is as fast as before.
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);

/// What came of one round.
struct Round {
    /// A second, at most.
    peak: f64,
    peak_p99: f64,
    /// A second.
    answered: f64,
    p99: f64,
    /// Of a thousand calls, those that failed with another code than RESOURCE_EXHAUSTED.
    failed_otherwise: f64,
    rest_p50: f64,
    after_p50: f64,
}

pub async fn twice_the_peak(place: &Place, what: Throughput) -> Result<Vec<Row>> {
    let (calls, waits) = (what.mix.calls(&place.target.wide().await?, what.posts), place.target.anew()?);
    let mut rounds = Vec::new();
    for _ in 0..what.rounds {
        rounds.push(round(place, &calls, &waits, what).await?);
    }
    let row = |measure: &str, unit: &'static str, ceiling_is: &'static str, reach, pair: fn(&Round) -> Pair| Row {
        measure: format!("{measure}, {}", what.mix.name()),
        adapter: place.adapter().into(),
        unit: unit.into(),
        ceiling_is: ceiling_is.into(),
        reach,
        rounds: rounds.iter().map(pair).collect(),
    };
    let rows = vec![
        row("twice the peak offered: answered", "/s", "the peak", Reach::AtLeast(0.8), |round| Pair {
            ceiling: round.peak,
            ours: round.answered,
        }),
        row(
            "twice the peak offered: failed other than RESOURCE_EXHAUSTED",
            "of 1000",
            "one in a thousand",
            Reach::AtMost(1.0),
            |round| Pair { ceiling: 1.0, ours: round.failed_otherwise },
        ),
        row("twice the peak offered: p99 of the answered", "ms", "the same at the peak", Reach::AtMost(3.0), |round| {
            Pair { ceiling: round.peak_p99, ours: round.p99 }
        }),
        row(
            "after the overload: one command, p50, within 10 s",
            "ms",
            "the same before",
            Reach::AtMost(1.5),
            |round| Pair { ceiling: round.rest_p50, ours: round.after_p50 },
        ),
    ];
    rows.iter().for_each(say);
    Ok(rows)
}

/// `waits`: what tells that all is in the tables.
async fn round(place: &Place, calls: &Call, waits: &Target, what: Throughput) -> Result<Round> {
    let rest_p50 = at_rest(place, calls).await?.all_ok()?.quantile_ms(0.5);
    let started = Instant::now();
    let peak = load::closed(calls, what.in_flight, what.window, &place.numbers).await?.all_ok()?;
    waits.folded(&peak.token).await?;
    let rate = peak.answered as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let over = load::open(calls, 2.0 * rate, what.window, &place.numbers).await?;
    let ended = Instant::now();
    // As at the peak: what was answered counts once it is in the tables. And the next round finds nothing left to do.
    waits.folded(&over.token).await?;
    let took = started.elapsed();
    let mut after_p50 = f64::INFINITY;
    while after_p50 > 1.5 * rest_p50 && ended.elapsed() < RECOVERED_WITHIN {
        let now = at_rest(place, calls).await?;
        after_p50 = if now.failed.is_empty() { now.quantile_ms(0.5) } else { f64::INFINITY };
    }
    let failed: u64 = over.failed.values().sum();
    let answered = over.answered as f64 / took.as_secs_f64();
    eprintln!(
        "  offered {:.0}/s: {answered:.0}/s answered; failed, by gRPC code: {:?}; not made, as 4,096 waited: {}",
        2.0 * rate,
        over.failed,
        over.unsent
    );
    Ok(Round {
        peak: rate,
        peak_p99: peak.quantile_ms(0.99),
        answered,
        p99: over.quantile_ms(0.99),
        failed_otherwise: (failed - over.refused()) as f64 * 1_000.0 / (over.answered + failed) as f64,
        rest_p50,
        after_p50,
    })
}

async fn at_rest(place: &Place, calls: &Call) -> Result<Outcome> {
    load::closed(calls, REST_IN_FLIGHT, REST_WINDOW, &place.numbers).await
}
