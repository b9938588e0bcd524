//! A row of the table: what was measured beside its ceiling, and whether it reaches what it must.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How near to the ceiling a figure must come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Reach {
    /// More is better: ours is this share of the ceiling, or more.
    AtLeast(f64),
    /// Less is better: ours is so many times the ceiling, or less.
    AtMost(f64),
}

/// One round: the ceiling and ours, taken right after each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub ceiling: f64,
    pub ours: f64,
}

impl Pair {
    fn ratio(self) -> f64 {
        self.ours / self.ceiling
    }
}

/// One measure on one kind of adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub measure: String,
    pub adapter: Cow<'static, str>,
    pub unit: Cow<'static, str>,
    /// What the ceiling is.
    pub ceiling_is: Cow<'static, str>,
    pub reach: Reach,
    pub rounds: Vec<Pair>,
}

impl Row {
    /// The median of the rounds' ratios.
    pub fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(|pair| pair.ratio()))
    }

    pub fn ceiling(&self) -> f64 {
        median(self.rounds.iter().map(|pair| pair.ceiling))
    }

    pub fn ours(&self) -> f64 {
        median(self.rounds.iter().map(|pair| pair.ours))
    }

    pub fn is_met(&self) -> bool {
        match self.reach {
            Reach::AtLeast(share) => self.ratio() >= share,
            Reach::AtMost(times) => self.ratio() <= times,
        }
    }

    /// Smallest and largest ratio.
    pub fn spread(&self) -> (f64, f64) {
        let ratios = || self.rounds.iter().map(|pair| pair.ratio());
        (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max))
    }

    fn cells(&self) -> [String; 8] {
        let (least, most) = self.spread();
        let reach = match self.reach {
            Reach::AtLeast(share) => format!(">= {share}"),
            Reach::AtMost(times) => format!("<= {times}"),
        };
        [
            self.measure.clone(),
            self.adapter.to_string(),
            format!("{} {}", figure(self.ceiling()), self.unit),
            figure(self.ours()),
            format!("{:.2}", self.ratio()),
            format!("{least:.2}-{most:.2}"),
            reach,
            if self.is_met() { "met" } else { "MISSED" }.to_owned(),
        ]
    }
}

/// The table in Markdown, its columns aligned.
pub fn table(rows: &[Row]) -> String {
    let head = ["measure", "adapter", "ceiling", "ours", "ratio", "spread", "reach", ""].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            text.push_str(&format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|")));
        }
    }
    text
}

/// The last line: how many rows meet their reach.
pub fn verdict(rows: &[Row]) -> String {
    let met = rows.iter().filter(|row| row.is_met()).count();
    format!("{met} of {} rows meet their reach", rows.len())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reach: Reach, rounds: &[(f64, f64)]) -> Row {
        let rounds = rounds.iter().map(|&(ceiling, ours)| Pair { ceiling, ours }).collect();
        Row {
            measure: "m".to_owned(),
            adapter: "embedded".into(),
            unit: "/s".into(),
            ceiling_is: "c".into(),
            reach,
            rounds,
        }
    }

    #[test]
    fn the_median_of_the_rounds_ratios_is_judged() {
        let noisy = row(Reach::AtLeast(0.6), &[(100.0, 70.0), (10.0, 1.0), (50.0, 31.0)]);
        assert!((noisy.ratio() - 0.62).abs() < 1e-9 && noisy.is_met());
        assert_eq!(noisy.spread(), (0.1, 0.7));
        assert!(!row(Reach::AtLeast(0.63), &[(50.0, 31.0)]).is_met());
        assert!(row(Reach::AtMost(1.5), &[(2.0, 3.0)]).is_met());
        assert!(!row(Reach::AtMost(1.5), &[(2.0, 3.1)]).is_met());
        assert!(!row(Reach::AtLeast(0.1), &[]).is_met(), "a row without rounds is not met");
    }

    #[test]
    fn the_table_says_which_rows_are_missed() {
        let rows = [row(Reach::AtLeast(0.5), &[(1000.0, 600.0)]), row(Reach::AtMost(1.1), &[(1.0, 2.0)])];
        let table = table(&rows);
        assert_eq!(table.lines().count(), 4);
        assert!(table.lines().nth(2).is_some_and(|line| line.ends_with("met    |")), "{table}");
        assert!(table.lines().nth(3).is_some_and(|line| line.ends_with("MISSED |")), "{table}");
        assert_eq!(verdict(&rows), "1 of 2 rows meet their reach");
    }
}
