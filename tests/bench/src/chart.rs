//! The table as a picture: how near each row comes, and how near it must.

use crate::row::{Reach, Row};

const ROW_HEIGHT: usize = 26;
const LABELS_WIDTH: usize = 470;
const BARS_WIDTH: f64 = 420.0;
const RIGHT: usize = 120;
/// What the bars' width stands for: twice the reach.
const FULL: f64 = 2.0;

/// A bar a row: its share of the reach, which is the line in the middle; for rows where less is better the other way
/// round, so that a bar past the line always is a row that is met.
pub fn svg(rows: &[Row]) -> String {
    let (width, height) = (LABELS_WIDTH + BARS_WIDTH as usize + RIGHT, ROW_HEIGHT * (rows.len() + 2));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, row) in rows.iter().enumerate() {
        let y = ROW_HEIGHT * (index + 1);
        let length = (share(row) / FULL).clamp(0.0, 1.0) * BARS_WIDTH;
        let colour = if row.is_met() { "#2a7f62" } else { "#c2452d" };
        let (text, bar) = (y + 17, y + 4);
        svg.push_str(&format!(
            "<text x=\"8\" y=\"{text}\">{} ({})</text>\n<rect x=\"{LABELS_WIDTH}\" y=\"{bar}\" width=\"{length:.0}\" \
             height=\"18\" fill=\"{colour}\"/>\n<text x=\"{}\" y=\"{text}\">{:.2} of {}</text>\n",
            escaped(&row.measure),
            row.adapter,
            LABELS_WIDTH + BARS_WIDTH as usize + 8,
            row.ratio(),
            reach(row),
        ));
    }
    let line = LABELS_WIDTH as f64 + BARS_WIDTH / FULL;
    svg.push_str(&format!(
        "<line x1=\"{line}\" y1=\"{ROW_HEIGHT}\" x2=\"{line}\" y2=\"{}\" stroke=\"black\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{line}\" y=\"18\" text-anchor=\"middle\">the reach: a bar past this line meets it</text>\n</svg>\n",
        ROW_HEIGHT * (rows.len() + 1)
    ));
    svg
}

fn share(row: &Row) -> f64 {
    match row.reach {
        Reach::AtLeast(least) => row.ratio() / least,
        Reach::AtMost(most) => most / row.ratio().max(f64::MIN_POSITIVE),
    }
}

fn reach(row: &Row) -> f64 {
    match row.reach {
        Reach::AtLeast(reach) | Reach::AtMost(reach) => reach,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
