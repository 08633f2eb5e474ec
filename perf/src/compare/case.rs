//! What a case is: some work, done by one device after the other, that comes to one number each.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::device::{Bench, Product};
use crate::error::Result;

/// One line of the table.
pub trait Case {
    /// The word that selects it.
    fn name(&self) -> String;

    /// What its number means.
    fn unit(&self) -> Unit;

    /// What the number must not fall short of.
    fn floor(&self) -> Floor;

    /// Who can do it.
    fn products(&self) -> &'static [Product] {
        &[Product::Qemu, Product::Framewire]
    }

    /// How many process starts it takes at most: some cases are long, and do not vary with the start.
    fn starts_max(&self) -> usize {
        usize::MAX
    }

    /// Starts the device, does the work, ends the device.
    ///
    /// # Errors
    /// If the work could not be done.
    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure>;
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: &'static str,
    /// Whether more is better.
    pub better: Better,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    More,
    /// Times, losses and shares.
    Less,
}

impl Better {
    /// The better of two numbers.
    pub fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Better::More => left.max(right),
            Better::Less => left.min(right),
        }
    }
}

/// What Framewire must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// This many times QEMU's number or more.
    RatioAtLeast(f64),
    /// This part of QEMU's number or less.
    RatioAtMost(f64),
    /// This number or more.
    AtLeast(f64),
    /// This number or less.
    AtMost(f64),
    /// It is only reported.
    None,
}

impl Floor {
    /// Whether `ours` passes, with `ratio` to QEMU's if there is one; `None` if that cannot be told.
    pub fn passes(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Floor::RatioAtLeast(floor) => ratio.map(|ratio| ratio >= floor),
            Floor::RatioAtMost(floor) => ratio.map(|ratio| ratio <= floor),
            Floor::AtLeast(floor) => Some(ours >= floor),
            Floor::AtMost(floor) => Some(ours <= floor),
            Floor::None => Some(true),
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Floor::RatioAtLeast(floor) => write!(f, ">= {floor}x"),
            Floor::RatioAtMost(floor) => write!(f, "<= {floor}x"),
            Floor::AtLeast(floor) => write!(f, ">= {floor}"),
            Floor::AtMost(floor) => write!(f, "<= {floor}"),
            Floor::None => write!(f, "-"),
        }
    }
}

/// Who could not go faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The device had no time left.
    Device,
    /// The generator had none: the device can do more than the number says.
    Generator,
    /// Neither had.
    Both,
    /// Both had: waiting for each other, or lost frames, held them back.
    Neither,
    /// The machine alone, with no device on it, does not reach the floor at this time.
    Machine,
    /// It cannot be told.
    Unknown,
}

impl Limit {
    /// From the share of its core that each side worked.
    pub fn of(device: Option<f64>, generator: f64) -> Limit {
        const BUSY: f64 = 0.9;
        match device {
            None => Limit::Unknown,
            Some(device) if device >= BUSY && generator >= BUSY => Limit::Both,
            Some(device) if device >= BUSY => Limit::Device,
            Some(_) if generator >= BUSY => Limit::Generator,
            Some(_) => Limit::Neither,
        }
    }

    /// Whether the device may be able to do more than its number says.
    pub fn hides_the_device(self) -> bool {
        matches!(self, Limit::Generator | Limit::Machine)
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Device => "device",
            Limit::Generator => "generator",
            Limit::Both => "both",
            Limit::Neither => "neither",
            Limit::Machine => "machine",
            Limit::Unknown => "?",
        }
    }
}

/// What one start of one device came to.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The best it showed.
    pub best: f64,
    /// What it showed in the middle.
    pub median: f64,
    /// Who held it back.
    pub limit: Limit,
    /// What makes the number worthless or the device wrong: corrupt frames, for instance.
    pub faults: Vec<String>,
    /// Whatever else there is to know, for the JSON lines.
    pub notes: Map<String, Value>,
}

impl Figure {
    /// A number with nothing to say about it yet.
    pub fn new(best: f64, median: f64) -> Figure {
        Figure { best, median, limit: Limit::Unknown, faults: Vec::new(), notes: Map::new() }
    }

    /// Adds a note.
    pub fn note(mut self, name: &str, value: impl Into<Value>) -> Figure {
        self.notes.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a fault if `happened`.
    pub fn fault_if(mut self, happened: bool, fault: impl Into<String>) -> Figure {
        if happened {
            self.faults.push(fault.into());
        }
        self
    }
}

/// The middle of some numbers.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn floors_are_inclusive_and_need_a_ratio_where_they_say_so() {
        assert_eq!(Floor::RatioAtLeast(1.5).passes(0.0, Some(1.5)), Some(true));
        assert_eq!(Floor::RatioAtLeast(1.5).passes(9.0, Some(1.49)), Some(false));
        assert_eq!(Floor::RatioAtMost(0.5).passes(9.0, None), None);
        assert_eq!(Floor::AtMost(1.0).passes(1.0, None), Some(true));
        assert_eq!(Floor::AtLeast(4.0).passes(3.0, Some(9.0)), Some(false));
    }

    #[test]
    fn busy_side_is_the_limit() {
        assert_eq!(Limit::of(Some(0.95), 0.5), Limit::Device);
        assert_eq!(Limit::of(Some(0.5), 0.95), Limit::Generator);
        assert_eq!(Limit::of(Some(0.95), 0.95), Limit::Both);
        assert_eq!(Limit::of(Some(0.3), 0.3), Limit::Neither);
        assert_eq!(Limit::of(None, 1.0), Limit::Unknown);
    }

    #[test]
    fn median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
    }
}
