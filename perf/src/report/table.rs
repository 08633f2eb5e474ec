//! A table for people; it is Markdown as well.

use std::fmt::Write as _;

use crate::compare::case::{Better, Limit};
use crate::compare::{Comparison, Side};
use crate::device::Product;

const HEADS: [&str; 8] = [
    "case",
    "unit",
    "peer best (median)",
    "Framewire best (median)",
    "ratio (spread)",
    "floor",
    "",
    "held back by",
];

/// All comparisons, one a line, with the faults below.
pub fn table(comparisons: &[Comparison]) -> String {
    let rows: Vec<[String; 8]> = comparisons.iter().map(row).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADS.map(str::to_owned), &widths);
    text.push_str(&line(&widths.map(|width| "-".repeat(width)), &widths));
    rows.iter().for_each(|row| text.push_str(&line(row, &widths)));
    for comparison in comparisons {
        for (product, side) in &comparison.sides {
            for fault in side.faults() {
                let _ = writeln!(text, "\n{} by {}: {fault}", comparison.name, product.name());
            }
        }
    }
    text
}

fn row(comparison: &Comparison) -> [String; 8] {
    let better = comparison.unit.better;
    let (peer, ours) = (comparison.peer(), comparison.sides.get(&Product::Framewire));
    let theirs = peer.map(|(_product, side)| side);
    let number = |side: Option<&Side>| side.map_or_else(|| "-".to_owned(), |side| numbers(side, better));
    // QEMU is the peer of most, and not named each time.
    let name = peer.map(|(product, _side)| product).filter(|product| *product != Product::Qemu);
    let name = name.map_or_else(String::new, |product| format!("{} ", product.name()));
    let limits = [theirs, ours].map(|side| side.map(|side| side.limit(better)));
    [
        comparison.name.clone(),
        comparison.unit.name.to_owned(),
        name + &number(theirs),
        number(ours),
        ratio(comparison, limits[1]),
        comparison.floor.to_string(),
        verdict(comparison).to_owned(),
        limits.map(|limit| limit.map_or("-", Limit::name)).join(" / "),
    ]
}

fn numbers(side: &Side, better: Better) -> String {
    match side.best(better).zip(side.median()) {
        Some((best, median)) => format!("{best:.3} ({median:.3})"),
        None => "failed".to_owned(),
    }
}

/// Where the generator held Framewire back, the ratio is no more than what was seen.
fn ratio(comparison: &Comparison, limit: Option<Limit>) -> String {
    let is_hidden = limit.is_some_and(Limit::hides_the_device) && comparison.unit.better == Better::More;
    let at_least = if is_hidden { ">= " } else { "" };
    match comparison.ratio().zip(comparison.ratio_spread()) {
        Some((ratio, (least, most))) => format!("{at_least}{ratio:.2} ({least:.2} - {most:.2})"),
        None => "-".to_owned(),
    }
}

fn verdict(comparison: &Comparison) -> &'static str {
    match comparison.passes() {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "not told",
    }
}

fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let mut text = String::from("|");
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(text, " {cell:width$} |");
    }
    text.push('\n');
    text
}
