//! Tables for people: columns as wide as they need, numbers to the right.

/// Prints rows under their headings.
pub fn print(headings: &[&str], rows: &[Vec<String>]) {
    print!("{}", format(headings, rows));
}

fn format(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&headings).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| match is_number(cell) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&headings).chain(rows).map(|row| line(row) + "\n").collect()
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit()) && !cell.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec!["posts".to_owned(), "7".to_owned()], vec!["id".to_owned(), "1200".to_owned()]];
        assert_eq!(format(&["service", "lag"], &rows), "service  lag\nposts       7\nid       1200\n");
    }
}
