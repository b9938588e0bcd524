//! Twice as much as the suite can do: it answers nearly what it could, refuses the rest early, and recovers at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::load;
use crate::measures::say;
use crate::place::Place;
use crate::row::{Pair, Reach, Row};
use crate::target::Subjects;
use crate::template::Kind;

const PEAK_IN_FLIGHT: usize = 512;
const REST_IN_FLIGHT: usize = 1;
const REST_WINDOW: Duration = Duration::from_secs(1);
/// After it, one command is as fast as before.
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);

pub async fn twice_the_peak(place: &Place, posts: u64, window: Duration) -> Result<Vec<Row>> {
    let calls = place.target.wide().commands(Kind::React, Subjects::Uniform(posts));
    let rest = load::closed(&calls, REST_IN_FLIGHT, REST_WINDOW, &place.numbers).await?.all_ok()?.quantile_ms(0.5);
    let started = Instant::now();
    let peak = load::closed(&calls, PEAK_IN_FLIGHT, window, &place.numbers).await?.all_ok()?;
    place.target.folded(&peak.token).await?;
    let rate = peak.answered as f64 / started.elapsed().as_secs_f64();
    let over = load::open(&calls, 2.0 * rate, window, &place.numbers).await?;
    let others = over.failed.values().sum::<u64>() - over.refused();
    let ended = Instant::now();
    let mut after = f64::INFINITY;
    while ended.elapsed() < RECOVERED_WITHIN {
        let now = load::closed(&calls, REST_IN_FLIGHT, REST_WINDOW, &Arc::clone(&place.numbers)).await?;
        after = if now.failed.is_empty() { now.quantile_ms(0.5) } else { f64::INFINITY };
        if after <= 1.5 * rest {
            break;
        }
    }
    let answered = over.answered as f64 / window.as_secs_f64();
    let total = (over.answered + over.refused() + others) as f64;
    eprintln!(
        "  offered {:.0}/s: {answered:.0}/s answered; failed, by gRPC code: {:?}; not made, as 4,096 waited: {}",
        2.0 * rate,
        over.failed,
        over.unsent
    );
    let row = |measure: &str, unit: &'static str, ceiling_is: &'static str, reach, pair| Row {
        measure: measure.to_owned(),
        adapter: place.adapter().into(),
        unit: unit.into(),
        ceiling_is: ceiling_is.into(),
        reach,
        rounds: vec![pair],
    };
    let rows = vec![
        row(
            "twice the peak offered: answered",
            "/s",
            "the peak",
            Reach::AtLeast(0.8),
            Pair { ceiling: rate, ours: answered },
        ),
        row(
            "twice the peak offered: failed other than RESOURCE_EXHAUSTED",
            "of 1000",
            "one in a thousand",
            Reach::AtMost(1.0),
            Pair { ceiling: 1.0, ours: others as f64 * 1_000.0 / total },
        ),
        row(
            "twice the peak offered: p99 of the answered",
            "ms",
            "the same at the peak",
            Reach::AtMost(3.0),
            Pair { ceiling: peak.quantile_ms(0.99), ours: over.quantile_ms(0.99) },
        ),
        row(
            "after the overload: one command, p50, within 10 s",
            "ms",
            "the same before",
            Reach::AtMost(1.5),
            Pair { ceiling: rest, ours: after },
        ),
    ];
    rows.iter().for_each(say);
    Ok(rows)
}
