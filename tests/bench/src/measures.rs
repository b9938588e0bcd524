//! The measures of the table: each takes rounds of a ceiling and of ours, in turn.

pub mod attacks;
pub mod commands;
pub mod folds;
pub mod growth;
pub mod overload;
pub mod pages;
pub mod relationships;
pub mod visible;

use anyhow::Result;

use crate::row::{Pair, Row};

/// Takes `rounds` pairs, the ceiling first in every second one.
pub async fn rounds(
    rounds: usize,
    mut ceiling: impl AsyncFnMut() -> Result<f64>,
    mut ours: impl AsyncFnMut() -> Result<f64>,
) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let pair = if round % 2 == 0 {
            let ceiling = ceiling().await?;
            Pair { ceiling, ours: ours().await? }
        } else {
            let ours = ours().await?;
            Pair { ceiling: ceiling().await?, ours }
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Says on standard error what micro-batches and commands have spent their time on.
pub fn say_steps(lines: &[String]) {
    lines.iter().for_each(|line| eprintln!("    {line}"));
}

/// Says on standard error what came of a row, as soon as it is known.
pub fn say(row: &Row) {
    eprintln!(
        "  {} ({}): {:.2} of {:.2} {}, ratio {:.2}",
        row.measure,
        row.adapter,
        row.ours(),
        row.ceiling(),
        row.unit,
        row.ratio()
    );
}
