//! What honest callers feel of each attack: their p99 under it beside their p99 without it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::attack::{Attack, Attackers};
use crate::load;
use crate::measures::{rounds, say};
use crate::place::Place;
use crate::row::{Reach, Row};
use crate::target::Subjects;

/// What the suite does without effort.
const CALLS_PER_SECOND: f64 = 200.0;
/// Settings of the suite: the rates of production, which honest callers here do not meet.
pub const SETTINGS: [(&str, &str); 4] = [
    ("rate_account", "5000:1000"),
    ("rate_service", "18000000:100000"),
    ("rate_address", "3000:300"),
    ("rate_sign_up", "20:10"),
];

/// A row per attack.
pub async fn honest_p99(place: &Place, posts: u64, window: Duration, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for attack in Attack::ALL {
        // Whoever attacks with an account calls with the last one.
        let honest = place.target.anew()?.among(place.bearers.len() - 1).mixed(Subjects::Uniform(posts));
        let attacker = place.bearers.last().context("no account")?.to_str()?;
        let p99 = async || {
            let outcome = load::open(&honest, CALLS_PER_SECOND, window, &place.numbers).await?.all_ok();
            Ok(outcome.with_context(|| attack.name())?.quantile_ms(0.99))
        };
        let under_attack = async || {
            let attackers = Attackers::begin(attack, place.address(), attacker).await?;
            let p99 = p99().await?;
            eprintln!("    {}: {:.0} a second", attack.name(), attackers.end()?);
            Ok(p99)
        };
        let row = Row {
            measure: format!("p99 of honest callers under {}", attack.name()),
            adapter: place.adapter().into(),
            unit: "ms".into(),
            ceiling_is: "the same without the attack".into(),
            reach: Reach::AtMost(3.0),
            rounds: rounds(times, p99, under_attack).await?,
        };
        say(&row);
        rows.push(row);
    }
    Ok(rows)
}
