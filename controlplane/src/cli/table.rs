//! Text in columns: as wide as needed, numbers to the right.

/// Lines up rows of equally many cells. A column whose cells all look like numbers (below its head) is
/// aligned to the right.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let to_the_right: Vec<bool> = (0..count).map(|column| is_numeric(rows, column)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let cell = if to_the_right[column] { padding + cell } else { cell.clone() + &padding };
            line.push_str(&cell);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let mut cells = rows.iter().skip(1).filter_map(|row| row.get(column));
    cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-")
}

/// A number for people: three digits and a letter.
#[must_use]
pub fn short_number(value: f64) -> String {
    let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match scales.into_iter().find(|(scale, _letter)| value >= *scale) {
        Some((scale, letter)) if value / scale < 10.0 => format!("{:.2}{letter}", value / scale),
        Some((scale, letter)) if value / scale < 100.0 => format!("{:.1}{letter}", value / scale),
        Some((scale, letter)) => format!("{:.0}{letter}", value / scale),
        None => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["PORT", "RATE"], ["a", "5"], ["long-one", "1.25M"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(columns(&rows), "PORT       RATE\na             5\nlong-one  1.25M\n");
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 999.0, 1000.0, 12_345.0, 999_000.0, 1_250_000.0].map(short_number);
        assert_eq!(shown, ["0", "999", "1.00k", "12.3k", "999k", "1.25M"]);
    }
}
